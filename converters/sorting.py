"""The largest and smallest elements in order. Which of equal elements comes first is left open."""

from __future__ import annotations

from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.shape import part
from trtconv.errors import UnsupportedArgumentError
from trtconv.network import Network, axes_mask
from trtconv.registry import converter
from trtconv.sizes import Size, is_static, product

aten = torch.ops.aten

MOST_ELEMENTS = 3840
"""The most elements that the layer TopK gives."""


def extremes(net: Network, x: Any, k: Size, dim: int, largest: bool) -> tuple[Any, Any]:
    """The k largest or smallest along `dim`, best first, and their indices."""
    shape = net.shape(x)
    if not shape:
        return net.tensor(x), net.scalar(0, torch.int64)
    if not is_static(k) or k > MOST_ELEMENTS:
        raise UnsupportedArgumentError(f"TensorRT sorts out at most {MOST_ELEMENTS} elements; here it were {k}")
    if net.dtype(x) is torch.bool:
        values, indices = extremes(net, net.cast(x, torch.int32), k, dim, largest)
        return net.cast(values, torch.bool), indices
    axis = dim % len(shape)
    result = [k if each == axis else size for each, size in enumerate(shape)]
    if len(shape) == 1:  # the layer wants two axes
        x, axis = net.reshape(x, (1, *shape)), 1
    operation = trt.TopKOperation.MAX if largest else trt.TopKOperation.MIN
    layer = net.add_topk(net.tensor(x), operation, int(k), axes_mask([axis]))
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
    """Equal values look the same in any order, but the indices of a stable sort aren't known."""
    values, indices = sort(net, x, dim, descending)
    return values, None if stable else indices


@converter(aten.kthvalue.default)
def kthvalue(net: Network, x: Any, k: Size, dim: int, keepdim: bool) -> list[Any]:
    """The last of the k smallest."""
    shape = net.output.shape
    both = extremes(net, x, k, dim, largest=False)
    return [net.reshape(part(net, each, dim, k - 1, 1) if net.shape(x) else each, shape) for each in both]


@converter(aten.median.dim)
def median(net: Network, x: Any, dim: int, keepdim: bool) -> list[Any]:
    """The lower of the two in the middle."""
    return kthvalue(net, x, (net.shape(x)[dim] - 1) // 2 + 1 if net.shape(x) else 1, dim, keepdim)


@converter(aten.median.default)
def median_of_all(net: Network, x: Any) -> Any:
    count = product(net.shape(x))
    return kthvalue(net, net.reshape(x, [count]), (count - 1) // 2 + 1, 0, False)[0]


@converter(aten.bucketize.Tensor)
def bucketize(net: Network, x: Any, boundaries: Any, out_int32: bool, right: bool) -> Any:
    """How many boundaries lie below each element, or up to it if `right`."""
    return _count_below(net, boundaries, x, right)


@converter(aten.searchsorted.Tensor)
def searchsorted(net: Network, x: Any, self: Any, out_int32: bool, right: bool, side: str | None) -> Any:
    """For each element of `self` how many of the sorted `x` come before it."""
    if len(net.shape(x)) != 1:
        raise UnsupportedArgumentError("only one sorted sequence for all elements has layers, not one for each row")
    return _count_below(net, x, self, right or side == "right")


def _count_below(net: Network, boundaries: Any, x: Any, up_to: bool) -> Any:
    shape = net.shape(x)
    dtype = torch.promote_types(net.dtype(x), net.dtype(boundaries))
    column = net.reshape(x, [*shape, 1])
    if up_to:  # not above
        above = net.elementwise(boundaries, column, trt.ElementWiseOperation.GREATER, dtype)
        before = net.unary(above, trt.UnaryOperation.NOT)
    else:
        before = net.elementwise(boundaries, column, trt.ElementWiseOperation.LESS, dtype)
    return net.reduce(net.cast(before, net.output.dtype), trt.ReduceOperation.SUM, [len(shape)], False)
