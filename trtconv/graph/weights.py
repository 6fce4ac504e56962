"""A TensorRT network's weights as torch tensors."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy
import torch

from trtconv import tensorrt as trt
from trtconv.graph.data import DataType

# struct Weights of NvInfer.h: DataType type (int32); void const* values; int64_t count.
_VALUES_OFFSET = 8


def to_tensor(weights: Any) -> torch.Tensor:
    """Weights as a flat tensor of the carrier of their type: a view of the network's memory, a copy of 4-bit ones.

    ``weights`` is what the bindings give: a NumPy array, or a ``trt.Weights`` for the types that NumPy has not.
    """
    if isinstance(weights, numpy.ndarray):
        return torch.from_numpy(weights).reshape(-1)
    dtype = DataType[weights.dtype.name]
    if not weights.size:
        return torch.empty(0, dtype=dtype.carrier)
    octets = _bytes_of(weights, dtype)
    if dtype in (DataType.INT4, DataType.FP4):
        nibbles = torch.stack((octets & 15, octets >> 4), 1).reshape(-1)[: weights.size]
        return _FOUR_BITS[dtype][nibbles.long()]
    return octets.view(dtype.carrier)


def _bytes_of(weights: Any, dtype: DataType) -> torch.Tensor:
    """The memory behind a ``trt.Weights``, whose address no Python attribute tells.

    The C++ object pointed to by the binding's Python object begins with the struct above.
    """
    struct = ctypes.c_void_p.from_address(id(weights) + object.__basicsize__).value
    values = ctypes.c_void_p.from_address(struct + _VALUES_OFFSET).value if struct else None
    if not values:
        raise ValueError(f"weights of {weights.size} {dtype.name} elements have no values")
    # The bindings' nbytes is garbage for the 4-bit types.
    size = (weights.size + 1) // 2 if dtype in (DataType.INT4, DataType.FP4) else weights.nbytes
    return torch.frombuffer((ctypes.c_uint8 * size).from_address(values), dtype=torch.uint8)


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


def memory_of(value: torch.Tensor | None, dtype: DataType) -> tuple[Any, torch.Tensor | None]:
    """The ``trt.Weights`` over a tensor's values, empty ones for None, and what has to live as long as they."""
    kind = trt.DataType.__members__[dtype.name]
    if value is None or not value.numel():
        return trt.Weights(kind), None
    memory = to_bytes(value.detach().cpu().contiguous(), dtype)
    return trt.Weights(kind, memory.data_ptr(), value.numel()), memory
