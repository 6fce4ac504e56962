"""What has come together up to each element of a dimension: sums, products, extremes, log-sum-exps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import wide_dtype
from trtconv.converters.bivariate import log_of_sum
from trtconv.converters.creation import sequence
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.sizes import most

aten = torch.ops.aten

Parts = tuple[Any, ...]
"""Tensors of one shape that go through a scan together."""


@converter(aten.cumsum.default)
def cumsum(net: Network, x: Any, dim: int, dtype: object) -> Any:
    return net.cast(running_sum(net, net.cast(x, wide_dtype(net.output.dtype)), dim), net.output.dtype)


def running_sum(net: Network, x: Any, dim: int) -> Any:
    """The sum up to each element along `dim`, itself included, in the dtype of `x`."""
    shape = net.shape(x)
    if not shape:
        return net.tensor(x)
    axis = net.scalar(dim % len(shape), torch.int32)
    layer = net.add_cumulative(net.tensor(x), axis, trt.CumulativeOperation.SUM, False, False)
    return net.known(layer.get_output(0), shape)


@converter(aten.cumprod.default)
def cumprod(net: Network, x: Any, dim: int, dtype: object) -> Any:
    x = net.cast(x, wide_dtype(net.output.dtype))
    (product,) = scan(net, (x,), dim, (1,), lambda before, here: (net.mul(before[0], here[0]),))
    return net.cast(product, net.output.dtype)


@converter(aten.logcumsumexp.default)
def logcumsumexp(net: Network, x: Any, dim: int) -> Any:
    def combine(before: Parts, here: Parts) -> Parts:
        return (log_of_sum(net, before[0], here[0], math.e),)

    (result,) = scan(net, (net.cast(x, wide_dtype(net.output.dtype)),), dim, (-math.inf,), combine)
    return net.cast(result, net.output.dtype)


@converter(aten.cummax.default)
def cummax(net: Network, x: Any, dim: int) -> Parts:
    return _extremes(net, x, dim, "GREATER")


@converter(aten.cummin.default)
def cummin(net: Network, x: Any, dim: int) -> Parts:
    return _extremes(net, x, dim, "LESS")


def _extremes(net: Network, x: Any, dim: int, better: str) -> Parts:
    """The extreme up to each element and its index, the last of equal ones; a NaN stays from where it appears."""
    dtype, shape = net.output.dtype, net.shape(x)
    x = net.cast(x, torch.int32) if dtype is torch.bool else net.tensor(x)
    if not shape:
        return net.cast(x, dtype), net.scalar(0, torch.int64)
    axis = dim % len(shape)
    column = [size if each == axis else 1 for each, size in enumerate(shape)]
    index = net.expand(net.reshape(sequence(net, shape[axis]), column), shape)

    def combine(before: Parts, here: Parts) -> Parts:
        operation = trt.ElementWiseOperation
        taken = net.elementwise(here[0], before[0], getattr(operation, better))
        taken = net.elementwise(taken, net.elementwise(here[0], before[0], operation.EQUAL), operation.OR)
        if net.dtype(x).is_floating_point:
            taken = net.elementwise(taken, net.unary(here[0], trt.UnaryOperation.ISNAN), operation.OR)
        pairs = zip(here, before, strict=True)
        return tuple(net.select(taken, later, earlier, net.dtype(later)) for later, earlier in pairs)

    worst = _lowest(net.dtype(x)) if better == "GREATER" else _highest(net.dtype(x))
    values, places = scan(net, (x, index), dim, (worst, 0), combine)
    return net.cast(values, dtype), places


def _lowest(dtype: torch.dtype) -> float:
    return -math.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def _highest(dtype: torch.dtype) -> float:
    return math.inf if dtype.is_floating_point else torch.iinfo(dtype).max


def scan(
    net: Network,
    parts: Parts,
    dim: int,
    neutral: tuple[float, ...],
    combine: Callable[[Parts, Parts], Parts],
) -> Parts:
    """What an associative function makes of all up to each element along `dim`.

    Each step combines what spans 1, 2, 4, ... elements with what lies that far before it (Hillis and Steele).

    Args:
        neutral: What stands before the first element; combined with anything it gives that.
        combine: Takes what lies before, then what lies after.
    """
    shape = net.shape(parts[0])
    if not shape:
        return parts
    dim %= len(shape)
    distance = 1
    while distance < most(shape[dim]):
        start = [-distance if axis == dim else 0 for axis in range(len(shape))]
        before = tuple(
            net.slice(part, start, shape, mode=trt.SampleMode.FILL, fill=value)
            for part, value in zip(parts, neutral, strict=True)
        )
        parts = combine(before, parts)
        distance *= 2
    return parts
