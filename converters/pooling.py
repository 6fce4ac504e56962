"""Pooling.

TensorRT pads on the right as far as it is told, so torch's output sizes are reached by padding; its own
ceil mode lacks torch's rule that the last window starts inside.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.creation import sequence
from trtconv.converters.linear import product_along
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, Sizes, is_same, is_static, most

aten = torch.ops.aten

_MAXIMUM = {aten.max_pool2d_with_indices.default: 2, aten.max_pool3d_with_indices.default: 3}
_AVERAGE = {aten.avg_pool1d.default: 1, aten.avg_pool2d.default: 2, aten.avg_pool3d.default: 3}
_ADAPTIVE_MAXIMUM = {aten.adaptive_max_pool2d.default: 2, aten.adaptive_max_pool3d.default: 3}


@dataclasses.dataclass(frozen=True)
class _Windows:
    """Where the windows lie, each with one number for each spatial axis.

    Attributes:
        after: The padding on the right, with what the last window of ceil mode needs beyond torch's own.
        count: The number of windows, which is the size of the result.
        surplus: Whether the padding makes room for a window too many, one that begins beyond the input.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    count: Sizes
    surplus: bool = False

    def ends(self) -> tuple[int, ...]:
        """How many places a window spans."""
        return tuple(d * (w - 1) + 1 for d, w in zip(self.dilation, self.size, strict=True))


