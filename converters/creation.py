"""Tensors of one value or of a sequence, whose sizes follow from an input's, and triangles."""

from __future__ import annotations

from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.emit.definition import Scalar
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.sizes import Size, is_static

aten = torch.ops.aten


def filled(net: Network, value: Any) -> Any:
    """A number in the shape of the call's result."""
    (number,) = net.operands(value, dtype=net.output.dtype)
    return net.expand(number, net.output.shape)


# Layout, device and memory format aren't seen in a network; the dtype is that of the call's result.
@converter(
    aten.zeros_like.default,
    aten.empty_like.default,
    aten.new_zeros.default,
    aten.new_empty.default,
    aten.new_empty_strided.default,
    aten.zeros.default,
    aten.empty.memory_format,
    aten.empty_strided.default,
    aten.empty_permuted.default,
    aten.zero.default,
)
def zeros(
    net: Network,
    x: Any,
    size: object = None,
    stride: object = None,
    physical_layout: object = None,
    dtype: object = None,
    layout: object = None,
    device: object = None,
    pin_memory: object = None,
    memory_format: object = None,
) -> Any:
    """Zeros, also for empty tensors, whose values don't matter."""
    return filled(net, 0)


@converter(aten.ones_like.default, aten.new_ones.default, aten.ones.default)
def ones(
    net: Network,
    x: Any,
    size: object = None,
    dtype: object = None,
    layout: object = None,
    device: object = None,
    pin_memory: object = None,
    memory_format: object = None,
) -> Any:
    return filled(net, 1)


@converter(aten.full_like.default, aten.new_full.default, aten.full.default)
def full(
    net: Network,
    x: Any,
    fill_value: Scalar,
    size: object = None,
    dtype: object = None,
    layout: object = None,
    device: object = None,
    pin_memory: object = None,
    memory_format: object = None,
) -> Any:
    return filled(net, fill_value)


@converter(aten.fill.Scalar)
def fill(net: Network, x: Any, value: Scalar) -> Any:
    return filled(net, value)


@converter(aten.copy.default)
def copy(net: Network, x: Any, src: Any, non_blocking: bool) -> Any:
    """The values of `src` in the shape and dtype of `x`."""
    return net.expand(net.cast(src, net.output.dtype), net.output.shape)


@converter(aten.fill.Tensor)
def fill_with_tensor(net: Network, x: Any, value: Any) -> Any:
    return copy(net, x, value, False)


def sequence(net: Network, count: Size) -> Any:
    """The numbers 0 to count - 1 as a tensor of int64."""
    if is_static(count):
        return net.constant(torch.arange(int(count)))
    layer = net.add_fill((0,), trt.FillOperation.LINSPACE, trt.int64)
    layer.set_input(0, net.size_tensor([count]))
    layer.set_input(1, net.scalar(0, torch.int64))
    layer.set_input(2, net.constant(torch.tensor([1])))
    return net.known(layer.get_output(0), (count,))


@converter(aten.arange.default, aten.arange.start, aten.arange.start_step)
def arange(
    net: Network,
    x: Any,
    end: Any = None,
    step: Any = 1,
    dtype: object = None,
    layout: object = None,
    device: object = None,
    pin_memory: object = None,
) -> Any:
    """start + step * (0, 1, 2, ...); called with constants only unless a size is a symbol."""
    start = 0 if net.target is aten.arange.default else x
    numbers = net.cast(sequence(net, net.output.shape[0]), net.output.dtype)
    numbers = numbers if step == 1 else net.mul(numbers, step)
    return numbers if isinstance(start, Scalar) and start == 0 else net.add(numbers, start)


@converter(aten.scalar_tensor.default)
def scalar_tensor(net: Network, x: Any, dtype: object, layout: object, device: object, pin_memory: object) -> Any:
    """A number that follows from a dynamic size, as a tensor."""
    return net.operands(x, dtype=net.output.dtype)[0]


@converter(aten.eye.default, aten.eye.m)
def eye(
    net: Network, x: Any, dtype: object, layout: object, device: object, pin_memory: object, m: object = None
) -> Any:
    """1 where row and column are the same, else 0"""
    rows, columns = net.output.shape
    row, column = net.reshape(sequence(net, rows), (rows, 1)), sequence(net, columns)
    equal = net.elementwise(row, column, trt.ElementWiseOperation.EQUAL)
    return net.select(equal, 1, 0, net.output.dtype)


@converter(aten.tril.default)
def tril(net: Network, x: Any, diagonal: int) -> Any:
    """`x` where column - row <= diagonal, else 0"""
    return net.select(_column_minus_row(net, x, "GREATER", diagonal), 0, x, net.output.dtype)


@converter(aten.triu.default)
def triu(net: Network, x: Any, diagonal: int) -> Any:
    """`x` where column - row >= diagonal, else 0"""
    return net.select(_column_minus_row(net, x, "LESS", diagonal), 0, x, net.output.dtype)


def _column_minus_row(net: Network, x: Any, operation: str, diagonal: int) -> Any:
    """Compare column - row with a number, for each element of the last two axes."""
    rows, columns = net.shape(x)[-2:]
    if is_static(rows) and is_static(columns):
        distance = torch.arange(int(columns)) - torch.arange(int(rows)).unsqueeze(1)
        return net.constant(distance > diagonal if operation == "GREATER" else distance < diagonal)
    column = net.reshape(sequence(net, columns), (1, columns))
    row = net.reshape(sequence(net, rows), (rows, 1))
    return net.elementwise(net.sub(column, row), diagonal, getattr(trt.ElementWiseOperation, operation))
