"""The largest and smallest elements in order. Which of equal elements comes first is left open."""

from __future__ import annotations

import math
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.accumulation import are_few
from trtconv.converters.creation import sequence
from trtconv.converters.indexing import gather, scatter
from trtconv.converters.shape import part
from trtconv.emit.definition import Scalar
from trtconv.emit.network import Network, axes_mask
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, is_static, most

aten = torch.ops.aten

MOST_ELEMENTS = 3840
"""The most elements that the layer TopK gives."""


def extremes(net: Network, x: Any, k: Size, dim: int, largest: bool) -> tuple[Any, Any]:
    """The k largest or smallest along `dim`, best first, and their indices."""
    shape = net.shape(x)
    if not shape:
        return net.tensor(x), net.scalar(0, torch.int64)
    if most(k) > MOST_ELEMENTS:
        raise UnsupportedArgumentError(f"TensorRT sorts out at most {MOST_ELEMENTS} elements; here it were {most(k)}")
    if net.dtype(x) is torch.bool:
        values, indices = extremes(net, net.cast(x, torch.int32), k, dim, largest)
        return net.cast(values, torch.bool), indices
    axis = dim % len(shape)
    result = [k if each == axis else size for each, size in enumerate(shape)]
    if len(shape) == 1:  # the layer wants two axes
        x, axis = net.reshape(x, (1, *shape)), 1
    operation = trt.TopKOperation.MAX if largest else trt.TopKOperation.MIN
    layer = net.add_topk(net.tensor(x), operation, int(k) if is_static(k) else 1, axes_mask([axis]))
    if not is_static(k):
        layer.set_input(1, net.cast(net.reshape(net.size_tensor([k]), ()), torch.int32))
    layer_shape = result if len(shape) > 1 else [1, *result]
    values, indices = (net.known(layer.get_output(i), layer_shape) for i in (0, 1))
    return net.reshape(values, result), net.reshape(net.cast(indices, torch.int64), result)


@converter(aten.topk.default)
def topk(net: Network, x: Any, k: Size, dim: int, largest: bool, sorted: bool) -> tuple[Any, Any]:
    """They are in order in any case."""
    return extremes(net, x, k, dim, largest)


@converter(aten.sort.default)
def sort(net: Network, x: Any, dim: int, descending: bool) -> tuple[Any, Any]:
    return extremes(net, x, net.shape(x)[dim] if net.shape(x) else 1, dim, descending)


@converter(aten.sort.stable)
def stable_sort(net: Network, x: Any, stable: bool | None, dim: int, descending: bool) -> tuple[Any, Any]:
    """Equal values look the same in any order; for the indices of a stable sort every pair is compared."""
    values, indices = sort(net, x, dim, descending)
    shape = net.shape(x)
    if not stable or not shape:
        return values, indices
    dim %= len(shape)
    few = are_few(shape[dim], shape)
    return values, _stable_order(net, x, dim, "GREATER" if descending else "LESS") if few else None


def _stable_order(net: Network, x: Any, dim: int, before: str) -> Any:
    """The place of each element in turn: each is written at the number of those that come before it."""
    shape = net.shape(x)
    x = net.cast(x, torch.int32) if net.dtype(x) is torch.bool else net.tensor(x)

    def places(axis: int, rank: int) -> Any:
        return net.reshape(sequence(net, shape[dim]), [shape[dim] if each == axis else 1 for each in range(rank)])

    own, other = (net.reshape(x, (*shape[:axis], 1, *shape[axis:])) for axis in (dim + 1, dim))
    equal = _layer(net, own, other, "EQUAL")
    tie = _layer(net, equal, _layer(net, places(dim + 1, len(shape) + 1), places(dim, len(shape) + 1), "LESS"), "AND")
    earlier = _layer(net, _layer(net, other, own, before), tie, "OR")
    rank = net.reduce(net.cast(earlier, torch.int64), trt.ReduceOperation.SUM, [dim + 1], False)
    unsorted = net.expand(places(dim, len(shape)), shape)
    return scatter(net, unsorted, dim, rank, unsorted)


