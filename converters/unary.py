"""Element-by-element functions of one operand, and conversions between dtypes.

torch computes functions of half-precision numbers in float32 and rounds once; so do these, wherever
more than one layer is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import truncated, wide
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError

aten = torch.ops.aten

# Integers become floats first, as in torch.
TO_FLOAT = {
    aten.exp.default: "EXP",
    aten.log.default: "LOG",
    aten.sqrt.default: "SQRT",
    aten.reciprocal.default: "RECIP",
    aten.sin.default: "SIN",
    aten.cos.default: "COS",
    aten.tan.default: "TAN",
    aten.sinh.default: "SINH",
    aten.cosh.default: "COSH",
    aten.asin.default: "ASIN",
    aten.acos.default: "ACOS",
    aten.atan.default: "ATAN",
    aten.asinh.default: "ASINH",
    aten.acosh.default: "ACOSH",
    aten.atanh.default: "ATANH",
    aten.erf.default: "ERF",
}

# torch's results have the operand's dtype; TensorRT's layers of these take integers too.
SAME_DTYPE = {aten.abs.default: "ABS", aten.neg.default: "NEG", aten.sign.default: "SIGN", aten.sgn.default: "SIGN"}

# Integers are their own results.
ROUNDINGS = {aten.ceil.default: "CEIL", aten.floor.default: "FLOOR", aten.round.default: "ROUND"}


def unary(net: Network, x: Any, operation: str) -> Any:
    """A unary layer by name."""
    return net.unary(x, getattr(trt.UnaryOperation, operation))


def _to_float(operation: str) -> Callable[[Network, Any], Any]:
    return lambda net, x: unary(net, net.cast(x, net.output.dtype), operation)


def _same_dtype(operation: str) -> Callable[[Network, Any], Any]:
    return lambda net, x: x if net.output.dtype is torch.bool else unary(net, x, operation)


def _rounding(operation: str) -> Callable[[Network, Any], Any]:
    return lambda net, x: unary(net, x, operation) if net.output.dtype.is_floating_point else x


for _table, _form in ((TO_FLOAT, _to_float), (SAME_DTYPE, _same_dtype), (ROUNDINGS, _rounding)):
    for _target, _operation in _table.items():
        converter(_target)(_form(_operation))


def log1p(net: Network, x: Any) -> Any:
    """log(1 + x); near 0 as in fdlibm x - (h - s (h + R(s^2))) with h = x^2 / 2 and s = x / (2 + x)"""
    s = net.div(x, net.add(x, 2))
    z = net.mul(s, s)
    h = net.mul(net.mul(x, x), 0.5)
    rest = net.mul(_polynomial(net, z, _LOG1P), z)
    near = net.sub(x, net.sub(h, net.mul(s, net.add(h, rest))))
    return net.select(_less(net, unary(net, x, "ABS"), 0.4), near, unary(net, net.add(x, 1), "LOG"), net.dtype(x))


_LOG1P = (0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693)


def expm1(net: Network, x: Any) -> Any:
    """exp(x) - 1 = 2t / (1 - t) with t = tanh(x / 2), which is exact to the last digits near 0."""
    t = net.activation(net.mul(x, 0.5), trt.ActivationType.TANH)
    near = net.div(net.mul(t, 2), net.sub(1, t))
    return net.select(_less(net, unary(net, x, "ABS"), 0.5), near, net.sub(unary(net, x, "EXP"), 1), net.dtype(x))


def _sinc(net: Network, x: Any) -> Any:
    """sin(pi x) / (pi x), 1 at 0"""
    angle = net.mul(x, math.pi)
    at_zero = net.elementwise(x, 0, trt.ElementWiseOperation.EQUAL)
    return net.select(at_zero, 1, net.div(unary(net, angle, "SIN"), angle), net.dtype(x))


def _erfinv(net: Network, x: Any) -> Any:
    """A polynomial of w = -log(1 - x^2) (Giles, Approximating the erfinv function), then a step of Newton's."""
    w = net.mul(unary(net, net.mul(net.sub(1, x), net.add(x, 1)), "LOG"), -1)
    centre = _polynomial(net, net.sub(w, 2.5), _ERFINV_CENTRE)
    tail = _polynomial(net, net.sub(unary(net, w, "SQRT"), 3), _ERFINV_TAIL)
    y = net.mul(net.select(_less(net, w, 5), centre, tail, net.dtype(x)), x)
    slope = net.mul(unary(net, net.mul(net.mul(y, y), -1), "EXP"), 2 / math.sqrt(math.pi))
    better = net.sub(y, net.div(net.sub(unary(net, y, "ERF"), x), slope))
    # Outside of (-1, 1) Newton's step divides by 0: infinities at the ends, NaN beyond.
    end = net.mul(unary(net, net.sub(1, unary(net, x, "ABS")), "LOG"), net.mul(unary(net, x, "SIGN"), -1))
    return net.select(_less(net, unary(net, x, "ABS"), 1), better, end, net.dtype(x))


