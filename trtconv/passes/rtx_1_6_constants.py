"""Arithmetic on integer constants, done here: TensorRT-RTX 1.6.1 fails to fold products of -1.

Powers of a constant are such products: the square of the square of -1, and so on.
"""

from __future__ import annotations

import torch

from trtconv.graph.data import DataType, Graph, Layer
from trtconv.graph.order import in_order
from trtconv.passes.edit import Edit
from trtconv.reference.interpreter import Interpreter

_MOST = 1 << 16
"""Longer axes aren't folded."""


def fold_integer_products(graph: Graph) -> Graph:
    """Each product of integer constants as a constant."""
    if not any(map(_is_product, graph.layers)):
        return graph
    constants = {layer.outputs[0]: layer for layer in graph.layers if layer.type == "CONSTANT"}
    with Edit(graph) as edit:
        for layer in in_order(graph.layers):
            kind = graph.tensors[layer.outputs[0]] if layer.outputs else None
            if not _is_product(layer) or kind is None or kind.dtype not in (DataType.INT32, DataType.INT64):
                continue
            factors = {name: constants[name] for name in layer.inputs if name in constants}
            if len(factors) < len({*layer.inputs}) or max(kind.shape, default=0) > _MOST:
                continue
            value = _value(graph, layer, list(factors.values()))
            constants[layer.outputs[0]] = Layer("", "CONSTANT", {"weights": value}, (), layer.outputs)
            edit.replace(layer.outputs[0], edit.net.constant(value))
        return edit.graph()


def _is_product(layer: Layer) -> bool:
    return layer.type == "ELEMENTWISE" and layer.attributes["op"] == "PROD"


def _value(graph: Graph, layer: Layer, factors: list[Layer]) -> torch.Tensor:
    alone = Graph((), layer.outputs, (*factors, layer), graph.tensors)
    return Interpreter(alone).run({})[layer.outputs[0]]
