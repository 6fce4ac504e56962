"""Arithmetic on two operands, with torch's type promotion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.capture.trace import is_constant
from trtconv.emit.definition import Scalar
from trtconv.emit.network import Network
from trtconv.emit.registry import converter

aten = torch.ops.aten

HALVES = (torch.float16, torch.bfloat16)

# What arithmetic means on truth values.
_ON_BOOLS = {"SUM": "OR", "PROD": "AND", "MAX": "OR", "MIN": "AND"}


def binary(net: Network, a: Any, b: Any, operation: str) -> Any:
    """`a operation b` in the dtype of the call's result, or in float32 for numbers that this one can't hold."""
    dtype = net.output.dtype
    if dtype is torch.bool:
        operation = _ON_BOOLS.get(operation, operation)
    if dtype in HALVES and not all(_holds(net, dtype, x) for x in (a, b)):
        dtype = torch.float32
    result = net.elementwise(a, b, getattr(trt.ElementWiseOperation, operation), dtype)
    return net.cast(result, net.output.dtype)


def _holds(net: Network, dtype: torch.dtype, operand: Any) -> bool:
    """Whether a half-precision dtype holds a number; of one that follows from sizes it isn't known."""
    if isinstance(operand, Scalar):
        return torch.tensor(operand, dtype=torch.float64).to(dtype).item() == operand
    return isinstance(operand, torch.Tensor) or net.dtype(operand) is dtype


def wide(net: Network, *values: Any) -> list[Any]:
    """Operands in the dtype in which torch computes the call: that of its result, float32 for half precision.

    Numbers stay what they are. The result needs `net.cast(result, net.output.dtype)`.
    """
    dtype = wide_dtype(net.output.dtype)
    return [x if isinstance(x, Scalar) else net.tensor(x, dtype) for x in values]


