"""Telling code that it is captured, through the questions that torch has for it.

`torch.compiler.is_exporting` and `is_compiling` exist for code that would decide by values where it needn't, to
leave out a mask that masks nothing, or keep tensors for the next call. While a module is captured they answer
True, to the capturing thread only: torch's own flags would be seen by all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_QUESTIONS = ("is_exporting", "is_compiling")

_capturing: ContextVar[int] = ContextVar("trtconv_capturing", default=0)
"""How many captures are under way in this thread."""

_lock = threading.Lock()
_answers: list[dict[str, Callable[[], bool]]] = []
"""For each capture under way, what torch's own functions were before the first."""


@contextmanager
def exporting() -> Iterator[None]:
    """In this context and thread, `torch.compiler.is_exporting()` and `is_compiling()` are True."""
    _capturing.set(_capturing.get() + 1)
    with _lock:
        _answers.append(_answers[0] if _answers else {name: getattr(torch.compiler, name) for name in _QUESTIONS})
        if len(_answers) == 1:
            for name, original in _answers[0].items():
                setattr(torch.compiler, name, _answer(original))
    try:
        yield
    finally:
        with _lock:
            originals = _answers.pop()
            if not _answers:
                for name, original in originals.items():
                    setattr(torch.compiler, name, original)
        _capturing.set(_capturing.get() - 1)


def _answer(original: Callable[[], bool]) -> Callable[[], bool]:
    return lambda: _capturing.get() > 0 or original()
