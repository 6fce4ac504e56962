"""Reductions over dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import power, wide_dtype
from trtconv.converters.creation import sequence
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.sizes import Size, is_static, product

aten = torch.ops.aten


Dims = int | Sequence[int] | None


def axes(net: Network, x: Any, dim: Dims) -> list[int]:
    """The axes that `dim` names, not negative; all of them for None and for no dims."""
    rank = len(net.shape(x))
    if rank == 0:
        return []
    dims = [dim] if isinstance(dim, int) else dim
    return sorted({d % rank for d in dims}) if dims else list(range(rank))


def reduced(net: Network, x: Any, operation: str, dim: Dims, keepdim: bool = False) -> Any:
    """A reduction in the dtype of `x`."""
    dtype = net.dtype(x)
    dims = axes(net, x, dim)
    if not dims:
        return net.tensor(x)
    x = net.tensor(x, torch.int32 if dtype is torch.bool else dtype)  # there are no reductions of bools
    return net.cast(net.reduce(x, getattr(trt.ReduceOperation, operation), dims, keepdim), dtype)


def _reduce(net: Network, x: Any, operation: str, dim: Dims, keepdim: bool) -> Any:
    return reduced(net, net.cast(x, net.output.dtype), operation, dim, keepdim)


@converter(aten.mean.default, aten.mean.dim)
def mean(net: Network, x: Any, dim: Dims = None, keepdim: bool = False, dtype: object = None) -> Any:
    return _reduce(net, x, "AVG", dim, keepdim)


@converter(aten.sum.default, aten.sum.dim_IntList)
def sum_(net: Network, x: Any, dim: Dims = None, keepdim: bool = False, dtype: object = None) -> Any:
    return _reduce(net, x, "SUM", dim, keepdim)


@converter(aten.nansum.default)
def nansum(net: Network, x: Any, dim: Dims, keepdim: bool, dtype: object) -> Any:
    """The sum of what isn't NaN."""
    if net.dtype(x).is_floating_point:
        x = net.select(net.unary(x, trt.UnaryOperation.ISNAN), 0, x, net.dtype(x))
    return _reduce(net, x, "SUM", dim, keepdim)


@converter(aten.prod.default, aten.prod.dim_int)
def prod(net: Network, x: Any, dim: Dims = None, keepdim: bool = False, dtype: object = None) -> Any:
    return _reduce(net, x, "PROD", dim, keepdim)


@converter(aten.amax.default, aten.max.default)
def amax(net: Network, x: Any, dim: Dims = None, keepdim: bool = False) -> Any:
    return _reduce(net, x, "MAX", dim, keepdim)


@converter(aten.amin.default, aten.min.default)
def amin(net: Network, x: Any, dim: Dims = None, keepdim: bool = False) -> Any:
    return _reduce(net, x, "MIN", dim, keepdim)


@converter(aten.aminmax.default)
def aminmax(net: Network, x: Any, dim: int | None, keepdim: bool) -> tuple[Any, Any]:
    return amin(net, x, dim, keepdim), amax(net, x, dim, keepdim)


@converter(aten.any.default, aten.any.dim, aten.any.dims)
def any_(net: Network, x: Any, dim: Dims = None, keepdim: bool = False) -> Any:
    return _of_truths(net, x, "MAX", dim, keepdim)


@converter(aten.all.default, aten.all.dim, aten.all.dims)
def all_(net: Network, x: Any, dim: Dims = None, keepdim: bool = False) -> Any:
    return _of_truths(net, x, "MIN", dim, keepdim)


def _of_truths(net: Network, x: Any, operation: str, dim: Dims, keepdim: bool) -> Any:
    truths = net.cast(x, torch.bool)
    if dim is not None and not isinstance(dim, int) and not dim:
        return truths  # unlike other reductions, any and all over no dims leave the shape
    number = reduced(net, net.cast(truths, torch.int32), operation, dim, keepdim)
    return net.elementwise(number, 0, trt.ElementWiseOperation.GREATER)  # of no elements the maximum is less


@converter(aten.count_nonzero.default, aten.count_nonzero.dim_IntList)
def count_nonzero(net: Network, x: Any, dim: Dims) -> Any:
    return _reduce(net, net.cast(x, torch.bool), "SUM", dim, False)


