"""How each layer type is executed, one file a family."""

from trtconv.reference.layers import (
    attention,
    convolution,
    experts,
    fill,
    indexing,
    movement,
    normalization,
    plugin,
    pointwise,
    pooling,
    product,
    quantization,
    reduction,
    resize,
    sampling,
    slicing,
)

__all__ = [
    "attention",
    "convolution",
    "experts",
    "fill",
    "indexing",
    "movement",
    "normalization",
    "plugin",
    "pointwise",
    "pooling",
    "product",
    "quantization",
    "reduction",
    "resize",
    "sampling",
    "slicing",
]