@converter(aten.kthvalue.default)
def kthvalue(net: Network, x: Any, k: Size, dim: int, keepdim: bool) -> list[Any]:
    """The last of the k smallest."""
    shape = net.output.shape
    both = extremes(net, x, k, dim, largest=False)
    return [net.reshape(part(net, each, dim, k - 1, 1) if net.shape(x) else each, shape) for each in both]


@converter(aten.mode.default)
def mode(net: Network, x: Any, dim: int, keepdim: bool) -> list[Any]:
    """The smallest of the elements that have most equals, every pair compared; and the last place where it is."""
    shape, dtype = net.shape(x), net.output.dtype
    if not shape:
        return [net.tensor(x), net.scalar(0, torch.int64)]
    x = net.cast(x, torch.int32) if dtype is torch.bool else net.tensor(x)
    axis = dim % len(shape)
    column, row = (net.reshape(x, (*shape[:place], 1, *shape[place:])) for place in (axis + 1, axis))
    equal = net.cast(_layer(net, column, row, "EQUAL"), torch.int32)
    counts = net.reduce(equal, trt.ReduceOperation.SUM, [axis + 1], False)
    most = _layer(net, counts, net.reduce(counts, trt.ReduceOperation.MAX, [axis], True), "EQUAL")
    greatest = math.inf if dtype.is_floating_point else torch.iinfo(net.dtype(x)).max
    candidates = net.select(most, x, greatest, net.dtype(x))
    value = net.reduce(candidates, trt.ReduceOperation.MIN, [axis], True)
    places = net.reshape(sequence(net, shape[axis]), [size if i == axis else 1 for i, size in enumerate(shape)])
    found = net.select(_layer(net, x, value, "EQUAL"), places, 0, torch.int64)
    last = net.reduce(found, trt.ReduceOperation.MAX, [axis], True)
    return [net.reshape(each, net.output.shape) for each in (net.cast(value, dtype), last)]


def _layer(net: Network, a: Any, b: Any, operation: str) -> Any:
    return net.elementwise(a, b, getattr(trt.ElementWiseOperation, operation))


@converter(aten.bucketize.Tensor, aten.bucketize.Scalar)
def bucketize(net: Network, x: Any, boundaries: Any, out_int32: bool, right: bool) -> Any:
    """How many boundaries lie below each element, or up to it if `right`."""
    return net.cast(count_before(net, boundaries, x, right), net.output.dtype)


@converter(aten.searchsorted.Tensor, aten.searchsorted.Scalar)
def searchsorted(
    net: Network, x: Any, self: Any, out_int32: bool, right: bool, side: str | None, sorter: Any = None
) -> Any:
    """For each element of `self` how many of the sorted `x`, of its row if that has rows, come before it."""
    if sorter is not None:
        x = gather(net, x, -1, sorter, False)
    return net.cast(count_before(net, x, self, right or side == "right"), net.output.dtype)


def count_before(net: Network, boundaries: Any, x: Any, up_to: bool) -> Any:
    """How many of the boundaries along the last axis lie below each element, or up to it; all of them for NaN."""
    dtype = net.dtype(boundaries)
    if not isinstance(x, Scalar):
        dtype = torch.promote_types(dtype, net.dtype(x))
    boundaries, x = (net.operands(each, dtype=dtype)[0] for each in (boundaries, x))
    *batch, count = net.shape(boundaries)
    shape = net.shape(x)
    row = net.reshape(boundaries, (*batch, 1, count)) if batch else boundaries
    column = net.reshape(x, (*shape, 1))
    after = _layer(net, row, column, "GREATER")
    if not up_to:
        after = _layer(net, after, _layer(net, row, column, "EQUAL"), "OR")
    before = net.cast(net.unary(after, trt.UnaryOperation.NOT), torch.int64)
    return net.reduce(before, trt.ReduceOperation.SUM, [len(shape)], False)
