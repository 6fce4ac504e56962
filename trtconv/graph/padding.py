"""Arithmetic of the padding modes that convolution and pooling share (NvInfer.h, PaddingMode)."""

from __future__ import annotations

from collections.abc import Sequence


def output_size(size: int, window: int, stride: int, pre: int, post: int, mode: str) -> int:
    """Number of windows along a dimension."""
    if mode.startswith("SAME"):
        return -(-size // stride)
    room = size + pre + post - window
    return (-(-room // stride) if mode == "EXPLICIT_ROUND_UP" else room // stride) + 1


def same_padding(
    sizes: Sequence[int], windows: Sequence[int], strides: Sequence[int], mode: str
) -> tuple[list[int], list[int]]:
    """Padding that gives ceil(size / stride) windows; the odd element goes after for SAME_UPPER."""
    totals = [
        max(((size - 1) // stride) * stride + window - size, 0)
        for size, window, stride in zip(sizes, windows, strides, strict=True)
    ]
    return _halves(totals, mode)


def same_trimming(windows: Sequence[int], strides: Sequence[int], mode: str) -> tuple[list[int], list[int]]:
    """What a transposed convolution leaves out so that size * stride elements stay; the odd one as above."""
    return _halves([max(window - stride, 0) for window, stride in zip(windows, strides, strict=True)], mode)


def _halves(totals: Sequence[int], mode: str) -> tuple[list[int], list[int]]:
    less = [total // 2 for total in totals]
    more = [total - total // 2 for total in totals]
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def surplus(
    sizes: Sequence[int],
    windows: Sequence[int],
    strides: Sequence[int],
    pre: Sequence[int],
    post: Sequence[int],
) -> list[int]:
    """How far the last window reaches over the padded end when the number of windows is rounded up."""
    result = []
    for size, window, stride, before, after in zip(sizes, windows, strides, pre, post, strict=True):
        count = output_size(size, window, stride, before, after, "EXPLICIT_ROUND_UP")
        result.append((count - 1) * stride + window - (size + before + after))
    return result
