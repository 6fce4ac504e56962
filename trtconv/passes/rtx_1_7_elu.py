"""Write ELU as SELU for TensorRT-RTX 1.7.1, which builds no second ELU in a network with a loop.

Myelin then says "elu ... There are 2 inputs. Expected 1.": it takes the slope for an operand. SELU's layer,
beta * x where x > 0, else beta * alpha * (exp(x) - 1), is ELU's with beta = 1, and is built; so are the other
activations there, one after the other.
"""

from __future__ import annotations

from typing import Any

from trtconv import tensorrt as trt
from trtconv.network import Network


def has_elu(network: Network) -> bool:
    """Whether there is anything to write otherwise."""
    return bool(_elus(network))


def write_elu_as_selu(network: Network) -> None:
    """Change the layers in place."""
    for layer in _elus(network):
        layer.type = trt.ActivationType.SELU
        layer.beta = 1.0


def _elus(network: Network) -> list[Any]:
    definition = network.definition
    found = []
    for index in range(definition.num_layers):
        layer = definition.get_layer(index)
        if not isinstance(layer, trt.IActivationLayer):
            if layer.type != trt.LayerType.ACTIVATION:
                continue
            layer.__class__ = trt.IActivationLayer  # what a definition gives is of the base class
        if layer.type == trt.ActivationType.ELU:
            found.append(layer)
    return found
