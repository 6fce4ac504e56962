"""Layers that move elements without computing with them.

ASSERTION, CONCATENATION, CONSTANT, REVERSE_SEQUENCE, SHAPE, SHUFFLE, SQUEEZE and UNSQUEEZE.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trtconv.reference.layers.registry import Kernel, LayerContext, implements


@implements("CONSTANT")
def constant(context: LayerContext) -> Kernel:
    """The weights."""
    weights = context.weights("weights")
    if weights is None:
        raise ValueError("it has no weights")
    value = weights
    return lambda: value


@implements("SHAPE")
def shape(context: LayerContext) -> Kernel:
    """The dimensions as a 1-D tensor, INT64 (INT32 before TensorRT 10)."""
    dtype, device = context.output_type().dtype.carrier, context.device
    return lambda x: torch.tensor(x.shape, dtype=dtype, device=device)


@implements("CONCATENATION")
def concatenation(context: LayerContext) -> Kernel:
    """The inputs one after the other along ``axis``."""
    axis = context["axis"]
    return lambda *inputs: torch.cat(inputs, axis)


@implements("SHUFFLE")
def shuffle(context: LayerContext) -> Kernel:
    """Transpose, reshape, transpose; each may be absent.

    Dimensions to reshape to may be input 1. There -1 is inferred, and 0 copies the dimension of the same
    index of the tensor after the first transpose, unless ``zero_is_placeholder`` is off.
    """
    first, second = context["first_transpose"], context["second_transpose"]
    fixed, copy_zeros = context["reshape_dims"], context["zero_is_placeholder"]

    def kernel(x: Tensor, dims_tensor: Tensor | None = None) -> Tensor:
        if first is not None:
            x = x.permute(first)
        dims = fixed if dims_tensor is None else dims_tensor.tolist()
        if dims is not None:
            if copy_zeros and 0 in dims:
                dims = [x.shape[i] if size == 0 else size for i, size in enumerate(dims)]
            x = _reshape(x, tuple(dims))
        return x if second is None else x.permute(second)

    return kernel


def _reshape(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """torch's reshape, which can't infer -1 beside a dimension of 0: TensorRT then takes 0."""
    if -1 in dims and 0 in dims:
        dims = tuple(0 if size == -1 else size for size in dims)
    return x.reshape(dims)


@implements("SQUEEZE")
def squeeze(context: LayerContext) -> Kernel:
    """Remove the dimensions that input 1 names, or all of size 1."""

    def kernel(x: Tensor, axes: Tensor | None = None) -> Tensor:
        if axes is None:
            return x.squeeze()
        dropped = {int(axis) % x.dim() for axis in axes.reshape(-1).tolist()}
        wrong = [axis for axis in sorted(dropped) if x.shape[axis] != 1]
        if wrong:
            raise ValueError(f"dimensions {wrong} are not of size 1")
        return x.reshape([size for i, size in enumerate(x.shape) if i not in dropped])

    return kernel


@implements("UNSQUEEZE")
def unsqueeze(context: LayerContext) -> Kernel:
    """Insert dimensions of size 1 at the places of the output that input 1 names."""

    def kernel(x: Tensor, axes: Tensor) -> Tensor:
        names = axes.reshape(-1).tolist()
        rank = x.dim() + len(names)
        for axis in sorted(int(axis) % rank for axis in names):
            x = x.unsqueeze(axis)
        return x

    return kernel


@implements("REVERSE_SEQUENCE")
def reverse_sequence(context: LayerContext) -> Kernel:
    """Reverse the first lengths[b] elements of each batch item's sequence, keep the others."""
    batch, sequence = context["batch_axis"], context["sequence_axis"]

    def kernel(x: Tensor, lengths: Tensor) -> Tensor:
        position = torch.arange(x.shape[sequence], device=x.device)[:, None]
        limit = lengths.to(position.dtype)[None, :]
        source = torch.where(position < limit, limit - 1 - position, position)  # [sequence, batch]
        moved = x.movedim((sequence, batch), (0, 1))
        index = source.reshape(*source.shape, *[1] * (x.dim() - 2)).expand(moved.shape)
        return moved.gather(0, index).movedim((0, 1), (sequence, batch))

    return kernel


@implements("ASSERTION")
def assertion(context: LayerContext) -> Kernel:
    """Nothing while the condition holds, else an error with the layer's message."""
    message = context["message"]

    def kernel(condition: Tensor) -> tuple[Tensor, ...]:
        if not bool(condition.all()):
            raise ValueError(f"assertion failed: {message}")
        return ()

    return kernel
