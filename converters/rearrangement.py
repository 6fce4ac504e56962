"""Elements in another order or several times: flips, rotations, repetition, diagonals, windows, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import wide_dtype
from trtconv.converters.creation import sequence
from trtconv.converters.cumulative import running_sum
from trtconv.converters.shape import part
from trtconv.converters.sorting import count_before
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, Sizes, is_same, is_static, product

aten = torch.ops.aten


def _axis_to_end(net: Network, x: Any, dim: int) -> Any:
    rank = len(net.shape(x))
    return net.permute(x, [*(axis for axis in range(rank) if axis != dim % rank), dim % rank])


# -- order ------------------------------------------------------------------------------------------


@converter(aten.flip.default)
def flip(net: Network, x: Any, dims: Sequence[int]) -> Any:
    """A slice that runs backward."""
    shape = net.shape(x)
    if any(is_same(size, 0) for size in shape):
        return x
    flipped = {dim % len(shape) for dim in dims} if shape else set()
    starts = [size - 1 if axis in flipped else 0 for axis, size in enumerate(shape)]
    return net.slice(x, starts, shape, [-1 if axis in flipped else 1 for axis in range(len(shape))])


@converter(aten.roll.default)
def roll(net: Network, x: Any, shifts: Sequence[Size], dims: Sequence[int]) -> Any:
    """A slice that begins before the first element and goes on from the last; without dims of all in a row."""
    shape = net.shape(x)
    if not dims:
        return net.reshape(roll(net, net.reshape(x, [product(shape)]), shifts, [0]), shape)
    starts: list[Size] = [0] * len(shape)
    for dim, shift in zip(dims, shifts, strict=True):
        starts[dim] -= shift
    if any(is_same(size, 0) for size in shape):
        return x
    wrapped = [
        start % n if is_static(start) and is_static(n) else start for start, n in zip(starts, shape, strict=True)
    ]
    return net.slice(x, wrapped, shape, mode=trt.SampleMode.WRAP)


@converter(aten.rot90.default)
def rot90(net: Network, x: Any, k: int, dims: Sequence[int]) -> Any:
    """A quarter turn from the first of `dims` to the second, k times."""
    rank, k = len(net.shape(x)), k % 4
    first, second = (dim % rank for dim in dims)
    x = flip(net, x, [[], [second], [first, second], [first]][k])
    order = list(range(rank))
    if k % 2:
        order[first], order[second] = second, first
    return net.permute(x, order)


@converter(aten.linalg_cross.default)
def cross(net: Network, x: Any, other: Any, dim: int) -> Any:
    """x[i+1] other[i+2] - x[i+2] other[i+1], the indices going round the 3 along `dim`"""
    dtype, shape = wide_dtype(net.output.dtype), net.output.shape
    a, b = (net.expand(net.cast(each, dtype), shape) for each in (x, other))
    plus, minus = (net.mul(roll(net, a, [-i], [dim]), roll(net, b, [-j], [dim])) for i, j in ((1, 2), (2, 1)))
    return net.cast(net.sub(plus, minus), net.output.dtype)


# -- repetition -------------------------------------------------------------------------------------


@converter(aten.repeat.default)
def repeat(net: Network, x: Any, repeats: Sequence[Size]) -> Any:
    """A slice that goes on from the first element after the last."""
    x = net.tensor(x, rank=len(repeats))
    if all(is_same(size, 1) for size in net.shape(x)):
        return net.expand(x, net.output.shape)
    return net.slice(x, [0] * len(repeats), net.output.shape, mode=trt.SampleMode.WRAP)


@converter(aten.repeat_interleave.self_int)
def repeat_interleave(net: Network, x: Any, repeats: int, dim: int | None) -> Any:
    """Each element `repeats` times in a row: a new axis after its own, merged into it."""
    if dim is None:
        x, dim = net.reshape(x, [product(net.shape(x))]), 0
    shape = list(net.shape(x))
    dim %= len(shape)
    column = net.reshape(x, [*shape[: dim + 1], 1, *shape[dim + 1 :]])
    return net.reshape(net.expand(column, [*shape[: dim + 1], repeats, *shape[dim + 1 :]]), net.output.shape)


@converter(aten.repeat_interleave.Tensor)
def place_repeated(net: Network, x: Any, output_size: Size | None) -> Any:
    """Each place as often as `x` says: of the place i in the result, how many runs end before it."""
    assert output_size is not None  # capture refuses a size that depends on values
    ends = running_sum(net, net.cast(x, torch.int64), 0)
    return net.cast(count_before(net, ends, sequence(net, output_size), up_to=True), net.output.dtype)


# -- diagonals --------------------------------------------------------------------------------------


@converter(aten.diagonal.default, aten.diagonal_copy.default)
def diagonal(net: Network, x: Any, offset: int, dim1: int, dim2: int) -> Any:
    return diagonal_of(net, x, offset, dim1, dim2, net.output.shape[-1])


def diagonal_of(net: Network, x: Any, offset: int, dim1: int, dim2: int, count: Size) -> Any:
    """In the flattened matrix each of the `count` elements is one row and one column after the one before."""
    shape = net.shape(x)
    first, second = dim1 % len(shape), dim2 % len(shape)
    others = [axis for axis in range(len(shape)) if axis not in (first, second)]
    rows, columns = shape[first], shape[second]
    batch = [shape[axis] for axis in others]
    flat = net.reshape(net.permute(x, [*others, first, second]), [*batch, rows * columns])
    start = offset if offset >= 0 else -offset * columns
    return part(net, flat, -1, start, count, columns + 1)


@converter(aten.diag_embed.default)
def diag_embed(net: Network, x: Any, offset: int, dim1: int, dim2: int) -> Any:
    """Elements one row and one column apart in a flattened matrix of zeros."""
    *batch, count = net.shape(x)
    size = count + abs(offset)
    spaced = _filled_after(net, net.reshape(x, [*batch, count, 1]), size + 1, 0)
    flat = net.reshape(spaced, [*batch, count * (size + 1)])
    matrix = _filled_after(net, flat, size * size, offset if offset >= 0 else -offset * size)
    order = list(range(len(batch)))
    rank = len(order) + 2
    for dim, axis in sorted(((dim1 % rank, rank - 2), (dim2 % rank, rank - 1))):
        order.insert(dim, axis)
    return net.permute(net.reshape(matrix, [*batch, size, size]), order)


def _filled_after(net: Network, x: Any, size: Size, before: Size) -> Any:
    """`x` with zeros before and after along the last axis."""
    *batch, _ = net.shape(x)
    return net.slice(x, [*(0 for _ in batch), -before], [*batch, size], mode=trt.SampleMode.FILL)


@converter(aten.block_diag.default)
def block_diag(net: Network, tensors: Sequence[Any]) -> Any:
    """Matrices along the diagonal, zeros elsewhere."""
    width = net.output.shape[1]
    rows: list[Any] = []
    start: Size = 0
    for x in tensors:
        matrix = net.tensor(x, net.output.dtype, rank=2)
        columns = net.shape(matrix)[1]
        rows.append(padded(net, matrix, [start, width - start - columns], "constant"))
        start += columns
    return net.concatenate(rows, 0)


@converter(aten.trace.default)
def trace(net: Network, x: Any) -> Any:
    rows, columns = net.shape(x)
    if not (is_static(rows) and is_static(columns)):
        raise UnsupportedArgumentError("the trace of a matrix with dynamic sizes has no layers")
    flat = net.reshape(net.cast(x, wide_dtype(net.output.dtype)), [rows * columns])
    elements = part(net, flat, 0, 0, min(rows, columns), columns + 1)
    return net.cast(net.reduce(elements, trt.ReduceOperation.SUM, [0], False), net.output.dtype)


# -- windows ----------------------------------------------------------------------------------------


def windows(net: Network, x: Any, dim: int, count: Size, step: int, offsets: torch.Tensor) -> Any:
    """The elements at each of `offsets` of each of `count` windows, as two axes in the place of `dim`."""
    if is_static(count):
        return net.gather(x, torch.arange(int(count)).unsqueeze(1) * step + offsets, dim)
    starts = net.reshape(net.mul(sequence(net, count), step), [count, 1])
    return net.gather(x, net.add(starts, offsets.unsqueeze(0)), dim)


@converter(aten.unfold.default, aten.unfold_copy.default)
def unfold(net: Network, x: Any, dimension: int, size: int, step: int) -> Any:
    """Windows along `dimension`, their elements along a new last axis."""
    shape = net.shape(x)
    if not shape:
        return net.reshape(x, net.output.shape)
    dim = dimension % len(shape)
    parts = windows(net, x, dim, net.output.shape[dim], step, torch.arange(size))
    return _axis_to_end(net, parts, dim + 1)


@converter(aten.im2col.default)
def im2col(
    net: Network,
    x: Any,
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Any:
    """The patches that a convolution with this kernel sees, a column for each of its positions."""
    starts, shape = [0] * len(net.shape(x)), list(net.shape(x))
    for axis, amount in ((-2, padding[0]), (-1, padding[1])):
        starts[axis], shape[axis] = -amount, shape[axis] + 2 * amount
    x = net.slice(x, starts, shape, mode=trt.SampleMode.FILL)
    rank = len(shape)
    counts = _positions(shape[-2:], kernel_size, dilation, (0, 0), stride)
    for axis, i in ((rank - 1, 1), (rank - 2, 0)):
        x = windows(net, x, axis, counts[i], stride[i], torch.arange(kernel_size[i]) * dilation[i])
    *batch, channels, _, _, _, _ = net.shape(x)
    ahead = len(batch) + 1
    x = net.permute(x, [*range(ahead), ahead + 1, ahead + 3, ahead, ahead + 2])
    return net.reshape(x, [*batch, channels * product(kernel_size), product(counts)])


def _positions(
    size: Sequence[Size], kernel: Sequence[int], dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> Sizes:
    """How many positions a kernel has along each axis."""
    return tuple(
        (size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(len(kernel))
    )


@converter(aten.col2im.default)
def col2im(
    net: Network,
    x: Any,
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Any:
    """The sum of patches at their places in an image, along one axis after the other."""
    *batch, values, _ = net.shape(x)
    channels = values // product(kernel_size)
    counts = _positions(output_size, kernel_size, dilation, padding, stride)
    x = net.reshape(net.cast(x, wide_dtype(net.output.dtype)), [*batch, channels, *kernel_size, *counts])
    ahead = len(batch) + 1
    x = net.permute(x, [*range(ahead), ahead, ahead + 2, ahead + 1, ahead + 3])
    x = net.reshape(x, [*batch, channels, *(kernel_size[i] * counts[i] for i in (0, 1))])
    for i in (0, 1):
        each = (counts[i], kernel_size[i], dilation[i], padding[i], stride[i])
        x = _summed_at(net, x, ahead + i, _sources(net, output_size[i], *each))
    return net.cast(x, net.output.dtype)


def _sources(net: Network, size: Size, count: Size, kernel_size: int, dilation: int, padding: int, stride: int) -> Any:
    """[size, most]: which elements of `kernel_size` times `count` lie at a place; the one after the last is none."""
    if not (is_static(size) and is_static(count)):
        # Element k of a window lies at window * stride + k * dilation - padding.
        steps = torch.arange(kernel_size).unsqueeze(0)
        start = net.add(net.reshape(sequence(net, size), (size, 1)), padding - steps * dilation)
        window = net.elementwise(start, stride, trt.ElementWiseOperation.FLOOR_DIV)
        number = net.reshape(net.size_tensor([count]), (1, 1))
        fits = net.elementwise(net.mul(window, stride), start, trt.ElementWiseOperation.EQUAL)
        for bound, operation in ((-1, "GREATER"), (number, "LESS")):
            within = net.elementwise(window, bound, getattr(trt.ElementWiseOperation, operation))
            fits = net.elementwise(fits, within, trt.ElementWiseOperation.AND)
        return net.select(fits, net.add(net.mul(steps, number), window), net.mul(number, kernel_size), torch.int64)
    windows = torch.arange(int(count)) * stride - padding
    places = (windows + torch.arange(kernel_size).unsqueeze(1) * dilation).flatten()
    found = [(places == place).nonzero().flatten().tolist() for place in range(int(size))]
    most = max(map(len, found))
    return torch.tensor([each + [len(places)] * (most - len(each)) for each in found])


def _summed_at(net: Network, x: Any, axis: int, sources: Any) -> Any:
    """The sums of the elements along an axis that are named for each place."""
    shape = list(net.shape(x))
    shape[axis] += 1  # a zero stands for what isn't there
    x = net.slice(x, [0] * len(shape), shape, mode=trt.SampleMode.FILL)
    return net.reduce(net.gather(x, sources, axis), trt.ReduceOperation.SUM, [axis + 1], False)


@converter(aten.unfold_backward.default)
def overlapped(net: Network, x: Any, input_sizes: Sequence[Size], dim: int, size: int, step: int) -> Any:
    """The sum of windows at their places along `dim`; their elements lie along the last axis."""
    shape, last = net.shape(x), len(net.shape(x)) - 1
    dim %= last
    order = [*range(dim), last, *range(dim, last)]
    x = net.permute(net.cast(x, wide_dtype(net.output.dtype)), order)
    x = net.reshape(x, [*shape[:dim], size * shape[dim], *shape[dim + 1 : last]])
    sources = _sources(net, input_sizes[dim], shape[dim], size, 1, 0, step)
    # torch.istft asks for the window's sum for each signal of a dynamic batch.
    return net.expand(net.cast(_summed_at(net, x, dim, sources), net.output.dtype), input_sizes)


# -- padding ----------------------------------------------------------------------------------------

_MODES = {"constant": "FILL", "reflect": "REFLECT", "replicate": "CLAMP", "circular": "WRAP"}


def padded(net: Network, x: Any, pad: Sequence[Size], mode: str, value: float | None = None) -> Any:
    """Padding, or cropping where an amount is negative; the last dimension's amounts come first."""
    shape = list(net.shape(x))
    starts: list[Size] = [0] * len(shape)
    for i, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        starts[-1 - i] = -before
        shape[-1 - i] += before + after
    if mode == "constant" and any(is_same(size, 0) for size in net.shape(x)):
        return net.expand(net.scalar(value or 0, net.dtype(x), len(shape)), shape)
    return net.slice(x, starts, shape, mode=getattr(trt.SampleMode, _MODES[mode]), fill=value or None)


# Whole, since torch composes circular padding of many slices and copies.
@converter(F.pad)
def pad(net: Network, input: Any, pad: Sequence[Size], mode: str = "constant", value: float | None = None) -> Any:
    if mode == "circular":  # what is cropped doesn't come round again
        input = padded(net, input, [min(amount, 0) for amount in pad], "constant")
        pad = [max(amount, 0) for amount in pad]
    return padded(net, input, pad, mode, value)


@converter(aten.constant_pad_nd.default)
def constant_pad(net: Network, x: Any, pad: Sequence[Size], value: float) -> Any:
    return padded(net, x, pad, "constant", value)


@converter(aten.reflection_pad1d.default, aten.reflection_pad2d.default, aten.reflection_pad3d.default)
def reflection_pad(net: Network, x: Any, padding: Sequence[Size]) -> Any:
    return padded(net, x, padding, "reflect")


@converter(aten.replication_pad1d.default, aten.replication_pad2d.default, aten.replication_pad3d.default)
def replication_pad(net: Network, x: Any, padding: Sequence[Size]) -> Any:
    return padded(net, x, padding, "replicate")
