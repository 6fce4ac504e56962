"""CUMULATIVE, RAGGED_SOFTMAX, REDUCE, SOFTMAX and TOPK."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from trtconv.reference.layers.precision import widen
from trtconv.reference.layers.registry import Kernel, LayerContext, axes_of, implements


def _extreme(x: Tensor, axes: tuple[int, ...], keep: bool, sign: int) -> Tensor:
    """Maximum (sign 1) or minimum (-1); of no elements the infinity or type limit at the other end."""
    if math.prod(x.shape[axis] for axis in axes):
        return (torch.amax if sign > 0 else torch.amin)(x, axes, keep)
    if x.is_floating_point():
        worst = -sign * math.inf
    else:
        limits = torch.iinfo(x.dtype)
        worst = limits.min if sign > 0 else limits.max
    return torch.full_like(x.sum(axes, keep), worst, dtype=x.dtype)


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keep, dtype=x.dtype)
    return x


def _average(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    """The mean; of integers truncated toward zero."""
    if x.is_floating_point():
        return x.mean(axes, keep)
    count = math.prod(x.shape[axis] for axis in axes)
    return torch.div(x.sum(axes, keep), count, rounding_mode="trunc").to(x.dtype)


REDUCTIONS: Mapping[str, Callable[[Tensor, tuple[int, ...], bool], Tensor]] = {
    "SUM": lambda x, axes, keep: x.sum(axes, keep, dtype=x.dtype),
    "PROD": _product,
    "MAX": lambda x, axes, keep: _extreme(x, axes, keep, 1),
    "MIN": lambda x, axes, keep: _extreme(x, axes, keep, -1),
    "AVG": _average,
}


@implements("REDUCE")
def reduce(context: LayerContext) -> Kernel:
    """Reduction over the dimensions of a bit mask; integer sums and products wrap."""
    if context["op"] not in REDUCTIONS:
        raise NotImplementedError(f"reduction {context['op']}")
    function, axes, keep = REDUCTIONS[context["op"]], axes_of(context["axes"]), context["keep_dims"]
    return lambda x: function(widen(x), axes, keep).to(x.dtype)


@implements("SOFTMAX")
def softmax(context: LayerContext) -> Kernel:
    """Softmax over one dimension."""
    axes = axes_of(context["axes"])
    if len(axes) != 1:
        raise NotImplementedError(f"softmax over {len(axes)} dimensions")
    axis = axes[0]
    return lambda x: torch.softmax(widen(x), axis).to(x.dtype)


@implements("RAGGED_SOFTMAX")
def ragged_softmax(context: LayerContext) -> Kernel:
    """Softmax of x [..., S] over its first bounds [..., 1] elements; the others become 0."""

    def kernel(x: Tensor, bounds: Tensor) -> Tensor:
        inside = torch.arange(x.shape[-1], device=x.device) < bounds.reshape(*x.shape[:-1], 1)
        y = torch.softmax(widen(x).masked_fill(~inside, -math.inf), -1)
        return y.masked_fill(~inside, 0).to(x.dtype)

    return kernel


@implements("TOPK")
def topk(context: LayerContext) -> Kernel:
    """The k largest or smallest along a dimension, best first, with their INT32 or INT64 indices.

    TensorRT leaves the order of equal values open; here the lowest index comes first.
    """
    axes = axes_of(context["axes"])
    if len(axes) != 1:
        raise NotImplementedError(f"TopK over {len(axes)} dimensions")
    axis, descending, count = axes[0], context["op"] == "MAX", context["k"]
    indices_type = context.output_type(1).dtype.carrier

    def kernel(x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
        wanted = count if k is None else int(k)
        if wanted > x.shape[axis]:
            raise ValueError(f"k is {wanted}, the dimension has {x.shape[axis]} elements")
        values, indices = torch.sort(widen(x), dim=axis, descending=descending, stable=True)
        values, indices = values.narrow(axis, 0, wanted), indices.narrow(axis, 0, wanted)
        return values.to(x.dtype), indices.to(indices_type)

    return kernel


@implements("CUMULATIVE")
def cumulative(context: LayerContext) -> Kernel:
    """Cumulative sum along the dimension that input 1 names; exclusive leaves the element itself out."""
    if context["op"] != "SUM":
        raise NotImplementedError(f"cumulative {context['op']}")
    exclusive, reverse = context["exclusive"], context["reverse"]

    def kernel(x: Tensor, axis_tensor: Tensor) -> Tensor:
        axis = int(axis_tensor)
        wide = widen(x)
        if reverse:
            wide = wide.flip(axis)
        y = wide.cumsum(axis, dtype=wide.dtype)
        if exclusive:
            y = y.roll(1, axis)
            y.narrow(axis, 0, min(1, y.shape[axis])).zero_()
        return (y.flip(axis) if reverse else y).to(x.dtype)

    return kernel
