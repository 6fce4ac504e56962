"""The types that torch and TensorRT share."""

from __future__ import annotations

import functools
from typing import Any

import torch

from trtconv import tensorrt as trt

NAMES = {
    torch.float32: "FLOAT",
    torch.float16: "HALF",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "FP8",
    torch.int64: "INT64",
    torch.int32: "INT32",
    torch.int8: "INT8",
    torch.uint8: "UINT8",
    torch.bool: "BOOL",
}
"""What TensorRT calls the dtypes that both have."""

_IN_ENGINES = {
    torch.float64: torch.float32,
    torch.int16: torch.int32,
    torch.uint16: torch.int32,
    torch.complex32: torch.float16,
    torch.complex64: torch.float32,
    torch.complex128: torch.float32,
}
"""What an engine takes and gives in the place of dtypes that TensorRT doesn't have."""


def engine_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that an engine takes and gives for tensors that are of `dtype` for the caller."""
    return _IN_ENGINES.get(dtype, dtype)


def to_engine(tensor: torch.Tensor) -> torch.Tensor:
    """A caller's tensor as engines take it: complex numbers as pairs of real ones along a new last axis."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor.to(engine_dtype(tensor.dtype))


def from_engine(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The inverse of `to_engine`, for a tensor that is of `dtype` for the caller."""
    if not dtype.is_complex:
        return tensor.to(dtype)
    return torch.view_as_complex(tensor.to(dtype.to_real()).contiguous())


@functools.cache
def _tables() -> tuple[dict[torch.dtype, Any], dict[Any, torch.dtype]]:
    to_trt = {dtype: getattr(trt.DataType, name) for dtype, name in NAMES.items()}
    return to_trt, {value: key for key, value in to_trt.items()}


BYTES = (torch.uint8, torch.int8)
"""What TensorRT has at a network's edges, behind or before a cast, but computes with and has constants of neither."""


def to_trt(dtype: torch.dtype) -> Any:
    """The `trt.DataType` of a torch dtype.

    Raises:
        TypeError: TensorRT has no such type.
    """
    result = _tables()[0].get(dtype)
    if result is None:
        raise TypeError(f"TensorRT has no {name_of(dtype)}; it has {', '.join(map(name_of, NAMES))}")
    return result


def to_torch(data_type: Any) -> torch.dtype:
    """The torch dtype of a `trt.DataType`.

    Raises:
        TypeError: torch has no such type (int4, fp4).
    """
    result = _tables()[1].get(data_type)
    if result is None:
        raise TypeError(f"torch has no type for TensorRT's {data_type}")
    return result


def name_of(dtype: torch.dtype) -> str:
    """The name of a dtype without its module: "float32"."""
    return str(dtype).removeprefix("torch.")


def of_name(name: str) -> torch.dtype:
    """The dtype of a name that `name_of` gave, of those that a converted module's inputs and outputs have.

    Raises:
        ValueError: none of them has this name.
    """
    known = {name_of(dtype): dtype for dtype in (*NAMES, *_IN_ENGINES)}
    if name not in known:
        raise ValueError(f"{name!r} is no dtype of an input or output; allowed are {', '.join(known)}")
    return known[name]
