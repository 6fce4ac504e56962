"""CONVOLUTION and DECONVOLUTION in two and three dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trtconv.graph.padding import same_padding, same_trimming, surplus
from trtconv.reference.layers.precision import widen
from trtconv.reference.layers.registry import Kernel, LayerContext, implements


@implements("CONVOLUTION")
def convolution(context: LayerContext) -> Kernel:
    """Cross-correlation of [*, C, *spatial] with [K, C/groups, *kernel], zero padding.

    Dimensions before the channel fold into the batch. Kernel and bias may be inputs 1 and 2.
    """
    operands = _Operands(context)
    dilation = tuple(context["dilation_nd"])
    stride = tuple(context["stride_nd"])
    window = [d * (k - 1) + 1 for d, k in zip(dilation, context["kernel_size_nd"], strict=True)]
    mode, pre, post = context["padding_mode"], context["pre_padding"], context["post_padding"]
    rank = len(stride)
    groups = context["num_groups"]
    zeros = (0,) * rank
    simple = mode == "EXPLICIT_ROUND_DOWN" and pre == post and min(pre) >= 0

    def kernel(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        weight, bias = operands.of(weight, bias)
        batch, item = _split(x, rank)
        folded = widen(x).reshape(-1, *item)
        if simple:
            y = convolve(folded, weight, None, stride, pre, dilation, groups)
        else:
            padding = _padding(item[1:], window, stride, mode, pre, post)
            y = convolve(F.pad(folded, padding), weight, None, stride, zeros, dilation, groups)
        if bias is not None:  # oneDNN's convolutions of small kernels lose digits where they add it themselves
            y.add_(bias.reshape(-1, *[1] * rank))
        return y.reshape(*batch, *y.shape[1:]).to(x.dtype)

    return kernel


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    *,
    transposed: bool = False,
) -> Tensor:
    """torch's convolution, with the process's settings but for TF32, which it has cuDNN use by default."""
    cudnn = torch.backends.cudnn
    return torch._convolution(
        x,
        weight,
        bias,
        stride,
        padding,
        dilation,
        transposed,
        output_padding=(0,) * len(stride),
        groups=groups,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic or torch.are_deterministic_algorithms_enabled(),
        cudnn_enabled=cudnn.enabled,
        allow_tf32=False,
    )


def _split(x: Tensor, rank: int) -> tuple[torch.Size, torch.Size]:
    """The dimensions that fold into the batch, and those of an item: its channel and ``rank`` more."""
    return x.shape[: -rank - 1], x.shape[-rank - 1 :]


def _padding(
    spatial: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    mode: str,
    pre: Sequence[int],
    post: Sequence[int],
) -> list[int]:
    """Zeros before and after each dimension, in F.pad's order: the last dimension first."""
    if mode.startswith("SAME"):
        pre, post = same_padding(spatial, window, stride, mode)
    elif mode == "EXPLICIT_ROUND_UP":
        extra = surplus(spatial, window, stride, pre, post)
        post = [after + more for after, more in zip(post, extra, strict=True)]
    pairs = list(zip(pre, post, strict=True))
    return [size for pair in reversed(pairs) for size in pair]


class _Operands:
    """Kernel and bias: attributes converted once, or inputs."""

    def __init__(self, context: LayerContext) -> None:
        weight, bias = context.weights("kernel"), context.weights("bias")
        self.weight = None if weight is None else widen(weight)
        self.bias = None if bias is None else widen(bias)
        if self.weight is None and not context.has_input(1):
            raise ValueError("it has neither kernel weights nor a kernel input")

    def of(self, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        chosen = self.weight if weight is None else widen(weight)
        if chosen is None:
            raise ValueError("the kernel input has no value")
        return chosen, self.bias if bias is None else widen(bias)


@implements("DECONVOLUTION")
def deconvolution(context: LayerContext) -> Kernel:
    """Transposed convolution of [*, C, *spatial] with [C, K/groups, *kernel].

    The output has (I-1)*stride + window - pre - post elements in each dimension (the same when rounding
    up): padding trims it. SAME modes trim it to I*stride.
    """
    operands = _Operands(context)
    stride, dilation = tuple(context["stride_nd"]), tuple(context["dilation_nd"])
    window = [d * (k - 1) + 1 for d, k in zip(dilation, context["kernel_size_nd"], strict=True)]
    mode, pre, post = context["padding_mode"], context["pre_padding"], context["post_padding"]
    if mode.startswith("SAME"):
        pre, post = same_trimming(window, stride, mode)
    rank = len(stride)
    zeros = (0,) * rank
    groups = context["num_groups"]

    def kernel(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        weight, bias = operands.of(weight, bias)
        batch, item = _split(x, rank)
        y = convolve(widen(x).reshape(-1, *item), weight, bias, stride, zeros, dilation, groups, transposed=True)
        for dim, (before, after) in enumerate(zip(pre, post, strict=True), start=2):
            y = y.narrow(dim, before, y.shape[dim] - before - after)
        return y.reshape(*batch, *y.shape[1:]).to(x.dtype)

    return kernel
