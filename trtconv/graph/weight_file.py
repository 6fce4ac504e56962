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
from collections.abc import Callable, Iterator
from pathlib import Path

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
        for folder in filter(_is_on_disk, _folders()):
            try:
                with tempfile.TemporaryFile(dir=folder) as file:
                    os.posix_fallocate(file.fileno(), 0, length)  # a full disk is an error here, and a crash later
                    self._blocks.append(mmap.mmap(file.fileno(), length))
            except OSError:
                continue
            self._used = 0
            return True
        return False


def _folders() -> Iterator[str]:
    """Where the file may be: the first of these that has room."""
    yield tempfile.gettempdir()  # TMPDIR, if it is set
    yield "/var/tmp"
    yield os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    yield os.getcwd()


def _is_on_disk(folder: str) -> bool:
    """Tell whether a folder's files don't take memory, as those of many a /tmp do."""
    try:
        device = os.stat(folder).st_dev
        mounts = Path(_MOUNTS).read_text()
    except OSError:
        return os.path.isdir(folder)
    number = f"{os.major(device)}:{os.minor(device)}"
    # "36 35 98:0 /root /place options shared:1 - type source options", see proc(5)
    places = (line.partition(" - ") for line in mounts.splitlines())
    return not any(
        place.split()[2] == number and kind.split()[0] in _MEMORY_BACKED
        for place, separator, kind in places
        if separator
    )


_MOUNTS = "/proc/self/mountinfo"
_MEMORY_BACKED = {"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"}
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
