"""Bitwise operations and shifts, on integers by arithmetic: TensorRT's are for truth values only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.capture.trace import is_constant
from trtconv.emit.definition import Scalar
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError

aten = torch.ops.aten

MOST_RUNS = 4
"""The most runs of ones in a number that are taken one by one; with more, all bits are."""


def _layer(net: Network, a: Any, b: Any, operation: str) -> Any:
    return net.elementwise(a, b, getattr(trt.ElementWiseOperation, operation))


def _dtype(net: Network) -> torch.dtype:
    """The dtype of the result, or int32 for shorter integers, with which TensorRT doesn't compute."""
    dtype = net.output.dtype
    if dtype.is_floating_point:
        raise UnsupportedArgumentError("it is defined on integers only")
    return dtype if dtype in (torch.bool, torch.int64) else torch.int32


# -- and, or, xor -----------------------------------------------------------------------------------


def _bitwise(operation: str) -> Callable[[Network, Any, Any], Any]:
    def convert(net: Network, x: Any, other: Any) -> Any:
        dtype = _dtype(net)
        if dtype is torch.bool:
            return net.elementwise(x, other, getattr(trt.ElementWiseOperation, operation), dtype)
        for value, number in ((x, _number(other)), (other, _number(x))):
            if number is not None and _is_simple(_ones_or_zeros(number), dtype):
                result = _with_number(net, net.cast(value, dtype), number, operation)
                break
        else:
            a, b = net.operands(x, other, dtype=dtype)
            result = _bit_by_bit(net, a, b, operation)
        return net.cast(result, net.output.dtype)

    return convert


for _name, _operation in (("and", "AND"), ("or", "OR"), ("xor", "XOR")):
    _packet = getattr(aten, f"bitwise_{_name}")
    converter(_packet.Tensor, _packet.Scalar, _packet.Scalar_Tensor)(_bitwise(_operation))


def _number(x: Any) -> int | None:
    """The number that an operand is, or None if it is a tensor with a shape or an activation."""
    if is_constant(x) and x.dim() == 0:
        return int(x)
    return int(x) if isinstance(x, Scalar) else None


def _is_simple(number: int, dtype: torch.dtype) -> bool:
    """Whether a number's bits are few runs, and powers of 2 beyond them are numbers of the dtype."""
    return number.bit_length() < torch.iinfo(dtype).bits - 1 and len(_runs(number)) <= MOST_RUNS


def _ones_or_zeros(number: int) -> int:
    """The ones of a positive number, the zeros of a negative one."""
    return number if number >= 0 else -1 - number


def _runs(number: int) -> list[tuple[int, int]]:
    """The runs of ones of a positive number: the place of the first and how many."""
    runs = []
    place = 0
    while number:
        zeros = (number & -number).bit_length() - 1
        ones = (~(number >> zeros) & ((number >> zeros) + 1)).bit_length() - 1
        runs.append((place + zeros, ones))
        place, number = place + zeros + ones, number >> (zeros + ones)
    return runs


def _with_number(net: Network, x: Any, number: int, operation: str) -> Any:
    common: Any = net.mul(x, 0)
    for place, count in _runs(_ones_or_zeros(number)):
        common = net.add(common, _part(net, x, place, count))
    if number < 0:
        common = net.sub(x, common)
    if operation == "AND":
        return common
    rest = net.sub(x, common)
    return net.add(rest, number if operation == "OR" else net.sub(number, common))


def _part(net: Network, x: Any, place: int, count: int) -> Any:
    """`count` bits of x from a place on, the others 0: of floor(x / 2^place) the rest of a division by 2^count."""
    quotient = _layer(net, x, 1 << place, "FLOOR_DIV") if place else x
    rest = net.sub(quotient, net.mul(_layer(net, quotient, 1 << count, "FLOOR_DIV"), 1 << count))
    return net.mul(rest, 1 << place) if place else rest


def _bit_by_bit(net: Network, a: Any, b: Any, operation: str) -> Any:
    """The sum of the values of the bits that the operation sets, along a new last axis."""
    bits = _layer(net, _bits(net, a), _bits(net, b), operation)
    last = torch.iinfo(net.dtype(a)).bits - 1
    values = torch.tensor([*(1 << place for place in range(last)), -(1 << last)], dtype=net.dtype(a))
    summands = net.select(bits, values, 0, net.dtype(a))
    return net.reduce(summands, trt.ReduceOperation.SUM, [len(net.shape(summands)) - 1], False)


def _bits(net: Network, x: Any) -> Any:
    """The bits of the two's complement along a new last axis: those of odd floor(x / 2^i), and the sign."""
    dtype, shape = net.dtype(x), net.shape(x)
    column = net.reshape(x, (*shape, 1))
    powers = torch.tensor([1 << place for place in range(torch.iinfo(dtype).bits - 1)], dtype=dtype)
    quotient = _layer(net, column, powers, "FLOOR_DIV")
    half = _layer(net, quotient, 2, "FLOOR_DIV")
    odd = _layer(net, quotient, net.add(half, half), "GREATER")
    return net.concatenate([odd, _layer(net, column, 0, "LESS")], len(shape))


# -- shifts -----------------------------------------------------------------------------------------


@converter(
    aten.bitwise_left_shift.Tensor,
    aten.bitwise_left_shift.Tensor_Scalar,
    aten.bitwise_left_shift.Scalar_Tensor,
    aten.__lshift__.Tensor,
    aten.__lshift__.Scalar,
)
def left_shift(net: Network, x: Any, other: Any) -> Any:
    """x * 2^other; 0 for a shift by all bits, or by less than none"""
    x, other = _operands(net, x, other)
    bits = torch.iinfo(net.dtype(x)).bits
    powers = [*(1 << place for place in range(bits - 1)), -(1 << (bits - 1)), 0]
    return net.cast(net.mul(x, _looked_up(net, powers, other, bits)), net.output.dtype)


@converter(
    aten.bitwise_right_shift.Tensor,
    aten.bitwise_right_shift.Tensor_Scalar,
    aten.bitwise_right_shift.Scalar_Tensor,
    aten.__rshift__.Tensor,
    aten.__rshift__.Scalar,
)
def right_shift(net: Network, x: Any, other: Any) -> Any:
    """floor(x / 2^other), in two steps since the highest power is no number of the dtype; the sign at the end"""
    x, other = _operands(net, x, other)
    most = torch.iinfo(net.dtype(x)).bits - 1
    for powers in ([1 << n // 2 for n in range(most + 1)], [1 << n - n // 2 for n in range(most + 1)]):
        x = _layer(net, x, _looked_up(net, powers, other, most), "FLOOR_DIV")
    return net.cast(x, net.output.dtype)


def _operands(net: Network, x: Any, other: Any) -> list[Any]:
    dtype = _dtype(net)
    if any(isinstance(each, Scalar) for each in (x, other)):
        x, other = (torch.tensor(each, dtype=dtype) if isinstance(each, Scalar) else each for each in (x, other))
    return net.operands(x, other, dtype=dtype)


def _looked_up(net: Network, powers: list[int], places: Any, beyond: int) -> Any:
    """The power for each place; that of `beyond` for all that are negative or greater."""
    outside = _layer(net, _layer(net, places, 0, "LESS"), _layer(net, places, beyond, "GREATER"), "OR")
    places = net.select(outside, beyond, places, net.dtype(places))
    return net.gather(torch.tensor(powers, dtype=net.dtype(places)), places, 0)
