"""Room for weights that needn't be in memory all the time.

While TensorRT builds an engine it holds the weights of a network twice. Those that a conversion has computed from the
module's own (folded, transposed, cast) would come on top of that; here they lie in a file without a name that is
mapped to memory: the system reads what is touched, and drops it again when it is told that nobody is reading.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import tempfile
from collections.abc import Callable

import torch

SMALLEST = 1 << 20
"""Tensors of fewer bytes stay in memory."""
_LEAST_BLOCK = 64 << 20
_ALIGNMENT = 64


class WeightFile:
    """A file for tensors, in blocks; it is gone when nothing uses it any more."""

    def __init__(self) -> None:
        self._blocks: list[mmap.mmap] = []
        self._used = 0
        """Bytes of the last block."""

    def hold(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same values in the file; the tensor itself where it is small or the file can't grow.

        Args:
            tensor: On the CPU, and dense: its elements lie side by side in some order.
        """
        if tensor.nbytes < SMALLEST or not _CAN_RELEASE or not self._has_room_for(tensor.nbytes):
            return tensor
        flat = torch.frombuffer(self._blocks[-1], dtype=tensor.dtype, count=tensor.numel(), offset=self._used)
        self._used += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
        held = flat.as_strided(tensor.shape, tensor.stride()).copy_(tensor)
        self.release()
        return held

    def release(self) -> None:
        """Take the file's contents out of memory; what is touched afterwards comes back."""
        for block in self._blocks:
            block.madvise(mmap.MADV_DONTNEED)

    def _has_room_for(self, size: int) -> bool:
        if self._blocks and self._used + size <= len(self._blocks[-1]):
            return True
        # Each block takes a file descriptor: the more there is, the larger the next.
        length = max(size, _LEAST_BLOCK, sum(map(len, self._blocks)) // 4)
        try:
            with tempfile.TemporaryFile() as file:
                os.posix_fallocate(file.fileno(), 0, length)  # a full disk is an error here, and a crash later
                self._blocks.append(mmap.mmap(file.fileno(), length))
        except OSError:
            return False
        self._used = 0
        return True


_CAN_RELEASE = hasattr(mmap, "MADV_DONTNEED") and hasattr(os, "posix_fallocate")


def return_freed_memory() -> None:
    """Give memory that was freed back to the system, where the C library keeps it until it is asked (glibc)."""
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], object]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda _: None
