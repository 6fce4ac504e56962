"""Elements combined at the places that indices name: sums, products, extremes and means.

TensorRT writes elements at places and doesn't combine them there, so every index is compared with every
place. Where that were too many pairs, sums of whole rows are a product with a matrix of zeros and ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import scaled, wide_dtype
from trtconv.converters.creation import sequence
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, is_same, is_static, product, same

aten = torch.ops.aten

MOST_PAIRS = 1 << 24

_LAYERS = {"sum": "SUM", "mean": "SUM", "prod": "PROD", "amax": "MAX", "amin": "MIN"}


@converter(aten.scatter_reduce.two)
def scatter_reduce(net: Network, x: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool) -> Any:
    """What `reduce` makes, for each place along `dim`, of the elements of `src` that `index` sends there.

    And of the one of `x` if it is included; where no element is sent, `x` stays.
    """
    shape, given = net.shape(x), net.shape(index)
    if not shape:
        x, index, src = (net.reshape(each, (1,)) for each in (x, index, src))
        return net.reshape(scatter_reduce(net, x, 0, index, src, reduce, include_self), ())
    dim %= len(shape)
    if not same(net.shape(src), given):
        src = net.slice(src, [0] * len(shape), given)
    if (
        (reduce, include_self) == ("sum", True)
        and _names_rows(net, index, shape, dim)
        and not are_few(shape[dim], given)
    ):
        row = net.slice(index, [0] * len(shape), [size if axis == dim else 1 for axis, size in enumerate(given)])
        return _rows_added(net, x, dim, net.reshape(row, (given[dim],)), src)
    here = _comparison(net, index, dim, shape[dim])
    dtype = _wide(net)
    own, column = net.cast(x, dtype), net.reshape(net.cast(src, dtype), (*given[:dim], 1, *given[dim:]))
    result = _combined(net, here, column, reduce, dim, shape, dtype)
    if include_self:
        result = net.elementwise(result, own, getattr(trt.ElementWiseOperation, _LAYERS[reduce]))
    if reduce == "mean" or not include_self:
        count = _combined(net, here, 1, "sum", dim, shape, torch.int32)
        if reduce == "mean":
            result = _divided(net, result, net.add(count, 1) if include_self else count)
        if not include_self:
            result = net.select(_greater(net, count, 0), result, own, dtype)
    return net.cast(result, net.output.dtype)


@converter(aten.scatter_add.default)
def scatter_add(net: Network, x: Any, dim: int, index: Any, src: Any) -> Any:
    """x + sum_j [index_j = i] src_j for each place i along `dim`"""
    return scatter_reduce(net, x, dim, index, src, "sum", True)


@converter(aten.scatter.reduce)
def scatter_with(net: Network, x: Any, dim: int, index: Any, src: Any, reduce: str) -> Any:
    return scatter_reduce(net, x, dim, index, src, {"add": "sum", "multiply": "prod"}[reduce], True)


@converter(aten.scatter.value_reduce)
def scatter_number_with(net: Network, x: Any, dim: int, index: Any, value: float, reduce: str) -> Any:
    shape = net.shape(index)
    numbers = net.expand(net.scalar(value, net.output.dtype, len(shape)), shape)
    return scatter_with(net, x, dim, index, numbers, reduce)


@converter(aten.index_reduce.default)
def index_reduce(net: Network, x: Any, dim: int, index: Any, source: Any, reduce: str, include_self: bool) -> Any:
    """As scatter_reduce, with whole parts of `source`."""
    shape = net.shape(source)
    if shape:
        column = net.reshape(index, [size if axis == dim % len(shape) else 1 for axis, size in enumerate(shape)])
        index = net.expand(column, shape)
    return scatter_reduce(net, x, dim, index, source, reduce, include_self)


@converter(aten.index_add.default)
def index_add(net: Network, x: Any, dim: int, index: Any, source: Any, alpha: float) -> Any:
    """x + alpha * sum_j [index_j = i] source_j for each place i along `dim`"""
    shape = net.shape(source)
    source = scaled(net, net.cast(source, wide_dtype(net.output.dtype)), alpha)
    if shape and net.output.dtype.is_floating_point and not are_few(net.shape(x)[dim], shape):
        return _rows_added(net, x, dim % len(shape), index, source)
    return index_reduce(net, x, dim, index, source, "sum", True)


@converter(aten.histc.default)
def histc(net: Network, x: Any, bins: int, min: float, max: float) -> Any:
    """How many elements lie in each of `bins` equal parts of min..max, or of their own range."""
    # Of integers, which CUDA takes: float32 tells apart what lies in different parts up to 2**24 / bins.
    dtype = wide_dtype(x.dtype) if x.dtype.is_floating_point else torch.float32
    values = net.reshape(net.cast(x, dtype), (product(net.shape(x)),))
    if min == max:
        low = net.reduce(values, trt.ReduceOperation.MIN, [0], True)
        high = net.reduce(values, trt.ReduceOperation.MAX, [0], True)
        alike = net.elementwise(low, high, trt.ElementWiseOperation.EQUAL)
        low, high = net.select(alike, net.sub(low, 1), low, dtype), net.select(alike, net.add(high, 1), high, dtype)
    else:
        low, high = (net.scalar(limit, dtype, 1) for limit in (min, max))
    place = net.div(net.mul(net.sub(values, low), bins), net.sub(high, low))
    place = net.elementwise(net.unary(place, trt.UnaryOperation.FLOOR), bins - 1, trt.ElementWiseOperation.MIN)
    beyond = _greater(net, values, high)
    here = _comparison(net, net.select(beyond, -1, place, dtype), 0, bins)
    counts = net.reduce(net.cast(here, torch.int32), trt.ReduceOperation.SUM, [1], False)
    return net.cast(counts, net.output.dtype)


def added_at(net: Network, x: Any, index: Any, source: Any) -> Any:
    """`x` with the rows of `source` added at those that the vector `index` names."""
    return index_add(net, x, 0, index, source, 1)


def _comparison(net: Network, index: Any, dim: int, size: Size) -> Any:
    """Whether each index is each of `size` places, which are a new axis before that of the indices."""
    given = net.shape(index)
    if not are_few(size, given):
        raise UnsupportedArgumentError(
            f"TensorRT doesn't combine elements at indices; comparing {list(given)} indices with {size} places each "
            f"takes more than the {MOST_PAIRS} steps that are done"
        )
    index = net.reshape(index, (*given[:dim], 1, *given[dim:]))
    column = [size if axis == dim else 1 for axis in range(len(given) + 1)]
    places = net.cast(net.reshape(sequence(net, size), column), net.dtype(index))
    return net.elementwise(index, places, trt.ElementWiseOperation.EQUAL)


def are_few(size: Size, given: Sequence[Size]) -> bool:
    """Whether so many pairs of a place and an index are compared; dynamic sizes don't count."""
    return math.prod(int(n) for n in (size, *given) if is_static(n)) <= MOST_PAIRS


