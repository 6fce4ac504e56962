"""POOLING in two and three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trtconv.graph.padding import output_size, same_padding
from trtconv.reference.layers.precision import widen
from trtconv.reference.layers.registry import Kernel, LayerContext, implements, require_floats


@dataclass(frozen=True)
class _Windows:
    """Where the windows lie: ``pre`` elements before the input, ``counts`` of them a dimension."""

    pre: tuple[int, ...]
    post: tuple[int, ...]
    counts: tuple[int, ...]


@implements("POOLING")
def pooling(context: LayerContext) -> Kernel:
    """Maximum, average or (1-b)*maximum + b*average over windows of the last dimensions.

    Padding never wins a maximum. An average divides by the elements of the input under the window, or
    of the padded input where ``average_count_excludes_padding`` is off; elements that rounding up
    reaches beyond the padding count in neither. Over a window with no element to count, the maximum is
    -inf and the average NaN.
    """
    window, stride = tuple(context["window_size_nd"]), tuple(context["stride_nd"])
    layout = _layout(context, window, stride)
    exclude = context["average_count_excludes_padding"]
    kind: str = context["type"]
    if kind != "MAX":
        require_floats(context)
    blend: float = context["blend_factor"]

    def pool(x: Tensor, windows: _Windows) -> Tensor:
        if kind == "MAX":
            return _maximum(x, window, stride, windows)
        average = _average(x, window, stride, windows, exclude)
        if kind == "AVERAGE":
            return average
        return torch.lerp(_maximum(x, window, stride, windows), average, blend)

    def kernel(x: Tensor) -> Tensor:
        rank = len(window)
        windows = layout(x.shape[-rank:])
        lead = x.shape[:-rank]
        if 0 in windows.counts or x.numel() == 0:
            return x.new_zeros(*lead, *windows.counts)
        wide = widen(x) if x.is_floating_point() else x.float()
        y = pool(wide.reshape(-1, lead[-1], *x.shape[-rank:]), windows)
        return y.reshape(*lead, *windows.counts).to(x.dtype)

    return kernel


def _layout(
    context: LayerContext, window: tuple[int, ...], stride: tuple[int, ...]
) -> Callable[[Sequence[int]], _Windows]:
    mode = context["padding_mode"]
    explicit = tuple(context["pre_padding"]), tuple(context["post_padding"])

    def layout(sizes: Sequence[int]) -> _Windows:
        pre, post = same_padding(sizes, window, stride, mode) if mode.startswith("SAME") else explicit
        counts = (
            max(output_size(*of_dimension, mode), 0)
            for of_dimension in zip(sizes, window, stride, pre, post, strict=True)
        )
        return _Windows(tuple(pre), tuple(post), tuple(counts))

    return layout


def _padded(x: Tensor, window: Sequence[int], stride: Sequence[int], windows: _Windows, value: float) -> Tensor:
    """The input with just the border that the windows cover."""
    rank = len(window)
    border: list[int] = []
    for i in reversed(range(rank)):
        covered = (windows.counts[i] - 1) * stride[i] + window[i]
        border += [windows.pre[i], covered - windows.pre[i] - x.shape[x.dim() - rank + i]]
    return F.pad(x, border, value=value) if any(border) else x


def _maximum(x: Tensor, window: Sequence[int], stride: Sequence[int], windows: _Windows) -> Tensor:
    maximum: Callable[..., Tensor] = F.max_pool2d if len(window) == 2 else F.max_pool3d
    # torch pads by itself where that comes to the same, at no cost.
    if windows.pre == windows.post and all(2 * p <= w for p, w in zip(windows.pre, window, strict=True)):
        y = maximum(x, window, stride, windows.pre)
        if tuple(y.shape[-len(window) :]) == windows.counts:
            return y
    return maximum(_padded(x, window, stride, windows, -torch.inf), window, stride)


def _average(x: Tensor, window: Sequence[int], stride: Sequence[int], windows: _Windows, exclude: bool) -> Tensor:
    add: Callable[..., Tensor] = F.avg_pool2d if len(window) == 2 else F.avg_pool3d
    total = add(_padded(x, window, stride, windows, 0.0), window, stride, divisor_override=1)
    divisor = torch.ones((), device=x.device)
    for i, count in enumerate(windows.counts):
        size = x.shape[x.dim() - len(window) + i]
        low = 0 if exclude else -windows.pre[i]
        high = size if exclude else size + windows.post[i]
        start = torch.arange(count, device=x.device) * stride[i] - windows.pre[i]
        overlap = (start + window[i]).clamp(max=high) - start.clamp(min=low)
        divisor = divisor[..., None] * overlap.clamp(min=0)
    return total / divisor
