"""What lies in a segment, or between two edges, taken together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.accumulation import are_few, neutral
from trtconv.converters.arithmetic import wide_dtype
from trtconv.converters.creation import sequence
from trtconv.converters.cumulative import running_sum
from trtconv.converters.shape import part
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, is_same, product

aten = torch.ops.aten

_REDUCTIONS = {"sum": "sum", "mean": "mean", "prod": "prod", "max": "amax", "min": "amin"}
_LAYERS = {"sum": "SUM", "mean": "SUM", "prod": "PROD", "max": "MAX", "min": "MIN"}


def _layer(net: Network, a: Any, b: Any, operation: str) -> Any:
    return net.elementwise(a, b, getattr(trt.ElementWiseOperation, operation))


def _not_less(net: Network, a: Any, b: Any) -> Any:
    return net.unary(_layer(net, a, b, "LESS"), trt.UnaryOperation.NOT)


def _check_pairs(count: Size, given: Sequence[Size]) -> None:
    if not are_few(count, given):
        raise UnsupportedArgumentError(f"comparing {list(given)} elements with {count} limits takes too many steps")


@converter(aten.segment_reduce.default)
def segment_reduce(
    net: Network, data: Any, reduce: str, lengths: Any, offsets: Any, axis: int, unsafe: bool, initial: float | None
) -> Any:
    """What `reduce` makes of each segment along `axis` and of `initial`; segments are given by lengths or by ends."""
    shape = net.shape(data)
    if lengths is not None:
        lengths = net.cast(lengths, torch.int64)
        ends = running_sum(net, lengths, axis)
        starts = net.sub(ends, lengths)
    else:
        offsets = net.cast(offsets, torch.int64)
        count = net.shape(offsets)[axis] - 1
        starts, ends = part(net, offsets, axis, 0, count), part(net, offsets, axis, 1, count)
    batch, size, rest = shape[:axis], shape[axis], shape[axis + 1 :]
    segments = net.shape(ends)[axis]
    _check_pairs(segments, shape)
    places = net.reshape(net.cast(sequence(net, size), torch.int64), [*(1 for _ in batch), 1, size])
    starts, ends = (net.reshape(each, [*batch, segments, 1]) for each in (starts, ends))
    inside = _layer(net, _not_less(net, places, starts), _layer(net, places, ends, "LESS"), "AND")
    inside = net.reshape(inside, [*batch, segments, size, *(1 for _ in rest)])
    dtype = wide_dtype(net.output.dtype)
    values = net.reshape(net.cast(data, dtype), [*batch, 1, size, *rest])
    chosen = net.select(inside, values, neutral(_REDUCTIONS[reduce], dtype), dtype)
    operation = _LAYERS[reduce]
    result = net.reduce(chosen, getattr(trt.ReduceOperation, operation), [axis + 1], False)
    if initial is not None:
        result = _layer(net, result, float(initial), operation)
    if reduce == "mean":
        count = net.reshape(net.cast(net.sub(ends, starts), dtype), [*batch, segments, *(1 for _ in rest)])
        mean = net.div(result, count)
        is_empty = _layer(net, count, 0, "EQUAL")
        result = net.select(is_empty, math.nan if initial is None else initial, mean, dtype)
    return net.cast(result, net.output.dtype)


@converter(aten.histogram.bins_tensor)
def histogram(net: Network, x: Any, bins: Any, weight: Any, density: bool) -> Any:
    """The elements, or their weights, between each two edges; the last edge is inside."""
    edges = net.cast(bins, net.output.dtype)
    return _counted(net, _rows(net, x, 1), [edges], weight, density), edges


@converter(aten.histogram.bin_ct)
def histogram_of_range(
    net: Network, x: Any, bins: int, range: Sequence[float] | None, weight: Any, density: bool
) -> Any:
    """As `histogram`, with edges at equal distances, over a range or over that of the elements."""
    rows = _rows(net, x, 1)
    edges = _edges(net, rows, bins, range)
    return _counted(net, rows, [edges], weight, density), edges


@converter(aten._histogramdd_bin_edges.default)
def edges_for_points(
    net: Network, x: Any, bins: Sequence[int], range: Sequence[float] | None, weight: Any, density: bool
) -> list[Any]:
    rows = _rows(net, x, len(bins))
    limits = [None if range is None else range[2 * axis : 2 * axis + 2] for axis, _ in enumerate(bins)]
    columns = [part(net, rows, 1, axis, 1) for axis, _ in enumerate(bins)]
    return [_edges(net, *each) for each in zip(columns, bins, limits, strict=True)]


@converter(aten._histogramdd_from_bin_cts.default)
def histogram_of_points(
    net: Network, x: Any, bins: Sequence[int], range: Sequence[float] | None, weight: Any, density: bool
) -> Any:
    """The points, whose coordinates lie along the last axis, between edges along each axis."""
    edges = edges_for_points(net, x, bins, range, weight, density)
    return _counted(net, _rows(net, x, len(bins)), edges, weight, density)


def _rows(net: Network, x: Any, coordinates: int) -> Any:
    """Points as the rows of a matrix."""
    shape = net.shape(x)
    return net.reshape(x, [product(shape) if coordinates == 1 else product(shape[:-1]), coordinates])


def _edges(net: Network, column: Any, bins: int, limits: Sequence[float] | None) -> Any:
    """One more edge than bins, as torch.linspace places them: the second half is counted from the end."""
    dtype, count = net.dtype(column), net.shape(column)[0]
    if limits is not None:
        low, high = (net.scalar(float(limit), dtype, 1) for limit in limits)
    elif is_same(count, 0):
        low, high = net.scalar(0.0, dtype, 1), net.scalar(1.0, dtype, 1)
    else:
        flat = net.reshape(column, [count])
        low, high = (net.reduce(flat, getattr(trt.ReduceOperation, kind), [0], True) for kind in ("MIN", "MAX"))
    alike = _layer(net, low, high, "EQUAL")
    low, high = net.select(alike, net.sub(low, 0.5), low, dtype), net.select(alike, net.add(high, 0.5), high, dtype)
    place = torch.arange(bins + 1)
    step = net.div(net.sub(high, low), bins)
    from_low = net.add(net.mul(step, place.to(dtype)), low)
    from_high = net.sub(high, net.mul(step, (bins - place).to(dtype)))
    return net.select(place < (bins + 1) // 2, from_low, from_high, dtype)


def _counted(net: Network, rows: Any, edges: Sequence[Any], weight: Any, density: bool) -> Any:
    """How many rows, or how much of their weights, have each coordinate between two edges of its axis."""
    dtype, count = net.dtype(rows), net.shape(rows)[0]
    sizes = [net.shape(each)[0] - 1 for each in edges]
    _check_pairs(product(sizes), (count,))
    chosen = net.scalar(1.0, dtype, 2) if weight is None else net.reshape(net.cast(weight, dtype), [count, 1])
    chosen = net.expand(chosen, [count, 1])
    widths = []
    for axis, (limits, bins) in enumerate(zip(edges, sizes, strict=True)):
        lower, upper = (net.reshape(part(net, limits, 0, start, bins), [1, bins]) for start in (0, 1))
        column = part(net, rows, 1, axis, 1)
        is_last = net.reshape(_layer(net, sequence(net, bins), bins - 1, "EQUAL"), [1, bins])
        below = net.unary(_layer(net, column, upper, "GREATER"), trt.UnaryOperation.NOT)
        below = net.select(is_last, below, _layer(net, column, upper, "LESS"), torch.bool)
        inside = net.reshape(_layer(net, _not_less(net, column, lower), below, "AND"), [count, 1, bins])
        before = net.shape(chosen)[1]
        chosen = net.select(inside, net.reshape(chosen, [count, before, 1]), 0.0, dtype)
        chosen = net.reshape(chosen, [count, before * bins])
        widths.append(net.reshape(net.sub(upper, lower), [bins if each == axis else 1 for each in range(len(sizes))]))
    result = net.reduce(chosen, trt.ReduceOperation.SUM, [0], False)
    total = net.reshape(net.reduce(result, trt.ReduceOperation.SUM, [0], True), [1 for _ in sizes])
    result = net.reshape(result, sizes)
    if density:
        for width in widths:
            result = net.div(result, width)
        result = net.div(result, total)
    return result