def _combined(
    net: Network, here: Any, values: Any, reduce: str, dim: int, shape: Sequence[Size], dtype: torch.dtype
) -> Any:
    """The values at each place, combined; what changes nothing where there are none."""
    nothing = neutral(reduce, dtype)
    each = net.select(here, values, nothing, dtype)
    result = net.reduce(each, getattr(trt.ReduceOperation, _LAYERS[reduce]), [dim + 1], False)
    if same(net.shape(result), shape):
        return result
    # Along other dimensions the indices may end before the tensor does.
    return net.slice(result, [0] * len(shape), shape, mode=trt.SampleMode.FILL, fill=nothing)


def neutral(reduce: str, dtype: torch.dtype) -> float:
    """What changes no result of a reduction."""
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    if dtype.is_floating_point:
        return -math.inf if reduce == "amax" else math.inf
    return torch.iinfo(dtype).min if reduce == "amax" else torch.iinfo(dtype).max


def _divided(net: Network, total: Any, count: Any) -> Any:
    """The mean; of integers rounded down."""
    dtype = net.dtype(total)
    count = net.elementwise(count, 1, trt.ElementWiseOperation.MAX)
    operation = trt.ElementWiseOperation.DIV if dtype.is_floating_point else trt.ElementWiseOperation.FLOOR_DIV
    return net.elementwise(total, net.cast(count, dtype), operation)


def _greater(net: Network, a: Any, b: Any) -> Any:
    return net.elementwise(a, b, trt.ElementWiseOperation.GREATER)


def _wide(net: Network) -> torch.dtype:
    """What the call is computed in; TensorRT reduces no truth values."""
    return torch.int32 if net.output.dtype is torch.bool else wide_dtype(net.output.dtype)


def _names_rows(net: Network, index: Any, shape: Sequence[Size], dim: int) -> bool:
    """Whether indices are a vector along `dim`, expanded to all of `shape`, so that rows of floats are added."""
    if not isinstance(index, torch.Tensor) or not net.output.dtype.is_floating_point:
        return False
    sizes, strides = index.shape, index.stride()
    others = [axis for axis in range(len(shape)) if axis != dim]
    return all(strides[axis] == 0 and is_same(sizes[axis], shape[axis]) for axis in others)


def _rows_added(net: Network, x: Any, dim: int, index: Any, source: Any) -> Any:
    """x + the matrix of [index_j = i] times `source`; a NaN or an infinity in `source` reaches all of the result."""
    shape, count = net.shape(x), net.shape(index)[0]
    others = [axis for axis in range(len(shape)) if axis != dim]
    order = [dim, *others]
    width = product(shape[axis] for axis in others)
    here = net.cast(_comparison(net, index, 0, shape[dim]), torch.float32)
    rows = net.reshape(net.permute(net.cast(source, torch.float32), order), (count, width))
    added = net.reshape(net.matmul(here, rows), [shape[axis] for axis in order])
    added = net.permute(added, [order.index(axis) for axis in range(len(shape))])
    return net.cast(net.add(added, x), net.output.dtype)
