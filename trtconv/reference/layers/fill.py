"""FILL: tensors made from nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from trtconv.reference.layers.registry import Kernel, LayerContext, implements


@implements("FILL")
def fill(context: LayerContext) -> Kernel:
    """A tensor made from nothing: an arithmetic sequence in each dimension, or random numbers.

    LINSPACE is alpha + sum over dimensions of beta[i] * index[i]. RANDOM_UNIFORM draws from [alpha, beta),
    RANDOM_NORMAL with mean alpha and deviation beta, both from torch's generator: TensorRT's numbers are
    its own. The shape may be input 0, alpha and beta inputs 1 and 2.
    """
    operation, device = context["operation"], context.device
    dtype = context.output_type().dtype.carrier
    attributes = context["shape"], context["alpha"], context["beta"]

    def kernel(shape_tensor: Tensor | None = None, alpha: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
        shape = list(attributes[0]) if shape_tensor is None else shape_tensor.tolist()
        context.check_sizes(shape)
        low = attributes[1] if alpha is None else alpha.reshape(()).item()
        high = attributes[2] if beta is None else beta
        if operation == "LINSPACE":
            return _linspace(shape, low, high, dtype, device)
        spread = float(high) if not isinstance(high, Tensor) else high.reshape(()).item()
        if operation == "RANDOM_UNIFORM":
            return (low + (spread - low) * torch.rand(shape, device=device)).to(dtype)
        return (low + spread * torch.randn(shape, device=device)).to(dtype)

    return kernel


def _linspace(
    shape: list[int], start: float, steps: Tensor | float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    step = torch.as_tensor(steps, device=device).reshape(-1)
    wide = torch.float32 if dtype.is_floating_point else torch.int64
    y = torch.full(shape, start, dtype=wide, device=device)
    for axis, size in enumerate(shape):
        index = torch.arange(size, dtype=wide, device=device)
        y += (index * step[axis].to(wide)).reshape(-1, *[1] * (len(shape) - axis - 1))
    return y.to(dtype)
