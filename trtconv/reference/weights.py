"""A TensorRT network's weights as torch tensors."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy
import torch

from trtconv.reference.graph import DataType

# struct Weights of NvInfer.h: DataType type (int32); void const* values; int64_t count.
_VALUES_OFFSET = 8


def to_tensor(weights: Any) -> torch.Tensor:
    """Weights as a flat tensor of the carrier of their type.

    ``weights`` is what the bindings give: a NumPy array that views the network's memory, as the tensor then does,
    or a ``trt.Weights`` for the types that NumPy has not, of which the tensor is a copy.
    """
    if isinstance(weights, numpy.ndarray):
        return torch.from_numpy(weights).reshape(-1)
    dtype = DataType[weights.dtype.name]
    return _decode(_bytes_of(weights, dtype), dtype, weights.size)


def _bytes_of(weights: Any, dtype: DataType) -> bytes:
    """The memory behind a ``trt.Weights``, whose address no Python attribute tells.

    The C++ object pointed to by the binding's Python object begins with the struct above.
    """
    if not weights.size:
        return b""
    struct = ctypes.c_void_p.from_address(id(weights) + object.__basicsize__).value
    values = ctypes.c_void_p.from_address(struct + _VALUES_OFFSET).value if struct else None
    if not values:
        raise ValueError(f"weights of {weights.size} {dtype.name} elements have no values")
    # The bindings' nbytes is garbage for the 4-bit types.
    size = (weights.size + 1) // 2 if dtype in (DataType.INT4, DataType.FP4) else weights.nbytes
    return ctypes.string_at(values, size)


def _decode(raw: bytes, dtype: DataType, count: int) -> torch.Tensor:
    if not count:
        return torch.empty(0, dtype=dtype.carrier)
    octets = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
    if dtype in (DataType.INT4, DataType.FP4):
        nibbles = torch.stack((octets & 15, octets >> 4), 1).reshape(-1)[:count]
        return _FOUR_BITS[dtype][nibbles.long()]
    return octets.view(dtype.carrier)


# The value of each 4-bit pattern: two's complement, and sign, two exponent bits and one of fraction.
_FOUR_BITS = {
    DataType.INT4: torch.tensor([*range(8), *range(-8, 0)], dtype=torch.int8),
    DataType.FP4: torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]),
}


def to_bytes(values: torch.Tensor, dtype: DataType) -> torch.Tensor:
    """A carrier's values as TensorRT has them in memory: 4-bit ones two to a byte, others as they are."""
    if dtype not in _FOUR_BITS:
        return values
    table = _FOUR_BITS[dtype]
    flat = values.reshape(-1, 1)
    # -0.0 and 0.0 are two patterns.
    same = (flat == table) & (flat.signbit() == table.signbit())
    patterns = same.int().argmax(1).to(torch.uint8)
    if len(patterns) % 2:
        patterns = torch.cat((patterns, patterns.new_zeros(1)))
    return (patterns[0::2] | patterns[1::2] << 4).contiguous()
