"""RESIZE in all its modes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trtconv.reference.layers.precision import widen
from trtconv.reference.layers.registry import Kernel, LayerContext, implements, require_floats

_ROUNDINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "HALF_UP": lambda x: torch.floor(x + 0.5),
    "HALF_DOWN": lambda x: torch.ceil(x - 0.5),
    "FLOOR": torch.floor,
    "CEIL": torch.ceil,
}


@dataclass(frozen=True)
class _Sampling:
    """Where an output element lies in the input, and how its neighbours are weighed."""

    mode: str
    transformation: str
    rounding: str
    selector: str
    cubic: float
    exclude_outside: bool

    def coordinates(self, size: int, resized: int, scale: float, device: torch.device) -> Tensor:
        """Positions in a dimension of ``size`` of the ``resized`` output elements, in float64."""
        index = torch.arange(resized, dtype=torch.float64, device=device)
        if resized == 1 and self.selector == "UPPER":
            return index
        if self.transformation == "ALIGN_CORNERS":
            return index * (size - 1) / max(resized - 1, 1)
        if self.transformation == "HALF_PIXEL":
            return (index + 0.5) / scale - 0.5
        return index / scale

    def taps(self, position: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
        """Neighbours as pairs of index and weight."""
        base = torch.floor(position)
        fraction = position - base
        if self.mode == "LINEAR":
            weights = [1 - fraction, fraction]
            offsets = [0, 1]
        else:
            weights = [self._cubic(distance) for distance in (1 + fraction, fraction)]
            weights += [self._cubic(distance) for distance in (1 - fraction, 2 - fraction)]
            offsets = [-1, 0, 1, 2]
        indices = [base + offset for offset in offsets]
        if self.exclude_outside:
            weights = [weight * ((index >= 0) & (index < size)) for weight, index in zip(weights, indices, strict=True)]
            total = sum(weights[1:], weights[0])
            weights = [weight / total for weight in weights]
        return [(index.clamp(0, size - 1).long(), weight) for weight, index in zip(weights, indices, strict=True)]

    def _cubic(self, distance: Tensor) -> Tensor:
        """Keys' cubic convolution kernel at a distance between 0 and 2."""
        a = self.cubic
        near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
        far = a * (((distance - 5) * distance + 8) * distance - 4)
        return torch.where(distance <= 1, near, far)


@implements("RESIZE")
def resize(context: LayerContext) -> Kernel:
    """Interpolation to a size that is an attribute, input 1, or floor(scale * size).

    Coordinates follow the scales where they are given (seen with TensorRT-RTX 1.6.1 on an H200: 1.5 times 5
    gives 7 elements that lie 1/1.5 apart), else the ratio of the sizes. Neighbours outside the tensor are
    its edge elements. Half-precision tensors are interpolated in float32.
    """
    sampling = _Sampling(
        context["resize_mode"],
        context["coordinate_transformation"],
        context["nearest_rounding"],
        context["selector_for_single_pixel"],
        context["cubic_coeff"],
        bool(context["exclude_outside"]),
    )
    shape, scales = context["shape"], context["scales"]
    if sampling.mode != "NEAREST":
        require_floats(context)

    def target(x: Tensor, sizes: Tensor | None) -> list[int]:
        if sizes is not None:
            return [int(size) for size in sizes.tolist()]
        if shape is not None:
            return list(shape)
        if not scales:
            raise ValueError("it has neither a shape nor scales")
        return [math.floor(size * scale) for size, scale in zip(x.shape, scales, strict=True)]

    def kernel(x: Tensor, sizes: Tensor | None = None) -> Tensor:
        y = x if sampling.mode == "NEAREST" else widen(x)
        given = scales if sizes is None and shape is None else None
        targets = target(x, sizes)
        context.check_sizes(targets)
        for axis, resized in enumerate(targets):
            scale = given[axis] if given else resized / max(x.shape[axis], 1)
            if resized != x.shape[axis] or scale != 1:
                y = _resize_axis(y, axis, resized, scale, sampling)
        return y.to(x.dtype)

    return kernel


def _resize_axis(x: Tensor, axis: int, resized: int, scale: float, sampling: _Sampling) -> Tensor:
    size = x.shape[axis]
    position = sampling.coordinates(size, resized, scale, x.device)
    if sampling.mode == "NEAREST":
        index = _ROUNDINGS[sampling.rounding](position).clamp(0, size - 1).long()
        return x.index_select(axis, index)
    trailing = [1] * (x.dim() - axis - 1)
    parts = [
        x.index_select(axis, index) * weight.to(x.dtype).reshape(-1, *trailing)
        for index, weight in sampling.taps(position, size)
    ]
    return sum(parts[1:], parts[0])
