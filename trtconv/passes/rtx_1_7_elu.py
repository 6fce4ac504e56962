"""Write ELU as SELU for TensorRT-RTX 1.7.1, which builds no second ELU in a network with a loop.

Myelin then says "elu ... There are 2 inputs. Expected 1.": it takes the slope for an operand. SELU's layer,
beta * x where x > 0, else beta * alpha * (exp(x) - 1), is ELU's with beta = 1, and is built; so are the other
activations there, one after the other.
"""

from __future__ import annotations

from typing import Any

from trtconv import tensorrt as trt
from trtconv.graph.data import Graph, Layer
from trtconv.passes.edit import Edit, rewritten


def write_elu_as_selu(graph: Graph) -> Graph:
    """Each ELU as the SELU that is the same."""
    return rewritten(graph, {"ACTIVATION": _as_selu})


def _as_selu(edit: Edit, layer: Layer) -> Any:
    if layer.attributes["type"] != "ELU":
        return None
    x = edit.tensor(layer.inputs[0])
    return edit.net.activation(x, trt.ActivationType.SELU, layer.attributes["alpha"], 1.0)
