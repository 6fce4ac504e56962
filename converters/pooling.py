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
from trtconv.converters.linear import product_along
from trtconv.errors import UnsupportedArgumentError
from trtconv.network import Network
from trtconv.registry import converter
from trtconv.sizes import Size, Sizes, is_same, is_static

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
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    count: Sizes


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
    after = before
    if ceil_mode:
        ends = [(n - 1) * s + d * (w - 1) + 1 for n, s, d, w in zip(_static(count), step, spread, size, strict=True)]
        after = tuple(max(p, end - (n + p)) for p, end, n in zip(before, ends, _static(sizes), strict=True))
    return _Windows(size, step, before, after, spread, count)


def _static(sizes: Sizes) -> tuple[int, ...]:
    if not all(map(is_static, sizes)):
        raise UnsupportedArgumentError(
            f"where the windows end depends on the sizes {list(sizes)}, which have to be fixed: make these dimensions "
            "static, or pool without ceil_mode (in adaptive pooling: to a size that divides them)"
        )
    return tuple(map(int, sizes))


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
    return net.known(layer.get_output(0), (*net.shape(x)[:2], *windows.count))


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
        counts = _counts(_static(net.shape(x)[2:]), windows)
        result = net.mul(result, (volume / counts).to(net.output.dtype)[None, None])
    return net.reshape(result, output)


def _lifted(windows: _Windows) -> _Windows:
    """The same windows along the last axis of images of height 1."""
    return _Windows(
        (1, *windows.size),
        (1, *windows.stride),
        (0, *windows.before),
        (0, *windows.after),
        (1, *windows.dilation),
        (1, *windows.count),
    )


def _counts(sizes: Sequence[int], windows: _Windows) -> torch.Tensor:
    """By what torch divides: padding counts on both sides, but not what ceil mode adds on the right."""
    counts = torch.ones((), dtype=torch.float64)
    for axis, size in enumerate(sizes):
        starts = torch.arange(windows.count[axis], dtype=torch.float64) * windows.stride[axis]
        inside = torch.clamp(size + 2 * windows.before[axis] - starts, max=windows.size[axis])
        counts = counts.unsqueeze(-1) * inside
    return counts


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
            result = product_along(net, _window_means(*_static((size, count))), result, axis)
    return net.cast(net.reshape(result, output), net.output.dtype)


def _whole_axes(net: Network, x: Any, output_size: Sequence[Size], operation: Any) -> Any:
    """Reduce along the axes that have one window, whatever their size."""
    axes = [axis for axis, count in enumerate(output_size, start=2) if is_same(count, 1)]
    axes = [axis for axis in axes if not is_same(net.shape(x)[axis], 1)]
    return net.reduce(x, operation, axes, True) if axes else x


def _even_windows(sizes: Sizes, count: Sequence[Size]) -> _Windows | None:
    """Windows of one size, side by side, or None where the sizes aren't multiples of the counts."""
    pairs = [
        (1, 1) if is_same(n, o) else (_static((n,))[0], _static((o,))[0]) for n, o in zip(sizes, count, strict=True)
    ]
    if any(n % o for n, o in pairs):
        return None
    size, none = tuple(n // o for n, o in pairs), (0,) * len(pairs)
    return _Windows(size, size, none, none, (1,) * len(pairs), tuple(count))


def _window_means(size: int, windows: int) -> torch.Tensor:
    """[windows, size]: row i averages the places of window i."""
    result = torch.zeros(windows, size)
    for i, (start, stop) in enumerate(_adaptive_windows(size, windows)):
        result[i, start:stop] = 1 / (stop - start)
    return result


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
    bounds = _adaptive_windows(*_static((size, count)))
    longest = max(stop - start for start, stop in bounds)
    places = [torch.tensor([min(start + k, stop - 1) for start, stop in bounds]) for k in range(longest)]
    shifted = [net.gather(x, place, axis) for place in places]
    return functools.reduce(lambda a, b: net.elementwise(a, b, trt.ElementWiseOperation.MAX), shifted)
