"""One engine at a time, on GPUs where engines that run side by side disturb one another.

TensorRT-RTX 1.6.1 loads engines on an H100, which it isn't made for. There about one result in a thousand is wrong when
engines run on several streams at once, of one module or of several, with or without trtconv: eight engines that were
loaded and captured with torch.cuda.CUDAGraph alone did so too (benchmarks/results/streams.md). On such GPUs the work of
one stream waits for that of another.
"""

from __future__ import annotations

import functools
import threading
from contextlib import AbstractContextManager
from types import TracebackType

import torch

from trtconv import tensorrt as trt
from trtconv.options import known_capabilities
from trtconv.runtime import cuda


class Turn(AbstractContextManager[None]):
    """A context in which work may be queued on a stream: after what other streams were given in their turns."""

    def __init__(self, turns: Turns, stream: int) -> None:
        self._turns = turns
        self._stream = stream

    def __enter__(self) -> None:
        self._turns.lock.acquire()
        last = self._turns.last
        if last != self._stream:
            if last is not None:
                cuda.wait_for(self._stream, last)
            self._turns.last = self._stream

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._turns.lock.release()


class Turns:
    """The turns of a GPU's streams.

    Attributes:
        last: The handle of the stream that had the last turn.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.last: int | None = None


def turn_of(device: torch.device, stream: int) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
    """What calls on a stream hold while they queue their work, and what keeps them from it but queues nothing itself.

    Both are a lock of the stream's own, or a turn among all streams and the lock of all turns.
    """
    if _takes_turns(device):
        return Turn(_turns(device), stream), _turns(device).lock
    lock = threading.RLock()
    return lock, lock


@functools.cache
def _turns(device: torch.device) -> Turns:
    return Turns()


@functools.cache
def _takes_turns(device: torch.device) -> bool:
    """Whether this TensorRT isn't made for this GPU."""
    return trt.is_rtx() and cuda.capability(device) not in known_capabilities()
