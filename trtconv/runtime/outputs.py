"""Outputs whose size is known only when they have been computed, as NonZero's."""

from __future__ import annotations

import functools
from typing import Any, Protocol

import torch

from trtconv import tensorrt as trt


class OutputAllocator(Protocol):
    """What TensorRT asks for the memory of an output."""

    def result(self, dtype: torch.dtype) -> torch.Tensor:
        """The output of the last run, a tensor of its own."""
        ...


def new_allocator(device: torch.device) -> OutputAllocator:
    """An allocator for an output on a device."""
    allocator: OutputAllocator = _allocator_type()(device)
    return allocator


@functools.cache
def _allocator_type() -> Any:
    class Allocator(trt.load().IOutputAllocator):  # type: ignore[misc]  # the base is known at run time only
        """Memory that grows to the largest size asked for and is used again from run to run."""

        def __init__(self, device: torch.device) -> None:
            super().__init__()
            self._memory = torch.empty(0, dtype=torch.uint8, device=device)
            self._shape: tuple[int, ...] = ()

        def reallocate_output_async(self, name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            if self._memory.numel() < max(size, 1):
                self._memory = torch.empty(max(size, 1), dtype=torch.uint8, device=self._memory.device)
            return self._memory.data_ptr()

        def notify_shape(self, name: str, shape: Any) -> None:
            self._shape = tuple(shape)

        def result(self, dtype: torch.dtype) -> torch.Tensor:
            count = torch.Size(self._shape).numel() * dtype.itemsize
            return self._memory[:count].view(dtype).reshape(self._shape).clone()

    return Allocator
