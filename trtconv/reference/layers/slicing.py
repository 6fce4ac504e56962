"""SLICE in all its modes, and PADDING."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trtconv.reference.layers.registry import Kernel, LayerContext, implements


@dataclass(frozen=True)
class _Range:
    """The elements start, start + stride, ... of a dimension, ``count`` of them."""

    start: int
    count: int
    stride: int

    def inside(self, size: int) -> bool:
        """Tell whether all of them are elements of a dimension of this size."""
        last = self.start + (self.count - 1) * self.stride
        return self.count <= 0 or (min(self.start, last) >= 0 and max(self.start, last) < size)

    def part_inside(self, size: int) -> tuple[int, int]:
        """The first of its positions that lies inside, and the number of those; they are consecutive."""
        if self.stride == 0:
            return 0, self.count if 0 <= self.start < size else 0
        low, high = sorted((-self.start / self.stride, (size - 1 - self.start) / self.stride))
        first = max(-int(-low // 1), 0)
        return first, max(min(int(high // 1), self.count - 1) - first + 1, 0)


@implements("SLICE")
def slice_layer(context: LayerContext) -> Kernel:
    """Elements start + i*stride of each dimension, ``shape`` of them.

    Start, shape, stride and axes may be inputs 1, 2, 3 and 5. A stride may be 0 (repeat) or negative; a
    negative start is an element before the first, not one from the end. Outside the tensor STRICT_BOUNDS
    fails, WRAP repeats the tensor, CLAMP its edge, REFLECT mirrors it about its edge elements, and FILL
    takes the scalar input 4 or zero.
    """
    fixed = [context["start"], context["shape"], context["stride"]]
    fixed_axes, mode = context["axes"], context["mode"]

    def kernel(
        x: Tensor,
        start: Tensor | None = None,
        size: Tensor | None = None,
        stride: Tensor | None = None,
        fill: Tensor | None = None,
        axes: Tensor | None = None,
    ) -> Tensor:
        given = (start, size, stride)
        values = [dims if tensor is None else tensor.tolist() for dims, tensor in zip(fixed, given, strict=True)]
        dims = fixed_axes if axes is None else axes.tolist()
        if dims is None:
            dims = range(x.dim())
        ranges = {axis % x.dim(): _Range(*extent) for axis, extent in zip(dims, zip(*values, strict=True), strict=True)}
        context.check_sizes([ranges[i].count if i in ranges else n for i, n in enumerate(x.shape)])
        if mode == "FILL":
            return _filled(x, ranges, fill)
        for axis, extent in ranges.items():
            x = _take(x, axis, extent, mode)
        return x

    return kernel


def _take(x: Tensor, axis: int, extent: _Range, mode: str) -> Tensor:
    size = x.shape[axis]
    if extent.inside(size):
        return _take_inside(x, axis, extent)
    if mode == "STRICT_BOUNDS":
        raise ValueError(
            f"start {extent.start}, size {extent.count}, stride {extent.stride} leave dimension {axis} of size {size}"
        )
    if size == 0:
        raise ValueError(f"dimension {axis} is empty, so there is nothing to {mode.lower()}")
    index = extent.start + extent.stride * torch.arange(extent.count, device=x.device)
    if mode == "WRAP":
        index = index % size
    elif mode == "CLAMP":
        index = index.clamp(0, size - 1)
    else:
        period = max(2 * (size - 1), 1)
        index = index % period
        index = torch.minimum(index, period - index) if size > 1 else index * 0
    return x.index_select(axis, index)


def _take_inside(x: Tensor, axis: int, extent: _Range) -> Tensor:
    """A view where torch has one; it has none with a negative stride."""
    if extent.count <= 0:
        return x.narrow(axis, 0, 0)
    if extent.stride == 0 or extent.count == 1:
        one = x.narrow(axis, extent.start, 1)
        return one.expand([extent.count if i == axis else size for i, size in enumerate(x.shape)])
    last = extent.start + (extent.count - 1) * extent.stride
    low, high = min(extent.start, last), max(extent.start, last)
    view = x.narrow(axis, low, high - low + 1)
    if abs(extent.stride) > 1:
        view = view[(slice(None),) * axis + (slice(None, None, abs(extent.stride)),)]
    return view.flip(axis) if extent.stride < 0 else view


def _filled(x: Tensor, ranges: dict[int, _Range], fill: Tensor | None) -> Tensor:
    """The part inside the tensor, set into one of the fill value."""
    outside = [axis for axis, extent in ranges.items() if not extent.inside(x.shape[axis])]
    if not outside:
        for axis, extent in ranges.items():
            x = _take_inside(x, axis, extent)
        return x
    shape = [ranges[i].count if i in ranges else size for i, size in enumerate(x.shape)]
    value = x.new_zeros(()) if fill is None else fill.reshape(()).to(x.dtype)
    result = value.expand(shape).clone(memory_format=torch.contiguous_format)
    target = result
    for axis, extent in ranges.items():
        first, count = extent.part_inside(x.shape[axis])
        target = target.narrow(axis, min(first, extent.count), count) if count else target.narrow(axis, 0, 0)
        x = _take_inside(x, axis, _Range(extent.start + first * extent.stride, count, extent.stride))
    target.copy_(x)
    return result


@implements("PADDING")
def padding(context: LayerContext) -> Kernel:
    """Zeros around the last two dimensions, or elements cut off where a padding is negative."""
    pre: Sequence[int] = context["pre_padding_nd"]
    post: Sequence[int] = context["post_padding_nd"]
    border = [pre[1], post[1], pre[0], post[0]]
    return lambda x: F.pad(x, border)
