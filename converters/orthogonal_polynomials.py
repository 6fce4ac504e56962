"""Orthogonal polynomials of any degrees, each element's its own, by their recurrences in a loop.

The recurrences stand in DLMF 18.9, table 18.9.1; those of Chebyshev's four kinds differ in how they begin (18.5.1 to
18.5.4), and the shifted ones are of 2x - 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import truncated
from trtconv.converters.creation import filled
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.sizes import is_same

aten = torch.ops.aten

LARGEST_DEGREE = 4096
"""Elements of a higher degree would keep an engine in its loop; they become NaN, but where a formula gives them."""


@dataclasses.dataclass(frozen=True)
class Family:
    """Polynomials P with P[0] = 1.

    Attributes:
        first: P[1] of x.
        next: P[k + 1] of x, k, P[k] and P[k - 1].
        ends: P[n] of x and any n where that is simple, NaN elsewhere.
    """

    first: Callable[[Network, Any], Any]
    next: Callable[[Network, Any, Any, Any, Any], Any]
    ends: Callable[[Network, Any, Any], Any]


def _chebyshev(factor: int, offset: int, *, shifted: bool = False) -> Family:
    """P[1] = factor * x + offset and P[k + 1] = 2x P[k] - P[k - 1]"""

    def argument(net: Network, x: Any) -> Any:
        return net.sub(net.add(x, x), 1) if shifted else x

    def first(net: Network, x: Any) -> Any:
        return net.add(net.mul(argument(net, x), factor), offset)

    def step(net: Network, x: Any, k: Any, here: Any, before: Any) -> Any:
        return net.sub(net.mul(net.mul(argument(net, x), 2), here), before)

    def ends(net: Network, x: Any, n: Any) -> Any:
        return _at_ends(net, argument(net, x), n, factor, offset)

    return Family(first, step, ends)


def _at_ends(net: Network, x: Any, n: Any, factor: int, offset: int) -> Any:
    """P[n](1) = 1 + n (P[1](1) - 1) and P[n](-1) = (-1)^n (1 - n (P[1](-1) + 1))"""
    dtype = net.dtype(x)
    is_end = (net.elementwise(x, end, trt.ElementWiseOperation.EQUAL) for end in (-1, 1))
    half = net.mul(n, 0.5)
    even = net.elementwise(net.unary(half, trt.UnaryOperation.FLOOR), half, trt.ElementWiseOperation.EQUAL)
    left = net.add(net.mul(n, factor - offset - 1), 1)
    left = net.select(even, left, net.unary(left, trt.UnaryOperation.NEG), dtype)
    right = net.add(net.mul(n, factor + offset - 1), 1)
    result: Any = torch.nan
    for here, value in zip(is_end, (left, right), strict=True):
        result = net.select(here, value, result, dtype)
    return result


def _hermite(factor: int) -> Family:
    """P[k + 1] = factor * (x P[k] - k P[k - 1]), with P[1] = factor * x"""

    def first(net: Network, x: Any) -> Any:
        return net.mul(x, factor)

    def step(net: Network, x: Any, k: Any, here: Any, before: Any) -> Any:
        return net.sub(net.mul(net.mul(x, factor), here), net.mul(net.mul(k, factor), before))

    return Family(first, step, lambda net, x, n: torch.nan)


def _laguerre(net: Network, x: Any, k: Any, here: Any, before: Any) -> Any:
    """L[k + 1] = ((2k + 1 - x) L[k] - k L[k - 1]) / (k + 1)"""
    factor = net.add(net.add(k, k), net.sub(1, x))
    return net.div(net.sub(net.mul(factor, here), net.mul(k, before)), net.add(k, 1))


def _at_zero(net: Network, x: Any, n: Any) -> Any:
    """L[n](0) = 1"""
    return net.select(net.elementwise(x, 0, trt.ElementWiseOperation.EQUAL), 1, torch.nan, net.dtype(x))


def _legendre(net: Network, x: Any, k: Any, here: Any, before: Any) -> Any:
    """P[k + 1] = ((2k + 1) x P[k] - k P[k - 1]) / (k + 1)"""
    factor = net.add(net.add(k, k), 1)
    return net.div(net.sub(net.mul(net.mul(factor, x), here), net.mul(k, before)), net.add(k, 1))


FAMILIES = {
    "chebyshev_polynomial_t": _chebyshev(1, 0),
    "chebyshev_polynomial_u": _chebyshev(2, 0),
    "chebyshev_polynomial_v": _chebyshev(2, -1),
    "chebyshev_polynomial_w": _chebyshev(2, 1),
    "shifted_chebyshev_polynomial_t": _chebyshev(1, 0, shifted=True),
    "shifted_chebyshev_polynomial_u": _chebyshev(2, 0, shifted=True),
    "shifted_chebyshev_polynomial_v": _chebyshev(2, -1, shifted=True),
    "shifted_chebyshev_polynomial_w": _chebyshev(2, 1, shifted=True),
    "hermite_polynomial_h": _hermite(2),
    "hermite_polynomial_he": _hermite(1),
    "laguerre_polynomial_l": Family(lambda net, x: net.sub(1, x), _laguerre, _at_zero),
    "legendre_polynomial_p": Family(
        lambda net, x: net.tensor(x), _legendre, lambda net, x, n: _at_ends(net, x, n, 1, 0)
    ),
}


def _polynomials(net: Network, family: Family, x: Any, n: Any) -> Any:
    """P[n] of x; 0 where n is negative. A degree with a fraction counts without it, as in torch."""
    dtype = net.output.dtype
    if any(is_same(length, 0) for length in net.output.shape):
        return filled(net, 0)
    shape = net.output.shape or (1,)
    x, n = (net.expand(each, shape) for each in net.operands(x, n, dtype=dtype))
    n = truncated(net, n)
    last = net.reduce(n, trt.ReduceOperation.MAX, range(len(shape)), False)
    last = net.elementwise(last, LARGEST_DEGREE, trt.ElementWiseOperation.MIN)
    too_high = net.elementwise(n, LARGEST_DEGREE, trt.ElementWiseOperation.GREATER)
    # k, P[k], P[k + 1] and what is found already
    start = (
        net.scalar(0, dtype, len(shape)),
        net.expand(net.scalar(1, dtype, len(shape)), shape),
        family.first(net, x),
        net.select(too_high, family.ends(net, x, n), 0, dtype),
    )
    loop = net.add_loop()
    layers = [loop.add_recurrence(value) for value in start]
    k, here, following, found = (
        net.known(layer.get_output(0), net.shape(value)) for layer, value in zip(layers, start, strict=True)
    )
    more = net.elementwise(net.reshape(k, ()), net.add(last, 0.5), trt.ElementWiseOperation.LESS)
    loop.add_trip_limit(more, trt.TripLimit.WHILE)
    after = net.add(k, 1)
    is_degree = net.elementwise(n, k, trt.ElementWiseOperation.EQUAL)
    changed = (
        after,
        net.identity(following),
        family.next(net, x, after, following, here),
        net.select(is_degree, here, found, dtype),
    )
    for layer, value in zip(layers, changed, strict=True):
        layer.set_input(1, value)
    result = loop.add_loop_output(found, trt.LoopOutput.LAST_VALUE).get_output(0)
    return net.reshape(net.known(result, shape), net.output.shape)


def _converted(family: Family) -> Callable[[Network, Any, Any], Any]:
    return lambda net, x, n: _polynomials(net, family, x, n)


for _name, _family in FAMILIES.items():
    for _overload in ("default", "x_scalar", "n_scalar"):
        converter(getattr(getattr(aten, f"special_{_name}"), _overload))(_converted(_family))