# -- where the extremes are -------------------------------------------------------------------------


@converter(aten.argmax.default)
def argmax(net: Network, x: Any, dim: int | None, keepdim: bool) -> Any:
    return _place_of_extreme(net, x, "MAX", dim, keepdim)


@converter(aten.argmin.default)
def argmin(net: Network, x: Any, dim: int | None, keepdim: bool) -> Any:
    return _place_of_extreme(net, x, "MIN", dim, keepdim)


@converter(aten.max.dim)
def max_with_index(net: Network, x: Any, dim: int, keepdim: bool) -> tuple[Any, Any]:
    return amax(net, x, dim, keepdim), _place_of_extreme(net, x, "MAX", dim, keepdim)


@converter(aten.min.dim)
def min_with_index(net: Network, x: Any, dim: int, keepdim: bool) -> tuple[Any, Any]:
    return amin(net, x, dim, keepdim), _place_of_extreme(net, x, "MIN", dim, keepdim)


def _place_of_extreme(net: Network, x: Any, operation: str, dim: int | None, keepdim: bool) -> Any:
    """The first index along `dim`, or of the flattened tensor, whose element is the largest or smallest.

    The layer TopK is no help: which of equal elements it finds is left open, and its input has two axes.
    """
    shape = net.shape(x)
    if not shape:
        return net.scalar(0, torch.int64)
    if dim is None:
        index = _place_of_extreme(net, net.reshape(x, [product(shape)]), operation, 0, False)
        return net.reshape(index, [1] * len(shape)) if keepdim else index
    (axis,) = axes(net, x, dim)
    extreme = reduced(net, x, operation, axis, keepdim=True)
    index = net.reshape(sequence(net, shape[axis]), [size if each == axis else 1 for each, size in enumerate(shape)])
    # Those of NaN come before those of the extreme, and both before all others: the smallest is the result.
    is_extreme = net.elementwise(x, extreme, trt.ElementWiseOperation.EQUAL)
    order = net.select(is_extreme, net.add(index, _BEHIND), 2 * _BEHIND, torch.int64)
    if net.dtype(x).is_floating_point:
        order = net.select(net.unary(x, trt.UnaryOperation.ISNAN), index, order, torch.int64)
    first = reduced(net, order, "MIN", axis, keepdim)
    is_number = net.elementwise(first, _BEHIND - 1, trt.ElementWiseOperation.GREATER)
    return net.select(is_number, net.sub(first, _BEHIND), first, torch.int64)


_BEHIND = 1 << 40
"""More than any index."""


# -- moments and norms ------------------------------------------------------------------------------


@converter(aten.var.correction)
def var(net: Network, x: Any, dim: Dims, correction: float | None, keepdim: bool) -> Any:
    return net.cast(_moments(net, x, dim, correction, keepdim)[0], net.output.dtype)


@converter(aten.std.correction)
def std(net: Network, x: Any, dim: Dims, correction: float | None, keepdim: bool) -> Any:
    variance, _ = _moments(net, x, dim, correction, keepdim)
    return net.cast(net.unary(variance, trt.UnaryOperation.SQRT), net.output.dtype)


@converter(aten.var_mean.correction)
def var_mean(net: Network, x: Any, dim: Dims, correction: float | None, keepdim: bool) -> list[Any]:
    return [net.cast(each, net.output.dtype) for each in _moments(net, x, dim, correction, keepdim)]


@converter(aten.std_mean.correction)
def std_mean(net: Network, x: Any, dim: Dims, correction: float | None, keepdim: bool) -> list[Any]:
    variance, mean = _moments(net, x, dim, correction, keepdim)
    return [net.cast(each, net.output.dtype) for each in (net.unary(variance, trt.UnaryOperation.SQRT), mean)]


def _moments(net: Network, x: Any, dim: Dims, correction: float | None, keepdim: bool) -> tuple[Any, Any]:
    """Variance, sum((x - mean)^2) / max(0, n - correction), and mean, in the wide dtype."""
    x = net.cast(x, wide_dtype(net.output.dtype))
    correction = 1 if correction is None else correction
    mean = reduced(net, x, "AVG", dim, keepdim=True)
    difference = net.sub(x, mean)
    squares = reduced(net, net.mul(difference, difference), "SUM", dim, keepdim)
    count = product(net.shape(x)[axis] for axis in axes(net, x, dim))
    variance = net.div(squares, _at_least_zero(net, count, correction))
    return variance, net.reshape(mean, net.shape(variance))