def _windows(
    sizes: Sizes,
    count: Sizes,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> _Windows:
    def on_each(numbers: Sequence[int]) -> tuple[int, ...]:
        return tuple(numbers) if len(numbers) == len(sizes) else tuple(numbers) * len(sizes)

    size, step = on_each(kernel_size), on_each(stride or kernel_size)
    before, spread = on_each(padding), on_each(dilation)
    windows = _Windows(size, step, before, before, spread, count)
    if not ceil_mode:
        return windows
    if all(map(is_static, (*sizes, *count))):
        # A window that is larger than the padded image ends with it.
        inside = [
            min(w, int(n) + 2 * p) if d == 1 else w for w, n, p, d in zip(size, sizes, before, spread, strict=True)
        ]
        windows = dataclasses.replace(windows, size=tuple(inside))
        reach = [(int(n) - 1) * s + end for n, s, end in zip(count, step, windows.ends(), strict=True)]
        after = [max(p, end - (int(n) + p)) for p, end, n in zip(before, reach, sizes, strict=True)]
        return dataclasses.replace(windows, after=tuple(after))
    # Of sizes that aren't known: with a stride less 1 of padding more, rounding down comes to rounding up.
    after = [p + s - 1 for p, s in zip(before, step, strict=True)]
    surplus = any(a >= end for a, end in zip(after, windows.ends(), strict=True))
    return dataclasses.replace(windows, after=tuple(after), surplus=surplus)


def _batched(net: Network, x: Any, spatial: int) -> Any:
    shape = net.shape(x)
    return x if len(shape) == spatial + 2 else net.reshape(x, (1, *shape))


@converter(*_MAXIMUM)
def max_pool(
    net: Network,
    x: Any,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> Any:
    spatial = _MAXIMUM[net.target]
    output = tuple(net.output.shape)
    x = _batched(net, x, spatial)
    windows = _windows(net.shape(x)[2:], output[-spatial:], kernel_size, stride, padding, dilation, ceil_mode)
    if any(d != 1 for d in windows.dilation) or not net.dtype(x).is_floating_point:
        result = _max_of_slices(net, x, windows)
    else:
        result = _pool(net, x, "MAX", windows)
    return net.reshape(result, output), None


def _pool(net: Network, x: Any, kind: str, windows: _Windows, *, skip_padding: bool = False) -> Any:
    layer = net.add_pooling_nd(net.tensor(x), getattr(trt.PoolingType, kind), windows.size)
    layer.stride_nd, layer.pre_padding, layer.post_padding = windows.stride, windows.before, windows.after
    if kind == "AVERAGE":
        layer.average_count_excludes_padding = skip_padding
    lead = net.shape(x)[:2]
    if not windows.surplus:
        return net.known(layer.get_output(0), (*lead, *windows.count))
    padded = zip(net.shape(x)[2:], windows.before, windows.after, windows.size, windows.stride, strict=True)
    counts = [(n + p + q - w) // s + 1 for n, p, q, w, s in padded]
    result = net.known(layer.get_output(0), (*lead, *counts))
    return net.slice(result, [0] * (2 + len(counts)), (*lead, *windows.count))


def _max_of_slices(net: Network, x: Any, windows: _Windows) -> Any:
    """The largest of the shifted inputs, one for each place of the window, along one axis after the other.

    TensorRT's pooling layer has no dilation and no integers.
    """
    dtype = net.dtype(x)
    lowest = -math.inf if dtype.is_floating_point else torch.iinfo(dtype).min
    lead = net.shape(x)[:2]
    sizes = [n + p + q for n, p, q in zip(net.shape(x)[2:], windows.before, windows.after, strict=True)]
    x = net.slice(x, (0, 0, *(-p for p in windows.before)), (*lead, *sizes), mode=trt.SampleMode.FILL, fill=lowest)
    for axis in range(len(sizes)):
        start, stride = [0] * (2 + len(sizes)), [1] * (2 + len(sizes))
        sizes[axis], stride[2 + axis] = windows.count[axis], windows.stride[axis]
        shifted = []
        for place in range(windows.size[axis]):
            start[2 + axis] = place * windows.dilation[axis]
            shifted.append(net.slice(x, start, (*lead, *sizes), stride))
        x = functools.reduce(lambda a, b: net.elementwise(a, b, trt.ElementWiseOperation.MAX), shifted)
    return x


@converter(*_AVERAGE)
def avg_pool(
    net: Network,
    x: Any,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> Any:
    spatial = _AVERAGE[net.target]
    output = tuple(net.output.shape)
    x = _batched(net, x, spatial)
    windows = _windows(net.shape(x)[2:], output[-spatial:], kernel_size, stride, padding, (1,), ceil_mode)
    if spatial == 1:
        x, windows = net.reshape(x, (*net.shape(x)[:2], 1, net.shape(x)[2])), _lifted(windows)
    skip_padding = not count_include_pad and divisor_override is None
    result = _pool(net, x, "AVERAGE", windows, skip_padding=skip_padding)
    volume = math.prod(windows.size)
    if divisor_override is not None:
        result = net.mul(result, volume / divisor_override)
    elif count_include_pad and windows.after != windows.before:
        for axis, factors in enumerate(_factors(net, net.shape(x)[2:], windows)):
            ones = [1] * (len(windows.count) - 1 - axis)
            column = net.reshape(factors, (1, 1, *(1 for _ in range(axis)), *net.shape(factors), *ones))
            result = net.mul(net.cast(result, torch.float32), column)
    return net.reshape(net.cast(result, net.output.dtype), output)


def _lifted(windows: _Windows) -> _Windows:
    """The same windows along the last axis of images of height 1."""
    return _Windows(
        (1, *windows.size),
        (1, *windows.stride),
        (0, *windows.before),
        (0, *windows.after),
        (1, *windows.dilation),
        (1, *windows.count),
        windows.surplus,
    )


def _factors(net: Network, sizes: Sizes, windows: _Windows) -> list[Any]:
    """Along each axis the size of the windows by that by which torch divides.

    Padding counts on both sides, but not what ceil mode adds on the right.
    """
    result = []
    for n, p, w, s, count in zip(sizes, windows.before, windows.size, windows.stride, windows.count, strict=True):
        if is_static(count) and is_static(n):
            inside = torch.clamp(int(n) + 2 * p - torch.arange(int(count)) * s, max=w)
            result.append(w / inside.to(torch.float32))
        else:
            room = net.sub(net.size_tensor([n + 2 * p]), net.mul(sequence(net, count), s))
            inside = net.elementwise(room, w, trt.ElementWiseOperation.MIN)
            result.append(net.div(float(w), net.cast(inside, torch.float32)))
    return result


@converter(aten._adaptive_avg_pool2d.default, aten._adaptive_avg_pool3d.default)
def adaptive_avg_pool(net: Network, x: Any, output_size: Sequence[Size]) -> Any:
    """The means of windows from floor(i * size / windows) to ceil((i + 1) * size / windows)."""
    spatial = len(output_size)
    output = tuple(net.output.shape)
    x = _batched(net, x, spatial)
    x = _whole_axes(net, x, output_size, trt.ReduceOperation.AVG)
    sizes = net.shape(x)[2:]
    if all(map(is_same, sizes, output_size)):
        return net.reshape(x, output)
    even = _even_windows(sizes, output_size)
    if even is not None:
        return net.reshape(_pool(net, x, "AVERAGE", even), output)
    # Windows of several sizes: along each axis a product with the matrix of the windows' means.
    result = net.cast(x, torch.float32)
    for axis, count in enumerate(output_size, start=2):
        size = net.shape(result)[axis]
        if not is_same(size, count):
            result = product_along(net, _window_means(net, size, count), result, axis)
    return net.cast(net.reshape(result, output), net.output.dtype)


def _whole_axes(net: Network, x: Any, output_size: Sequence[Size], operation: Any) -> Any:
    """Reduce along the axes that have one window, whatever their size."""
    axes = [axis for axis, count in enumerate(output_size, start=2) if is_same(count, 1)]
    axes = [axis for axis in axes if not is_same(net.shape(x)[axis], 1)]
    return net.reduce(x, operation, axes, True) if axes else x


def _even_windows(sizes: Sizes, count: Sequence[Size]) -> _Windows | None:
    """Windows of one size, side by side, or None where the sizes aren't known to be multiples of the counts."""
    pairs = [(1, 1) if is_same(n, o) else (n, o) for n, o in zip(sizes, count, strict=True)]
    if any(not is_static(n) or not is_static(o) or int(n) % int(o) for n, o in pairs):
        return None
    size, none = tuple(int(n) // int(o) for n, o in pairs), (0,) * len(pairs)
    return _Windows(size, size, none, none, (1,) * len(pairs), tuple(count))


def _window_means(net: Network, size: Size, windows: Size) -> Any:
    """[windows, size]: row i averages the places of window i."""
    if is_static(size) and is_static(windows):
        result = torch.zeros(int(windows), int(size))
        for i, (start, stop) in enumerate(_adaptive_windows(int(size), int(windows))):
            result[i, start:stop] = 1 / (stop - start)
        return result
    start, stop = adaptive_bounds(net, size, windows)
    place = net.reshape(sequence(net, size), (1, size))
    inside = net.elementwise(
        net.elementwise(place, net.sub(start, 1), trt.ElementWiseOperation.GREATER),
        net.elementwise(place, stop, trt.ElementWiseOperation.LESS),
        trt.ElementWiseOperation.AND,
    )
    share = net.div(1.0, net.cast(net.sub(stop, start), torch.float32))
    return net.select(inside, share, 0.0, torch.float32)


def adaptive_bounds(net: Network, size: Size, windows: Size) -> tuple[Any, Any]:
    """Where each window of an adaptive pool starts and stops, [windows, 1]."""
    if is_static(size) and is_static(windows):
        bounds = torch.tensor(_adaptive_windows(int(size), int(windows)))
        return bounds[:, :1], bounds[:, 1:]
    number = net.reshape(sequence(net, windows), (windows, 1))
    length, count = (net.reshape(net.size_tensor([n]), (1, 1)) for n in (size, windows))
    start = net.elementwise(net.mul(number, length), count, trt.ElementWiseOperation.FLOOR_DIV)
    end = net.add(net.mul(net.add(number, 1), length), net.sub(count, 1))
    return start, net.elementwise(end, count, trt.ElementWiseOperation.FLOOR_DIV)


def most_places(size: Size, windows: Size) -> int:
    """The number of places of the longest window of an adaptive pool."""
    if not is_static(windows):
        raise UnsupportedArgumentError(f"from {size} to {windows} elements, its windows may be of any length")
    if is_static(size):
        return max(stop - start for start, stop in _adaptive_windows(int(size), int(windows)))
    return -(-most(size) // int(windows)) + 1


def _adaptive_windows(size: int, windows: int) -> list[tuple[int, int]]:
    return [(i * size // windows, -((-(i + 1) * size) // windows)) for i in range(windows)]


@converter(*_ADAPTIVE_MAXIMUM)
def adaptive_max_pool(net: Network, x: Any, output_size: Sequence[Size]) -> Any:
    """The largest in the windows of adaptive average pooling."""
    output = tuple(net.output.shape)
    x = _batched(net, x, _ADAPTIVE_MAXIMUM[net.target])
    x = _whole_axes(net, x, output_size, trt.ReduceOperation.MAX)
    sizes = net.shape(x)[2:]
    even = _even_windows(sizes, output_size)
    if even is not None and net.dtype(x).is_floating_point:
        return net.reshape(_pool(net, x, "MAX", even), output), None
    for axis, count in enumerate(output_size, start=2):
        x = _maxima_along(net, x, axis, count)
    return net.reshape(x, output), None


def _maxima_along(net: Network, x: Any, axis: int, count: Size) -> Any:
    """The place k of each window, for all k: windows that are shorter repeat their last place."""
    size = net.shape(x)[axis]
    if is_same(size, count):
        return x
    if is_static(size) and is_static(count):
        start, stop = (each.squeeze(1) for each in adaptive_bounds(net, size, count))
        shifted = [net.gather(x, torch.minimum(start + k, stop - 1), axis) for k in range(most_places(size, count))]
        return functools.reduce(lambda a, b: net.elementwise(a, b, trt.ElementWiseOperation.MAX), shifted)
    start, stop = adaptive_bounds(net, size, count)
    steps = torch.arange(most_places(size, count)).unsqueeze(0)
    place = net.elementwise(net.add(start, steps), net.sub(stop, 1), trt.ElementWiseOperation.MIN)
    return net.reduce(net.gather(x, place, axis), trt.ReduceOperation.MAX, [axis + 1], False)
