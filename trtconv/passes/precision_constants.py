"""Which constants half precision holds."""

from __future__ import annotations

import torch

from trtconv.graph.data import DataType
from trtconv.passes.precision_choice import NAMES

HALVES = (DataType.HALF, DataType.BF16)


def is_too_large(value: torch.Tensor, half: DataType) -> bool:
    """Whether finite numbers among constants are larger than those of a type in half precision."""
    return half in HALVES and _largest(value) > torch.finfo(half.carrier).max


def _largest(value: torch.Tensor) -> float:
    """The largest finite magnitude; 0 if there is none."""
    if not value.is_floating_point() or not value.numel():
        return 0.0
    least, most = torch.aminmax(value.detach())
    if not (least.isfinite() and most.isfinite()):
        least, most = torch.aminmax(value.detach().nan_to_num(0.0, 0.0, 0.0))
    return max(-float(least), float(most))


def misfit(value: torch.Tensor, half: DataType, is_factor: bool) -> str:
    """Why a type doesn't hold constants, if it doesn't: the largest are too large, or they have too few digits.

    Args:
        is_factor: Whether small ones count: in sums they don't where larger ones are.
    """
    name, limits, largest = NAMES[half], torch.finfo(half.carrier), _largest(value)
    if largest > limits.max:
        return f"its constants reach {largest:.3g}, and {name} ends at {limits.max:.3g}"
    usual = largest
    if is_factor and largest:
        sizes = value.detach().abs()
        usual = float(sizes[sizes > 0].median())
    if 0 < usual < limits.tiny:
        return f"its constants are as small as {usual:.3g}, of which {name} has few digits"
    return ""
