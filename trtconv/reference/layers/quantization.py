"""QUANTIZE, DEQUANTIZE and DYNAMIC_QUANTIZE."""

from __future__ import annotations

import torch
from torch import Tensor

from trtconv.graph.data import DataType
from trtconv.reference.layers.precision import to_fp4, to_fp8
from trtconv.reference.layers.registry import Kernel, LayerContext, implements

_INTEGER_LIMITS = {DataType.INT8: (-128, 127), DataType.INT4: (-8, 7), DataType.UINT8: (0, 255)}
_LARGEST = {DataType.FP4: 6.0, DataType.FP8: 448.0}


def encode(x: Tensor, dtype: DataType) -> Tensor:
    """Round float32 values to a quantized type, halves to even, saturating."""
    if dtype is DataType.FP8:
        return to_fp8(x)
    if dtype is DataType.FP4:
        return to_fp4(x)
    low, high = _INTEGER_LIMITS[dtype]
    return torch.round(x).nan_to_num(0.0).clamp(low, high).to(dtype.carrier)


def spread(scale: Tensor, shape: torch.Size, axis: int) -> Tensor:
    """Scales in float32, in a shape that broadcasts to ``shape``.

    They are one for the tensor, one for each index of ``axis``, or one for each block: then each
    dimension of the scales divides that of the tensor.
    """
    scale = scale.float()
    if scale.numel() == 1:
        return scale.reshape(())
    if scale.dim() == 1 and len(shape) != 1:
        return scale.reshape(-1, *[1] * (len(shape) - axis % len(shape) - 1))
    for dimension, size in enumerate(shape):
        blocks = scale.shape[dimension]
        if blocks not in (1, size):
            scale = scale.repeat_interleave(-(-size // blocks), dimension).narrow(dimension, 0, size)
    return scale


@implements("QUANTIZE")
def quantize(context: LayerContext) -> Kernel:
    """clamp(round(x / scale) + zero point), in float32, halves to even.

    TensorRT-RTX multiplies by the reciprocal in the type of x, so that it may differ by one step.
    """
    dtype, axis = context.output_type().dtype, context["axis"]

    def kernel(x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
        y = x.float() / spread(scale, x.shape, axis)
        if zero_point is not None:
            y = torch.round(y) + spread(zero_point, x.shape, axis)
        return encode(y, dtype)

    return kernel


@implements("DEQUANTIZE")
def dequantize(context: LayerContext) -> Kernel:
    """(x - zero point) * scale, rounded to the output's type."""
    dtype, axis = context.output_type().dtype.carrier, context["axis"]

    def kernel(x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
        y = x.float()
        if zero_point is not None:
            y = y - spread(zero_point, x.shape, axis)
        return (y * spread(scale, x.shape, axis)).to(dtype)

    return kernel


@implements("DYNAMIC_QUANTIZE")
def dynamic_quantize(context: LayerContext) -> Kernel:
    """Blocks quantized by scales found from their largest magnitude; gives values and scales.

    FP4 with FP8 scales (NVFP4): scale = FP8(amax / 6 / input 1), value = FP4(x / (scale * input 1)).
    FP8 with E8M0 scales (MXFP8): scale is the least power of two not below amax / 448. TensorRT's pages
    name the types and leave the formulas open; these are those of its quantization toolkit.
    """
    dtype, scale_dtype = context.output_type(0).dtype, context.output_type(1).dtype
    scale_shape = context.output_type(1).shape

    def kernel(x: Tensor, double_scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        wide = x.float()
        outer = torch.ones((), device=x.device) if double_scale is None else double_scale.float().reshape(())
        blocks = _largest_of_blocks(wide, context, scale_shape) / _LARGEST[dtype]
        if scale_dtype is DataType.E8M0:
            exponent = torch.ceil(torch.log2(blocks)).clamp(-127, 127)
            scales = torch.exp2(exponent).to(scale_dtype.carrier)
        else:
            scales = to_fp8(blocks / outer)
        divisor = spread(scales, x.shape, 0) * outer
        y = torch.where(divisor == 0, torch.zeros_like(wide), wide / divisor)
        return encode(y, dtype), scales

    return kernel


def _largest_of_blocks(x: Tensor, context: LayerContext, scale_shape: tuple[int, ...]) -> Tensor:
    block = context["block_shape"]
    if not block:
        block = [1] * x.dim()
        block[context["axis"]] = context["block_size"]
    sizes: list[int] = []
    for size, wanted in zip(x.shape, block, strict=True):
        extent = size if wanted == -1 else wanted
        if size % extent:
            raise ValueError(f"a dimension of {size} does not divide into blocks of {extent}")
        sizes += [size // extent, extent]
    return x.abs().reshape(sizes).amax(tuple(range(1, len(sizes), 2)))
