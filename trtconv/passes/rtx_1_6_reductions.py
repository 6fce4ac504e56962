"""Reductions that TensorRT-RTX 1.6.1 computes rightly.

- Over several axes of few elements it comes out wrong where a softmax or a norm along one of them comes before (seen
  with 120 elements and less; 252 were right), and over all axes. Over one axis at a time it is right.
- Sums of bfloat16 after a norm came out wrong: they are taken in float32, which rounds as torch does.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.emit.network import Network
from trtconv.graph.data import DataType, Graph, Layer
from trtconv.passes.edit import Edit, rewritten
from trtconv.sizes import product

FEW_ELEMENTS = 1024


def reduce_by_one_axis(graph: Graph) -> Graph:
    """Reductions of few elements over one axis after the other, those of bfloat16 in float32."""
    return rewritten(graph, {"REDUCE": _reduce})


def _reduce(edit: Edit, layer: Layer) -> Any:
    attributes, name = layer.attributes, str(layer.inputs[0])
    sizes, kind = edit.sizes(name), edit.type(name)
    axes = [axis for axis in range(len(kind.shape)) if attributes["axes"] >> axis & 1]
    fixed = math.prod(size for size in kind.shape if size >= 0)
    by_one = sizes is not None and len(axes) > 1 and (len(axes) == len(kind.shape) or fixed <= FEW_ELEMENTS)
    is_rounded = sizes is not None and kind.dtype is DataType.BF16
    if not by_one and not is_rounded:
        return None
    net, operation = edit.net, trt.ReduceOperation.__members__[attributes["op"]]
    x = edit.tensor(name)
    if is_rounded:
        x = net.cast(x, torch.float32)
    if by_one:
        x = _by_one_axis(net, x, operation, axes, attributes["keep_dims"])
    else:
        x = net.reduce(x, operation, axes, attributes["keep_dims"])
    return net.cast(x, torch.bfloat16) if is_rounded else x


def _by_one_axis(net: Network, x: Any, operation: Any, axes: list[int], keepdim: bool) -> Any:
    """A reduction over several axes as reductions over one: neighbors are made one axis."""
    shape = net.shape(x)
    result = [1 if axis in axes else size for axis, size in enumerate(shape)]
    while axes:
        last = axes[-1]
        first = next(axis for axis in reversed(range(last + 1)) if axis - 1 not in axes)
        axes = [axis for axis in axes if axis < first]
        joined = net.reshape(x, (*shape[:first], product(shape[first : last + 1]), *shape[last + 1 :]))
        x = net.reduce(joined, operation, (first,), False)
        shape = net.shape(x)
    return net.reshape(x, result) if keepdim else x
