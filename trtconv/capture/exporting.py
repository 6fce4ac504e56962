"""Telling code that it is captured, through the question that torch has for it.

`torch.compiler.is_exporting` exists for code that would decide by sizes or values where it needn't: to leave
out a mask that masks nothing, say. While a module is captured it answers True, to the capturing thread only:
torch's own flag would be seen by all.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_capturing: ContextVar[bool] = ContextVar("trtconv_capturing", default=False)
_lock = threading.Lock()
_replaced: list[Callable[[], bool]] = []
"""What torch.compiler.is_exporting was before each capture under way."""


@contextmanager
def exporting() -> Iterator[None]:
    """In this context and thread, `torch.compiler.is_exporting()` is True."""
    token = _capturing.set(True)
    with _lock:
        original = _replaced[0] if _replaced else torch.compiler.is_exporting
        _replaced.append(original)
        torch.compiler.is_exporting = _answer(original)
    try:
        yield
    finally:
        with _lock:
            _replaced.pop()
            if not _replaced:
                torch.compiler.is_exporting = original
        _capturing.reset(token)


@functools.cache
def _answer(original: Callable[[], bool]) -> Callable[[], bool]:
    @functools.wraps(original)
    def is_exporting() -> bool:
        return _capturing.get() or original()

    return is_exporting
