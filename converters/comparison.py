"""Comparisons, logic, and choices by them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import binary
from trtconv.dtypes import to_torch
from trtconv.emit.definition import Scalar
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.sizes import product

aten = torch.ops.aten

COMPARISONS: dict[Any, tuple[str, ...]] = {
    aten.eq: ("EQUAL",),
    aten.gt: ("GREATER",),
    aten.lt: ("LESS",),
    aten.ge: ("GREATER", "EQUAL"),
    aten.le: ("LESS", "EQUAL"),
}


def compare(net: Network, a: Any, b: Any, *operations: str) -> Any:
    """Whether one of the comparisons holds, in the dtype that the operands promote to."""
    dtype = promoted(a, b)
    if dtype is torch.bool and operations != ("EQUAL",):
        dtype = torch.int32  # truth values have no order in TensorRT
    first, *others = (net.elementwise(a, b, getattr(trt.ElementWiseOperation, name), dtype) for name in operations)
    return _logic(net, first, others[0], "OR") if others else first


def promoted(a: Any, b: Any) -> torch.dtype:
    """The dtype that torch computes a function of two operands in."""
    return torch.result_type(_representative(a), _representative(b))


def _representative(x: Any) -> Any:
    """What stands for an operand in torch's rules of promotion: numbers that follow from sizes are numbers."""
    if isinstance(x, torch.Tensor):
        return torch.empty((1,) * x.dim(), dtype=x.dtype, device="meta")
    return x if isinstance(x, Scalar) else torch.ones((), dtype=to_torch(x.dtype)).item()


def _logic(net: Network, a: Any, b: Any, operation: str) -> Any:
    return net.elementwise(a, b, getattr(trt.ElementWiseOperation, operation), torch.bool)


def negated(net: Network, x: Any) -> Any:
    """Not x."""
    return net.unary(x, trt.UnaryOperation.NOT)


def _comparison(operations: tuple[str, ...]) -> Callable[[Network, Any, Any], Any]:
    return lambda net, x, other: compare(net, x, other, *operations)


for _packet, _operations in COMPARISONS.items():
    converter(_packet.Tensor, _packet.Scalar)(_comparison(_operations))


@converter(aten.ne.Tensor, aten.ne.Scalar)
def ne(net: Network, x: Any, other: Any) -> Any:
    return negated(net, compare(net, x, other, "EQUAL"))


def _logical(operation: str) -> Callable[[Network, Any, Any], Any]:
    return lambda net, x, other: _logic(net, x, other, operation)


for _name, _operation in (("and", "AND"), ("or", "OR"), ("xor", "XOR")):
    converter(getattr(aten, f"logical_{_name}").default)(_logical(_operation))


@converter(aten.isin.Tensor_Tensor, aten.isin.Tensor_Scalar, aten.isin.Scalar_Tensor)
def isin(
    net: Network, x: Any, assume_unique: bool, invert: bool, test_elements: Any = None, test_element: Any = None
) -> Any:
    """Whether each element is one of others, compared pair by pair; that they are unique is no more than a hint."""
    shape = net.output.shape
    others = test_element if test_elements is None else test_elements
    elements, others = net.operands(x, others, dtype=promoted(x, others))
    column = net.reshape(elements, (*shape, 1))
    row = net.reshape(others, (product(net.shape(others)),))
    equal = net.elementwise(column, row, trt.ElementWiseOperation.EQUAL)
    count = net.reduce(net.cast(equal, torch.int32), trt.ReduceOperation.SUM, [len(shape)], False)
    return net.elementwise(count, 0, getattr(trt.ElementWiseOperation, "EQUAL" if invert else "GREATER"))


# -- choices ----------------------------------------------------------------------------------------


@converter(aten.where.self, aten.where.ScalarSelf, aten.where.ScalarOther, aten.where.Scalar)
def where(net: Network, condition: Any, self: Any, other: Any) -> Any:
    return net.select(condition, self, other, net.output.dtype)


@converter(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def masked_fill(net: Network, x: Any, mask: Any, value: Any) -> Any:
    return net.select(mask, value, x, net.output.dtype)


@converter(aten.nan_to_num.default)
def nan_to_num(net: Network, x: Any, nan: float | None, posinf: float | None, neginf: float | None) -> Any:
    """Other numbers for NaN (default 0) and the infinities (default the ends of the dtype)."""
    dtype = net.output.dtype
    if not dtype.is_floating_point:
        return x
    limits = torch.finfo(dtype)
    result = net.select(net.unary(x, trt.UnaryOperation.ISNAN), nan or 0, x, dtype)
    for infinity, given, default in ((math.inf, posinf, limits.max), (-math.inf, neginf, limits.min)):
        here = net.elementwise(x, infinity, trt.ElementWiseOperation.EQUAL)
        result = net.select(here, default if given is None else given, result, dtype)
    return result


# -- limits -----------------------------------------------------------------------------------------


@converter(aten.clamp.default, aten.clamp.Tensor)
def clamp(net: Network, x: Any, min: Any, max: Any) -> Any:
    """min(max(x, min), max); where the limits cross, the maximum counts."""
    result = x if min is None else binary(net, x, min, "MAX")
    result = result if max is None else binary(net, result, max, "MIN")
    return _or_nan(net, result, x, min, max)


@converter(aten.clamp_min.default, aten.clamp_min.Tensor)
def clamp_min(net: Network, x: Any, min: Any) -> Any:
    return maximum(net, x, min)


@converter(aten.clamp_max.default, aten.clamp_max.Tensor)
def clamp_max(net: Network, x: Any, max: Any) -> Any:
    return minimum(net, x, max)


@converter(aten.maximum.default)
def maximum(net: Network, x: Any, other: Any) -> Any:
    return _or_nan(net, binary(net, x, other, "MAX"), x, other)


@converter(aten.minimum.default)
def minimum(net: Network, x: Any, other: Any) -> Any:
    return _or_nan(net, binary(net, x, other, "MIN"), x, other)


def _or_nan(net: Network, result: Any, x: Any, *others: Any) -> Any:
    """NaN wherever an operand is: what TensorRT's MAX and MIN give there isn't said."""
    dtype = net.output.dtype
    for value in (x, *others):
        if value is not None and not isinstance(value, Scalar) and net.dtype(value).is_floating_point:
            result = net.select(net.unary(value, trt.UnaryOperation.ISNAN), value, result, dtype)
    return result


@converter(aten.fmax.default, aten.fmin.default)
def ignoring_nan(net: Network, x: Any, other: Any) -> Any:
    """The larger or smaller; if one is NaN, the other."""
    dtype = net.output.dtype
    result = binary(net, x, other, "MAX" if net.target is aten.fmax.default else "MIN")
    for value, instead in ((x, other), (other, x)):
        if net.dtype(value).is_floating_point:
            result = net.select(net.unary(value, trt.UnaryOperation.ISNAN), instead, result, dtype)
    return result


@converter(aten.heaviside.default)
def heaviside(net: Network, x: Any, values: Any) -> Any:
    """0 below 0, 1 above, `values` at 0"""
    step = net.cast(compare(net, x, 0, "GREATER"), net.output.dtype)
    return net.select(compare(net, x, 0, "EQUAL"), values, step, net.output.dtype)
