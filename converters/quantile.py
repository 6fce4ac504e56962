"""Medians and quantiles."""

from __future__ import annotations

import math
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.capture.trace import is_activation
from trtconv.converters.creation import sequence
from trtconv.converters.indexing import gather
from trtconv.converters.sorting import extremes, kthvalue
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import is_static, product

aten = torch.ops.aten


@converter(aten.median.dim)
def median(net: Network, x: Any, dim: int, keepdim: bool) -> list[Any]:
    """The lower of the two in the middle; NaN, and the place of one, where there are any."""
    shape = net.shape(x)
    if not shape:
        return [net.tensor(x), net.scalar(0, torch.int64)]
    axis = dim % len(shape)
    lower = (shape[axis] - 1) // 2 + 1
    if not net.dtype(x).is_floating_point:
        return kthvalue(net, x, lower, axis, keepdim)
    is_nan, numbers = _numbers(net, x)
    value, index = kthvalue(net, numbers, lower, axis, keepdim)
    column = net.reshape(sequence(net, shape[axis]), [size if i == axis else 1 for i, size in enumerate(shape)])
    place = net.select(is_nan, column, -1, torch.int64)
    place = net.reshape(net.reduce(place, trt.ReduceOperation.MAX, [axis], True), net.output.shape)
    has_nan = _layer(net, place, -1, "GREATER")
    return [net.select(has_nan, math.nan, value, net.output.dtype), net.select(has_nan, place, index, torch.int64)]


@converter(aten.nanmedian.dim)
def nanmedian(net: Network, x: Any, dim: int, keepdim: bool) -> list[Any]:
    """The median of what isn't NaN."""
    shape = net.shape(x)
    if not shape or not net.dtype(x).is_floating_point:
        return median(net, x, dim, keepdim)
    axis = dim % len(shape)
    is_nan, numbers = _numbers(net, x)
    value, index = extremes(net, numbers, shape[axis], axis, largest=False)
    count = _count(net, is_nan, axis)
    middle = net.elementwise(net.sub(count, 1), 2, trt.ElementWiseOperation.DIV)  # 0 of none
    value, index = (net.reshape(gather(net, each, axis, middle, False), net.output.shape) for each in (value, index))
    nothing = net.reshape(_layer(net, count, 0, "EQUAL"), net.output.shape)
    return [net.select(nothing, math.nan, value, net.output.dtype), index]


@converter(aten.median.default)
def median_of_all(net: Network, x: Any) -> Any:
    return median(net, net.reshape(x, [product(net.shape(x))]), 0, False)[0]


@converter(aten.nanmedian.default)
def nanmedian_of_all(net: Network, x: Any) -> Any:
    return nanmedian(net, net.reshape(x, [product(net.shape(x))]), 0, False)[0]


# Whole, since torch computes the places in float64, which TensorRT doesn't have.
@converter(torch.quantile)
def quantile(
    net: Network,
    input: Any,
    q: float | torch.Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Any:
    return _quantile(net, input, q, dim, interpolation, ignore_nan=False)


@converter(torch.nanquantile)
def nanquantile(
    net: Network,
    input: Any,
    q: float | torch.Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Any:
    return _quantile(net, input, q, dim, interpolation, ignore_nan=True)


def _quantile(net: Network, x: Any, q: Any, dim: int | None, interpolation: str, *, ignore_nan: bool) -> Any:
    """What stands at the place q * (count - 1) of the sorted elements, between two of them as `interpolation` says."""
    if isinstance(q, torch.Tensor) and is_activation(q):
        raise UnsupportedArgumentError("q must be a number or a constant; here it depends on an input")
    q = torch.as_tensor(q, dtype=torch.float64)
    if bool(((q < 0) | (q > 1)).any()):
        raise UnsupportedArgumentError(f"q must lie from 0 to 1; here it is {q.tolist()}")
    shape = net.shape(x)
    if dim is None or not shape:
        x, shape, dim = net.reshape(x, (product(shape),)), (product(shape),), 0
    axis = dim % len(shape)
    if not is_static(shape[axis]):
        raise UnsupportedArgumentError("the quantiles along a dynamic dimension have no layers")
    x = net.permute(x, [*(i for i in range(len(shape)) if i != axis), axis])
    last, size = len(shape) - 1, int(shape[axis])
    is_nan, numbers = _numbers(net, x)
    ascending, _ = extremes(net, numbers, size, last, largest=False)
    count = _count(net, is_nan, last)
    places = _places(size, q.flatten(), interpolation)
    wanted = (*net.shape(x)[:last], places[0].shape[1])
    if ignore_nan:
        rows = net.reshape(count, wanted[:last])
        below, above, weight = (net.gather(table, rows, 0) for table in places)
    else:
        below, above, weight = (net.expand(table[size], wanted) for table in places)
    low, high = (gather(net, ascending, last, place, False) for place in (below, above))
    missing = _layer(net, count, 0 if ignore_nan else size, "EQUAL")
    result = _lerp(net, low, high, weight) if interpolation in ("linear", "midpoint") else low
    if ignore_nan:
        result = net.select(missing, math.nan, result, net.output.dtype)
    else:
        result = net.select(missing, result, math.nan, net.output.dtype)
    if q.dim():
        result = net.permute(result, [last, *range(last)])
    return net.reshape(result, net.output.shape)


def _places(size: int, q: torch.Tensor, interpolation: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each count of numbers up to `size` and each q the places of the two elements, and the second's weight."""
    ranks = (torch.arange(size + 1).unsqueeze(1) - 1).clamp(min=0) * q
    if interpolation in _ROUNDINGS:
        ranks = _ROUNDINGS[interpolation](ranks)
    below, above = ranks.floor(), ranks.ceil()
    weight = torch.full_like(ranks, 0.5) if interpolation == "midpoint" else ranks - below
    return below.long(), above.long(), weight.float()


_ROUNDINGS = {"lower": torch.floor, "higher": torch.ceil, "nearest": torch.round}


def _lerp(net: Network, low: Any, high: Any, weight: Any) -> Any:
    """low + weight * (high - low), counted from the nearer end"""
    distance = net.sub(high, low)
    from_low = net.add(low, net.mul(distance, weight))
    from_high = net.sub(high, net.mul(distance, net.sub(1, weight)))
    return net.select(_layer(net, weight, 0.5, "LESS"), from_low, from_high, net.dtype(low))


def _numbers(net: Network, x: Any) -> tuple[Any, Any]:
    """Where the NaNs are, and infinity in the place of each: TopK leaves open where it puts NaNs."""
    is_nan = net.unary(x, trt.UnaryOperation.ISNAN)
    return is_nan, net.select(is_nan, math.inf, x, net.dtype(x))


def _count(net: Network, is_nan: Any, axis: int) -> Any:
    """How many elements along an axis are no NaNs."""
    number = net.cast(net.unary(is_nan, trt.UnaryOperation.NOT), torch.int64)
    return net.reduce(number, trt.ReduceOperation.SUM, [axis], True)


def _layer(net: Network, a: Any, b: Any, operation: str) -> Any:
    return net.elementwise(a, b, getattr(trt.ElementWiseOperation, operation))