def widened(function: Callable[[Network, Any], Any]) -> Callable[[Network, Any], Any]:
    """The converter that computes a function of one tensor in the dtype of `wide`, and gives the call's."""
    return lambda net, x: net.cast(function(net, *wide(net, x)), net.output.dtype)


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which torch computes a result of `dtype`."""
    return torch.float32 if dtype in HALVES else dtype


def _plus_scaled(net: Network, x: Any, other: Any, alpha: float, operation: str) -> Any:
    """x operation alpha * other, rounded once."""
    if alpha == 1:
        return binary(net, x, other, operation)
    if isinstance(other, Scalar):
        return binary(net, x, alpha * other, operation)
    x, other = wide(net, x, other)
    result = net.elementwise(x, net.mul(other, alpha), getattr(trt.ElementWiseOperation, operation), net.dtype(other))
    return net.cast(result, net.output.dtype)


@converter(aten.add.Tensor, aten.add.Scalar)
def add(net: Network, x: Any, other: Any, alpha: float) -> Any:
    return _plus_scaled(net, x, other, alpha, "SUM")


@converter(aten.sub.Tensor, aten.sub.Scalar)
def sub(net: Network, x: Any, other: Any, alpha: float) -> Any:
    return _plus_scaled(net, x, other, alpha, "SUB")


@converter(aten.rsub.Tensor, aten.rsub.Scalar)
def rsub(net: Network, x: Any, other: Any, alpha: float) -> Any:
    return _plus_scaled(net, other, x, alpha, "SUB")


@converter(aten.mul.Tensor, aten.mul.Scalar)
def mul(net: Network, x: Any, other: Any) -> Any:
    return binary(net, x, other, "PROD")


@converter(aten.div.Tensor, aten.div.Scalar)
def div(net: Network, x: Any, other: Any) -> Any:
    return binary(net, x, other, "DIV")


# -- division with a rounding -----------------------------------------------------------------------


def truncated(net: Network, x: Any) -> Any:
    """The integer next to `x` on the side of 0; an integer itself."""
    if not net.dtype(x).is_floating_point:
        return x
    below_zero = net.elementwise(x, 0, trt.ElementWiseOperation.LESS)
    up, down = (net.unary(x, operation) for operation in (trt.UnaryOperation.CEIL, trt.UnaryOperation.FLOOR))
    return net.select(below_zero, up, down, net.dtype(x))


def _quotient(net: Network, a: Any, b: Any, rounding_mode: str | None) -> Any:
    """a / b, rounded down ("floor") or toward 0 ("trunc"), in the wide dtype."""
    if rounding_mode == "floor":
        return net.elementwise(a, b, trt.ElementWiseOperation.FLOOR_DIV)
    return truncated(net, net.div(a, b)) if rounding_mode else net.div(a, b)


@converter(aten.div.Tensor_mode, aten.div.Scalar_mode)
def div_mode(net: Network, x: Any, other: Any, rounding_mode: str | None) -> Any:
    x, other = wide(net, x, other)
    return net.cast(_quotient(net, x, other, rounding_mode), net.output.dtype)


@converter(aten.floor_divide.default, aten.floor_divide.Scalar)
def floor_divide(net: Network, x: Any, other: Any) -> Any:
    return div_mode(net, x, other, "floor")


@converter(aten.remainder.Tensor, aten.remainder.Scalar, aten.remainder.Scalar_Tensor)
def remainder(net: Network, x: Any, other: Any) -> Any:
    """x - other * floor(x / other), with the sign of `other`"""
    return _rest(net, x, other, "floor")


@converter(aten.fmod.Tensor, aten.fmod.Scalar)
def fmod(net: Network, x: Any, other: Any) -> Any:
    """x - other * trunc(x / other), with the sign of `x`"""
    return _rest(net, x, other, "trunc")


def _rest(net: Network, x: Any, other: Any, rounding_mode: str) -> Any:
    x, other = wide(net, x, other)
    return net.cast(net.sub(x, net.mul(other, _quotient(net, x, other, rounding_mode))), net.output.dtype)


# -- powers -----------------------------------------------------------------------------------------


@converter(aten.pow.Tensor_Scalar)
def pow_of_number(net: Network, x: Any, exponent: float) -> Any:
    """x ^ exponent: a few multiplications where they do, as in torch."""
    if not isinstance(exponent, Scalar):  # it follows from sizes
        return power_of_tensor(net, x, exponent)
    (x,) = wide(net, x)
    return net.cast(power(net, x, exponent), net.output.dtype)


def power(net: Network, x: Any, exponent: float) -> Any:
    """x ^ exponent in the dtype of `x`."""
    if exponent == 0:
        return net.expand(net.scalar(1, net.dtype(x), len(net.shape(x))), net.shape(x))
    if exponent < 0:
        return net.unary(power(net, x, -exponent), trt.UnaryOperation.RECIP)
    if exponent == 0.5:
        return net.unary(x, trt.UnaryOperation.SQRT)
    if exponent == int(exponent) and (exponent <= 4 or not net.dtype(x).is_floating_point):
        return _repeated_product(net, x, int(exponent))
    return net.elementwise(x, exponent, trt.ElementWiseOperation.POW)


def _repeated_product(net: Network, x: Any, count: int) -> Any:
    if count == 1:
        return x
    half = _repeated_product(net, x, count // 2)
    square = net.mul(half, half)
    return net.mul(square, x) if count % 2 else square


@converter(aten.pow.Scalar)
def power_of_number(net: Network, x: float, exponent: Any) -> Any:
    return power_of_tensor(net, x, exponent)


@converter(aten.pow.Tensor_Tensor)
def power_of_tensor(net: Network, x: Any, exponent: Any) -> Any:
    """x ^ exponent"""
    if not net.output.dtype.is_floating_point:
        return _integer_power(net, x, exponent)
    x, exponent = wide(net, x, exponent)
    return net.cast(net.elementwise(x, exponent, trt.ElementWiseOperation.POW), net.output.dtype)


def _integer_power(net: Network, x: Any, exponent: Any) -> Any:
    """x ^ exponent modulo 2^bits; with a negative exponent 0, except that +-1 stay what they are.

    The product of x^(2^i) for all bits i of the exponent that are set: a power layer may compute in floats, which
    hold 24 or 53 bits.
    """
    dtype, operation = net.output.dtype, trt.ElementWiseOperation
    rank = max(len(net.shape(each)) for each in (x, exponent) if not isinstance(each, Scalar))
    places = torch.iinfo(dtype).bits - 1
    if is_constant(exponent):
        places = max(1, int(exponent.abs().max()).bit_length()) if exponent.numel() else 1
    power = net.scalar(x, dtype, rank) if isinstance(x, Scalar) else net.tensor(x, dtype, rank)
    exponent = net.tensor(exponent, dtype, rank)
    size_is_one = net.elementwise(net.unary(power, trt.UnaryOperation.ABS), 1, operation.EQUAL)
    defined = net.elementwise(size_is_one, net.elementwise(exponent, -1, operation.GREATER), operation.OR)
    rest, result = exponent, None
    for place in range(places):
        half = net.elementwise(rest, 2, operation.FLOOR_DIV)
        is_set = net.elementwise(rest, net.add(half, half), operation.GREATER)
        factor = net.select(is_set, power, 1, dtype)
        result = factor if result is None else net.mul(result, factor)
        rest = half
        if place < places - 1:
            power = net.mul(power, power)
    return net.select(defined, result, 0, dtype)


# -- combinations of several operands ---------------------------------------------------------------


@converter(aten.addcmul.default)
def addcmul(net: Network, x: Any, tensor1: Any, tensor2: Any, value: float) -> Any:
    """x + value * tensor1 * tensor2"""
    x, a, b = wide(net, x, tensor1, tensor2)
    return net.cast(net.add(x, scaled(net, net.mul(a, b), value)), net.output.dtype)


@converter(aten.addcdiv.default)
def addcdiv(net: Network, x: Any, tensor1: Any, tensor2: Any, value: float) -> Any:
    """x + value * tensor1 / tensor2"""
    x, a, b = wide(net, x, tensor1, tensor2)
    return net.cast(net.add(x, scaled(net, net.div(a, b), value)), net.output.dtype)


def scaled(net: Network, x: Any, factor: float) -> Any:
    """`x` times a number."""
    return x if factor == 1 else net.mul(x, factor)


@converter(aten.lerp.Scalar)
def lerp(net: Network, x: Any, end: Any, weight: float) -> Any:
    """x + weight * (end - x), counted from the nearer end"""
    x, end = wide(net, x, end)
    distance = net.sub(end, x)
    near = net.add(x, net.mul(distance, weight)) if weight < 0.5 else net.sub(end, net.mul(distance, 1 - weight))
    return net.cast(near, net.output.dtype)


@converter(aten.lerp.Tensor)
def lerp_by_tensor(net: Network, x: Any, end: Any, weight: Any) -> Any:
    x, end, weight = wide(net, x, end, weight)
    distance = net.sub(end, x)
    from_start = net.add(x, net.mul(distance, weight))
    from_end = net.sub(end, net.mul(distance, net.sub(1, weight)))
    is_first_half = net.elementwise(weight, 0.5, trt.ElementWiseOperation.LESS)
    return net.select(is_first_half, from_start, from_end, net.output.dtype)
