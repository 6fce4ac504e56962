"""Attention with small heads in float32.

A product of matrices in half precision gives half precision. Where TensorRT computes the scores of an attention, their
softmax and the second product in one kernel, it keeps them in float32, as PyTorch's kernels do; but it has kernels for
heads of 16 and more only (TensorRT-RTX 1.6.1 on an H100: the error of bfloat16 with heads of 16 is PyTorch's own, of 8
four times as large, with 32 sequences of 256 and 16 heads).
"""

from __future__ import annotations

from typing import Any

import torch

from trtconv.dtypes import to_torch
from trtconv.graph.data import DataType, Graph, Layer
from trtconv.graph.writer import data_type
from trtconv.passes.edit import Edit
from trtconv.passes.precision_constants import HALVES

SMALLEST_FUSED_HEAD = 16
_BETWEEN = ("ELEMENTWISE", "SELECT")
"""What may stand between the scores and their softmax: a scale and a mask."""


def attend_with_small_heads(graph: Graph) -> Graph:
    """Both products around a softmax in float32 where the first sums over fewer than `SMALLEST_FUSED_HEAD` terms."""
    with Edit(graph) as edit:
        for layer in graph.layers:
            if layer.type != "SOFTMAX" or edit.type(layer.outputs[0]).dtype is not DataType.FLOAT:
                continue
            scores = _scores(edit, layer.inputs[0])
            if scores is None:
                continue
            edit.replace(scores.outputs[0], _product(edit, edit.makers[str(scores.inputs[0])], None))
            for cast in edit.readers.get(layer.outputs[0], ()):
                for product in edit.readers.get(cast.outputs[0], ()) if cast.type == "CAST" else ():
                    if _is_half_product(edit, product) and product.inputs[0] == cast.outputs[0]:
                        edit.replace(product.outputs[0], _product(edit, product, layer.outputs[0]))
        return edit.graph()


def _scores(edit: Edit, name: str | None) -> Layer | None:
    """The cast to float32 of scores of small heads that a tensor is computed of."""
    maker = edit.makers.get(str(name))
    if maker is None:
        return None
    if maker.type in _BETWEEN:
        return next((found for each in maker.inputs if (found := _scores(edit, each)) is not None), None)
    product = edit.makers.get(str(maker.inputs[0])) if maker.type == "CAST" else None
    if product is None or not _is_half_product(edit, product):
        return None
    shape = edit.type(str(product.inputs[0])).shape
    terms = shape[-2 if product.attributes["op0"] == "TRANSPOSE" else -1]
    return maker if 0 <= terms < SMALLEST_FUSED_HEAD else None


def _is_half_product(edit: Edit, layer: Layer) -> bool:
    return (
        layer.type == "MATRIX_MULTIPLY"
        and edit.type(layer.outputs[0]).dtype in HALVES
        and all(edit.sizes(str(name)) is not None for name in layer.inputs)
        and "VECTOR" not in (layer.attributes["op0"], layer.attributes["op1"])
    )


def _product(edit: Edit, layer: Layer, left: str | None) -> Any:
    """A product in float32; with `left` for the first factor the result in half precision."""
    net = edit.net
    factors = [net.cast(edit.tensor(name), torch.float32) for name in (left or layer.inputs[0], layer.inputs[1])]
    transposed = [layer.attributes[name] == "TRANSPOSE" for name in ("op0", "op1")]
    result = net.matmul(*factors, transpose_a=transposed[0], transpose_b=transposed[1])
    return net.cast(result, to_torch(data_type(edit.type(layer.outputs[0]).dtype.name))) if left else result