_ERFINV_CENTRE = (
    *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087),
    *(-0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
)
_ERFINV_TAIL = (
    *(-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773),
    *(-0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
)


def _angle(net: Network, x: Any) -> Any:
    """Of a real number: 0, or pi of a negative one; NaN stays."""
    turned = net.select(_less(net, x, 0), math.pi, 0, net.dtype(x))
    return net.select(unary(net, x, "ISNAN"), x, turned, net.dtype(x))


def _entropy(net: Network, x: Any) -> Any:
    """-x log(x), which is 0 at 0 and -inf below"""
    inside = unary(net, net.mul(x, unary(net, x, "LOG")), "NEG")
    at_zero = net.elementwise(x, 0, trt.ElementWiseOperation.EQUAL)
    edge = net.select(at_zero, 0, inside, net.dtype(x))
    return net.select(_less(net, x, 0), -math.inf, edge, net.dtype(x))


def _polynomial(net: Network, x: Any, coefficients: Sequence[float]) -> Any:
    """By Horner's rule, the highest power first."""
    first, *rest = coefficients
    result: Any = net.add(net.mul(x, first), rest[0])
    for coefficient in rest[1:]:
        result = net.add(net.mul(result, x), coefficient)
    return result


def _less(net: Network, a: Any, b: Any) -> Any:
    return net.elementwise(a, b, trt.ElementWiseOperation.LESS)


# Functions of several layers, computed in the wide dtype.
FORMULAS: dict[Any, Callable[[Network, Any], Any]] = {
    aten.exp2.default: lambda net, x: net.elementwise(2, x, trt.ElementWiseOperation.POW),
    aten.expm1.default: expm1,
    aten.log1p.default: log1p,
    aten.log2.default: lambda net, x: net.mul(unary(net, x, "LOG"), 1 / math.log(2)),
    aten.log10.default: lambda net, x: net.mul(unary(net, x, "LOG"), 1 / math.log(10)),
    aten.rsqrt.default: lambda net, x: unary(net, unary(net, x, "SQRT"), "RECIP"),
    aten.erfinv.default: _erfinv,
    aten.sinc.default: _sinc,
    aten.angle.default: _angle,
    aten.special_entr.default: _entropy,
    aten.deg2rad.default: lambda net, x: net.mul(x, math.pi / 180),
    aten.rad2deg.default: lambda net, x: net.mul(x, 180 / math.pi),
    aten.frac.default: lambda net, x: net.sub(x, truncated(net, x)),
}


def _formula(formula: Callable[[Network, Any], Any]) -> Callable[[Network, Any], Any]:
    return lambda net, x: net.cast(formula(net, *wide(net, x)), net.output.dtype)


for _target, _function in FORMULAS.items():
    converter(_target)(_formula(_function))


@converter(aten.trunc.default, aten.fix.default)
def trunc(net: Network, x: Any) -> Any:
    return truncated(net, x) if net.output.dtype.is_floating_point else x


@converter(aten.round.decimals)
def round_decimals(net: Network, x: Any, decimals: int) -> Any:
    """round(x * 10^decimals) / 10^decimals; a power of ten below 1 isn't exact, so that divides instead."""
    if not net.output.dtype.is_floating_point:
        return x
    (x,) = wide(net, x)
    scale, back = (net.mul, net.div) if decimals >= 0 else (net.div, net.mul)
    power = 10.0 ** abs(decimals)
    return net.cast(back(unary(net, scale(x, power), "ROUND"), power), net.output.dtype)


@converter(aten.logit.default)
def logit(net: Network, x: Any, eps: float | None) -> Any:
    """log(x / (1 - x)), x put between eps and 1 - eps; where that isn't above it, as torch does it: eps first."""
    (x,) = wide(net, x)
    if eps is not None:
        below = net.elementwise(x, eps, trt.ElementWiseOperation.LESS)
        at_most = net.elementwise(x, 1 - eps, trt.ElementWiseOperation.MIN)
        x = net.select(below, eps, at_most, net.dtype(x))
    return net.cast(unary(net, net.div(x, net.sub(1, x)), "LOG"), net.output.dtype)


@converter(aten.logical_not.default)
def logical_not(net: Network, x: Any) -> Any:
    return unary(net, net.cast(x, torch.bool), "NOT")


@converter(aten.bitwise_not.default)
def bitwise_not(net: Network, x: Any) -> Any:
    """For integers -1 - x, by the two's complement."""
    return unary(net, x, "NOT") if net.output.dtype is torch.bool else net.sub(-1, x)


@converter(aten.isnan.default, aten.isinf.default)
def is_unusual(net: Network, x: Any) -> Any:
    """Integers are neither infinite nor NaN."""
    if not net.dtype(x).is_floating_point:
        return net.expand(net.scalar(False, torch.bool, len(net.shape(x))), net.shape(x))
    return unary(net, x, "ISNAN" if net.target is aten.isnan.default else "ISINF")


@converter(aten.isposinf.default, aten.isneginf.default)
def is_infinity(net: Network, x: Any) -> Any:
    infinity = math.inf if net.target is aten.isposinf.default else -math.inf
    return net.elementwise(net.cast(x, torch.float32), infinity, trt.ElementWiseOperation.EQUAL)


@converter(aten._to_copy.default)
def to_copy(
    net: Network,
    x: Any,
    dtype: torch.dtype | None,
    layout: torch.layout | None,
    device: torch.device | None,
    pin_memory: bool | None,
    non_blocking: bool,
    memory_format: torch.memory_format | None,
) -> Any:
    """Another dtype; floats go to integers toward zero. A network runs on one device and sees no layouts."""
    if layout not in (None, torch.strided):
        raise UnsupportedArgumentError(f"TensorRT has no tensors of layout {layout}")
    return net.cast(x, net.output.dtype)
