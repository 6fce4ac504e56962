"""Functions of two operands that take several layers, computed in float32 for half precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import wide_dtype
from trtconv.converters.unary import log1p, unary
from trtconv.emit.network import Network
from trtconv.emit.registry import converter

aten = torch.ops.aten


def _layer(net: Network, a: Any, b: Any, operation: str) -> Any:
    return net.elementwise(a, b, getattr(trt.ElementWiseOperation, operation))


def _hypot(net: Network, a: Any, b: Any) -> Any:
    """larger * sqrt(1 + (smaller / larger)^2), which doesn't overflow before the result does"""
    a, b = unary(net, a, "ABS"), unary(net, b, "ABS")
    larger, smaller = _layer(net, a, b, "MAX"), _layer(net, a, b, "MIN")
    ratio = net.div(smaller, larger)
    length = net.mul(larger, unary(net, net.add(net.mul(ratio, ratio), 1), "SQRT"))
    # The ratio is NaN where both are 0 or one is infinite, and of infinity and NaN the length is infinite.
    infinite = _layer(net, unary(net, a, "ISINF"), unary(net, b, "ISINF"), "OR")
    length = net.select(_layer(net, larger, 0, "EQUAL"), larger, length, net.dtype(a))
    return net.select(infinite, math.inf, length, net.dtype(a))


def _atan2(net: Network, y: Any, x: Any) -> Any:
    """The angle of the point (x, y) from the positive x axis."""
    dtype = net.dtype(y)
    angle = unary(net, net.div(y, x), "ATAN")
    angle = net.select(_layer(net, y, 0, "EQUAL"), y, angle, dtype)  # 0 / 0 is NaN
    half_turn = net.select(is_negative(net, y), -math.pi, math.pi, dtype)
    return net.select(is_negative(net, x), net.add(angle, half_turn), angle, dtype)


def is_negative(net: Network, x: Any) -> Any:
    """Whether the sign is minus, that of a zero too."""
    return _layer(net, _layer(net, x, 0, "LESS"), _layer(net, unary(net, x, "RECIP"), 0, "LESS"), "OR")


def _times_log(logarithm: Callable[[Network, Any], Any]) -> Callable[[Network, Any, Any], Any]:
    """x log(y), which is 0 where x is 0 and y isn't NaN"""

    def times_log(net: Network, x: Any, y: Any) -> Any:
        product = net.mul(x, logarithm(net, y))
        nothing = net.select(unary(net, y, "ISNAN"), y, 0, net.dtype(y))
        return net.select(_layer(net, x, 0, "EQUAL"), nothing, product, net.dtype(product))

    return times_log


def log_of_sum(net: Network, a: Any, b: Any, base: float) -> Any:
    """log(base^a + base^b) to the base = max + log(1 + base^-|a - b|)"""
    distance = unary(net, net.sub(a, b), "ABS")
    rest = log1p(net, unary(net, net.mul(distance, -math.log(base)), "EXP"))
    result = net.add(_layer(net, a, b, "MAX"), net.mul(rest, 1 / math.log(base)))
    # Between equal infinities the distance is NaN.
    equal = _layer(net, a, b, "EQUAL")
    return net.select(equal, net.add(a, math.log(2, base)), result, net.dtype(result))


def _copysign(net: Network, a: Any, b: Any) -> Any:
    """|a| with the sign of b"""
    size = unary(net, a, "ABS")
    return net.select(is_negative(net, b), unary(net, size, "NEG"), size, net.dtype(size))


FORMULAS: dict[Any, Callable[[Network, Any, Any], Any]] = {
    aten.hypot.default: _hypot,
    aten.atan2.default: _atan2,
    aten.copysign.Tensor: _copysign,
    aten.copysign.Scalar: _copysign,
    aten.xlogy.Tensor: _times_log(lambda net, y: unary(net, y, "LOG")),
    aten.xlogy.Scalar_Other: _times_log(lambda net, y: unary(net, y, "LOG")),
    aten.xlogy.Scalar_Self: _times_log(lambda net, y: unary(net, y, "LOG")),
    aten.special_xlog1py.default: _times_log(log1p),
    aten.logaddexp.default: lambda net, a, b: log_of_sum(net, a, b, math.e),
    aten.logaddexp2.default: lambda net, a, b: log_of_sum(net, a, b, 2),
    aten.ldexp.Tensor: lambda net, x, other: net.mul(x, _layer(net, 2, other, "POW")),
}


def _formula(formula: Callable[[Network, Any, Any], Any]) -> Callable[[Network, Any, Any], Any]:
    def convert(net: Network, x: Any, other: Any) -> Any:
        a, b = net.operands(x, other, dtype=wide_dtype(net.output.dtype))
        return net.cast(formula(net, a, b), net.output.dtype)

    return convert


for _target, _function in FORMULAS.items():
    converter(_target)(_formula(_function))


@converter(aten.signbit.default)
def signbit(net: Network, x: Any) -> Any:
    if net.dtype(x).is_floating_point:
        return is_negative(net, x)
    return _layer(net, net.cast(x, torch.int32) if net.dtype(x) is torch.bool else x, 0, "LESS")
