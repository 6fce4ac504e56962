"""One thread at a time among those that make, build, load or free TensorRT's objects.

TensorRT calls its logger while it holds a lock of its own, and our logger waits for Python's global lock then. A thread
that holds that one, and makes or frees an object, waits for TensorRT's lock: both wait for ever. Calls whose engine,
context and shapes are ready make nothing and don't come here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.RLock()
_depth = 0
_left_behind: list[threading.Thread] = []
"""Threads that are still in TensorRT although their callers were interrupted."""
_to_free: list[Any] = []
"""Objects that wait until nothing is made or built."""


@contextmanager
def alone() -> Iterator[None]:
    """A context in which no other thread makes, builds, loads or frees TensorRT's objects."""
    global _depth  # noqa: PLW0603  # the lock's own state
    with _lock:
        while _left_behind:
            _left_behind[-1].join()
            _left_behind.pop()
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
            if not _depth:
                _free_all()


def leave_behind(thread: threading.Thread) -> None:
    """Have the next one wait for a thread that is still in TensorRT; called by who is alone."""
    _left_behind.append(thread)


def free(*objects: Any) -> None:
    """Drop objects of TensorRT's, at once or when nothing is made or built."""
    _to_free.append(objects)
    if _lock.acquire(blocking=False):
        try:
            if not _depth:
                _free_all()
        finally:
            _lock.release()


def _free_all() -> None:
    while _to_free and not any(thread.is_alive() for thread in _left_behind):
        _to_free.pop()
