"""NORMALIZATION and LRN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trtconv.reference.layers.precision import widen
from trtconv.reference.layers.registry import Kernel, LayerContext, axes_of, implements, require_floats


@implements("NORMALIZATION")
def normalization(context: LayerContext) -> Kernel:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, with the biased variance.

    With ``num_groups`` above 1 the channels are split in groups, each normalized over its channels and
    the dimensions of the mask. Scale and bias then have a value for each channel, or, made by
    add_normalization (not v2), for each group. Half-precision inputs are normalized in float32, rounded
    to their type, then scaled and shifted in it.
    """
    axes, epsilon, groups = axes_of(context["axes"]), context["epsilon"], context["num_groups"]
    per_group = groups > 1 and not context["is_v2"]

    def kernel(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if groups == 1:
            y = _normalize(widen(x), axes, epsilon)
        else:
            grouped = widen(x).reshape(x.shape[0], groups, -1, *x.shape[2:])
            inner = (2, *(axis + 1 for axis in axes if axis > 1))
            y = _normalize(grouped, inner, epsilon).reshape(x.shape)
        if per_group:
            repeats = x.shape[1] // groups
            scale, bias = (values.repeat_interleave(repeats, 1) for values in (scale, bias))
        return y.to(x.dtype) * scale + bias

    return kernel


def _normalize(x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    if axes == tuple(range(axes[0], x.dim())):  # torch has one kernel for all of it
        return F.layer_norm(x, x.shape[axes[0] :], eps=epsilon)
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + epsilon)


@implements("LRN")
def lrn(context: LayerContext) -> Kernel:
    """x / (k + alpha * mean over a window of channels of x^2) ^ beta, in float32.

    The mean divides by the window's size at the edges too, where channels outside count as zero.
    """
    require_floats(context)
    size, alpha, beta, k = context["window_size"], context["alpha"], context["beta"], context["k"]

    def kernel(x: Tensor) -> Tensor:
        wide = widen(x)
        squares = wide.square().movedim(1, -1)
        before = size // 2
        padded = F.pad(squares, (before, size - 1 - before))
        total = padded.unfold(-1, size, 1).sum(-1).movedim(-1, 1)
        divisor = torch.pow(k + alpha / size * total, beta)
        return (wide / divisor).to(x.dtype)

    return kernel
