"""In what precision layers compute, and how results are rounded to their type.

TensorRT accumulates half-precision sums in fp32 and rounds a layer's result to its type. Here every
half-precision result is computed in float32 and rounded once. That also covers operations for which
torch has no half-precision CPU kernel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from trtconv.graph.data import DataType

LOW_PRECISION = (torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e8m0fnu)
_FP8_MAX = 448.0


def widen(x: Tensor) -> Tensor:
    """The tensor in the type to compute in: float32 for the low-precision floats, else as it is."""
    return x.float() if x.dtype in LOW_PRECISION else x


def to_fp8(x: Tensor) -> Tensor:
    """Round to FP8 E4M3, values beyond its range going to the largest, as TensorRT does."""
    return x.float().clamp(-_FP8_MAX, _FP8_MAX).to(torch.float8_e4m3fn)


def product(function: Callable[..., Tensor], *factors: Tensor) -> Tensor:
    """A product, with fp32 factors as they are: where the process lets cuBLAS round them to TF32, in float64.

    The settings are the process's own: they are read, and stay.
    """
    first = factors[0]
    if first.is_cuda and first.dtype is torch.float32 and _is_tf32_allowed():
        return function(*(factor.double() for factor in factors)).float()
    return function(*factors)


matmul = functools.partial(product, torch.matmul)


def _is_tf32_allowed() -> bool:
    settings = torch.backends.cuda.matmul
    # torch 2.9 and later object to the older setting where the newer one is used.
    if hasattr(torch.backends.cudnn, "conv"):
        return settings.fp32_precision not in ("ieee", "none")
    return bool(settings.allow_tf32)


# The halfway points between the eight magnitudes of FP4 E2M1; a tie goes to the even pattern.
_FP4_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def to_fp4(x: Tensor) -> Tensor:
    """Round to FP4 E2M1 held in float32: to the nearest, ties to the even pattern, saturating at 6."""
    magnitudes = torch.tensor(_FP4_MAGNITUDES, device=x.device)
    size = x.float().abs().clamp(max=_FP4_MAGNITUDES[-1])
    upper = torch.bucketize(size, magnitudes).clamp(max=len(_FP4_MAGNITUDES) - 1)
    lower = (upper - 1).clamp(min=0)
    below, above = size - magnitudes[lower], magnitudes[upper] - size
    take_upper = (above < below) | ((above == below) & (upper % 2 == 0))
    return torch.where(take_upper, magnitudes[upper], magnitudes[lower]).copysign(x.float())


def cast(x: Tensor, dtype: DataType) -> Tensor:
    """Convert values: floats to integers toward zero, any non-zero to True.

    Values outside an integer type are undefined in ONNX. TensorRT-RTX 1.6.1 on an H200 saturates, with NaN to 0
    in int32 and to the least value in int64, and converts to int8 by way of int32. Integers to narrower
    integers keep the low bits.
    """
    target = dtype.carrier
    if x.dtype == target:
        return x
    if dtype is DataType.FP8:
        return to_fp8(x)
    if not x.is_floating_point() or target.is_floating_point or target == torch.bool:
        return x.to(target)
    middle = torch.int64 if target == torch.int64 else torch.int32
    limits = torch.iinfo(middle)
    nan = float(limits.min) if middle == torch.int64 else 0.0
    wide = x.double().nan_to_num(nan, float("inf"), float("-inf")).trunc()
    inside = wide.clamp(float(limits.min), float(limits.max))
    # float(2**63 - 1) rounds up to 2**63, which would wrap.
    return torch.where(wide >= float(limits.max), limits.max, inside.to(middle)).to(target)