def _at_least_zero(net: Network, count: Size, correction: float) -> Any:
    if is_static(count):
        return max(int(count) - correction, 0)
    degrees = net.sub(net.cast(net.reshape(net.size_tensor([count]), ()), torch.float32), correction)
    return net.elementwise(degrees, 0, trt.ElementWiseOperation.MAX)


@converter(aten.linalg_vector_norm.default)
def vector_norm(net: Network, x: Any, ord: float, dim: Dims, keepdim: bool, dtype: object) -> Any:
    return norm_of(net, x, ord, dim, keepdim)


@converter(aten.norm.Scalar, aten.norm.ScalarOpt_dim, aten.norm.ScalarOpt_dtype, aten.norm.ScalarOpt_dim_dtype)
def norm(net: Network, x: Any, p: float | None, dim: Dims = None, keepdim: bool = False, dtype: object = None) -> Any:
    return norm_of(net, x, 2 if p is None else p, dim, keepdim)


def norm_of(net: Network, x: Any, p: float, dim: Dims, keepdim: bool) -> Any:
    """sum(|x|^p)^(1/p), its limits at the infinities, and the number of elements that aren't 0 for p = 0."""
    x = net.unary(net.cast(x, wide_dtype(net.output.dtype)), trt.UnaryOperation.ABS)
    if abs(p) == math.inf:
        result = reduced(net, x, "MAX" if p > 0 else "MIN", dim, keepdim)
    elif p == 0:
        result = reduced(net, net.cast(net.cast(x, torch.bool), net.dtype(x)), "SUM", dim, keepdim)
    else:
        result = power(net, reduced(net, power(net, x, p), "SUM", dim, keepdim), 1 / p)
    return net.cast(result, net.output.dtype)


@converter(aten.renorm.default)
def renorm(net: Network, x: Any, p: float, dim: int, maxnorm: float) -> Any:
    """The parts along `dim` whose norm is greater scaled down to it."""
    rank = len(net.shape(x))
    norms = norm_of(net, x, p, [axis for axis in range(rank) if axis != dim % rank], True)
    factor = net.div(maxnorm, net.add(norms, 1e-7))
    factor = net.select(net.elementwise(norms, maxnorm, trt.ElementWiseOperation.GREATER), factor, 1, net.dtype(norms))
    return net.mul(x, factor)


@converter(aten.logsumexp.default)
def logsumexp(net: Network, x: Any, dim: Dims, keepdim: bool) -> Any:
    """m + log(sum(exp(x - m))) with the maximum m, or 0 where that is infinite"""
    x = net.cast(x, wide_dtype(net.output.dtype))
    largest = reduced(net, x, "MAX", dim, keepdim=True)
    largest = net.select(net.unary(largest, trt.UnaryOperation.ISINF), 0, largest, net.dtype(x))
    total = reduced(net, net.unary(net.sub(x, largest), trt.UnaryOperation.EXP), "SUM", dim, keepdim)
    log = net.unary(total, trt.UnaryOperation.LOG)
    return net.cast(net.add(log, net.reshape(largest, net.shape(log))), net.output.dtype)


# -- along one axis ---------------------------------------------------------------------------------


@converter(aten._softmax.default)
def softmax(net: Network, x: Any, dim: int, half_to_float: bool) -> Any:
    x = net.tensor(x, net.output.dtype)
    rank = len(net.shape(x))
    if rank == 0:
        return net.scalar(1.0, net.output.dtype)
    return net.softmax(x, dim % rank)


@converter(aten._safe_softmax.default)
def safe_softmax(net: Network, x: Any, dim: int, dtype: object) -> Any:
    """Softmax, and 0 where all along `dim` are -inf."""
    largest = reduced(net, net.tensor(x, net.output.dtype), "MAX", dim, keepdim=True)
    nothing = net.elementwise(largest, -math.inf, trt.ElementWiseOperation.EQUAL)
    return net.select(nothing, 0, softmax(net, x, dim, False), net.output.dtype)
