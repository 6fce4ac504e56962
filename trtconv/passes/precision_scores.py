"""Scores of an attention that half precision holds: the scale stands before the product.

Products of queries and keys grow with the number of terms, and fp16 ends at 65504: `softmax(q @ k.T * scale)` loses its
answer where the product leaves the range and its scaled value would not. A power of 2 near the root of the number of
terms goes to the queries, where it costs no digit; what is left of the scale stays in front of the softmax.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from trtconv.graph.data import Graph, Layer, TensorType
from trtconv.passes.edit import Edit
from trtconv.passes.precision_rules import Way, operation, rule_of
from trtconv.passes.small_heads import SMALLEST_FUSED_HEAD

_BETWEEN = frozenset({"ELEMENTWISE.PROD", "ELEMENTWISE.DIV", "ELEMENTWISE.SUM", "ELEMENTWISE.SUB", "SELECT"})
"""What may stand between the scores and their softmax: scales and masks."""


_USUAL = 64
"""Terms of a product where they vary or are fewer."""


def scale_scores_before_products(graph: Graph, layers: Collection[str]) -> Graph:
    """Products of queries and keys, of these layers by name, with the power of 2 in their scale before them."""
    with Edit(graph) as edit:
        for layer in graph.layers:
            if layer.type == "MATRIX_MULTIPLY" and layer.name in layers and _is_of_scores(edit, layer):
                _scale(edit, layer)
        return edit.graph()


def _is_of_scores(edit: Edit, layer: Layer) -> bool:
    """Whether a product of two activations, not scaled before, is read by a softmax only."""
    if any(edit.sizes(str(name)) is None for name in layer.inputs) or "VECTOR" in _operations(layer):
        return False
    makers = [edit.makers.get(str(name)) for name in layer.inputs]
    if any(maker is not None and (maker.type == "CONSTANT" or _factor(edit, maker)) for maker in makers):
        return False
    return _leads_to_softmax(edit.readers, layer)


def has_small_heads(
    layer: Layer,
    makers: Mapping[str, Layer],
    readers: Mapping[str, Sequence[Layer]],
    tensors: Mapping[str, TensorType],
) -> bool:
    """Whether a product is one of an attention's two, and its heads have no kernel that keeps scores in float32."""
    if layer.type != "MATRIX_MULTIPLY" or "VECTOR" in _operations(layer):
        return False
    left, right = (tensors[str(name)].shape for name in layer.inputs)
    transposed = [each == "TRANSPOSE" for each in _operations(layer)]
    weights = makers.get(str(layer.inputs[0]))
    if weights is not None and weights.type == "SOFTMAX":
        size = right[-2 if transposed[1] else -1]
    else:
        size = left[-2 if transposed[0] else -1] if _leads_to_softmax(readers, layer) else -1
    return 0 <= size < SMALLEST_FUSED_HEAD


def _operations(layer: Layer) -> tuple[str, str]:
    return layer.attributes["op0"], layer.attributes["op1"]


def _leads_to_softmax(readers: Mapping[str, Sequence[Layer]], layer: Layer) -> bool:
    found = readers.get(layer.outputs[0], ())
    if len(found) != 1:
        return False
    (reader,) = found
    if reader.type == "SOFTMAX":
        return True
    passes = operation(reader) in _BETWEEN or rule_of(reader).way is Way.MOVES
    return passes and _leads_to_softmax(readers, reader)


def _factor(edit: Edit, layer: Layer) -> float:
    """The number that a layer multiplies by, if it does nothing else; else 0."""
    if operation(layer) not in ("ELEMENTWISE.PROD", "ELEMENTWISE.DIV"):
        return 0.0
    constants = [_number(edit, name) for name in layer.inputs]
    if operation(layer) == "ELEMENTWISE.DIV":
        return 1 / constants[1] if constants[1] else 0.0
    return next((number for number in constants if number), 0.0)


def _number(edit: Edit, name: str | None) -> float:
    """The value of a constant of one element; 0 for other tensors."""
    maker = edit.makers.get(str(name))
    weights: torch.Tensor | None = None if maker is None else maker.attributes.get("weights")
    return 0.0 if weights is None or weights.numel() != 1 else float(weights)


def _scale(edit: Edit, layer: Layer) -> None:
    net = edit.net
    query, key = map(edit.tensor, layer.inputs)
    transposed = [each == "TRANSPOSE" for each in _operations(layer)]
    terms = edit.type(str(layer.inputs[0])).shape[-2 if transposed[0] else -1]
    exponent = math.frexp(math.sqrt(max(terms, _USUAL)))[1] - 1
    (reader,) = edit.readers[layer.outputs[0]]
    factor = _factor(edit, reader)
    replaced, rest = (reader, factor) if factor else (layer, 1.0)
    scores: Any = net.matmul(net.mul(query, 2.0**-exponent), key, transpose_a=transposed[0], transpose_b=transposed[1])
    rest *= 2.0**exponent
    edit.replace(replaced.outputs[0], scores if rest == 1 else net.mul(scores, rest))
