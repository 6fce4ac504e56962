"""TensorRT's messages, kept so that an error can tell them."""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from trtconv import tensorrt as trt

_log = logging.getLogger("trtconv.tensorrt")
_collectors: ContextVar[tuple[Messages, ...]] = ContextVar("trtconv_collectors", default=())
"""Those that are open in this thread, or in the one that this thread's context was copied from."""
_everywhere: list[Messages] = []
"""Those that are open in any thread."""
_is_quiet: ContextVar[bool] = ContextVar("trtconv_is_quiet", default=False)
_making = threading.Lock()
_NO_GPU = ("cudaError 35:", "cudaError 100:")
"""cudaErrorInsufficientDriver, which also stands for no driver at all, and cudaErrorNoDevice."""
_LEVELS = {
    "INTERNAL_ERROR": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.INFO,
    "VERBOSE": logging.DEBUG,
}


class Messages:
    """The errors that TensorRT reported while this collector was open."""

    def __init__(self) -> None:
        self._errors: list[str] = []

    def add(self, text: str) -> None:
        """Keep one error."""
        self._errors.append(text)

    def errors(self) -> list[str]:
        """The errors, in order.

        That there is no GPU is said at every occasion; it counts where nothing else is said.
        """
        return [text for text in self._errors if not any(code in text for code in _NO_GPU)] or list(self._errors)

    def words(self) -> str:
        """The errors as an error of ours tells them."""
        return "\n".join(["TensorRT says:", *(f"  {text}" for text in self.errors() or ["(nothing)"])])

    def clear(self) -> None:
        """Forget what was reported so far."""
        self._errors.clear()


@contextmanager
def collect_messages() -> Iterator[Messages]:
    """Collect TensorRT's errors while the context is open: those of this thread, and of threads of TensorRT's own.

    A thread that works for this one goes on collecting if it runs in a copy of its context
    (`contextvars.copy_context`).
    """
    messages = Messages()
    opened = _collectors.set((*_collectors.get(), messages))
    _everywhere.append(messages)
    try:
        yield messages
    finally:
        _everywhere.remove(messages)
        _collectors.reset(opened)


@contextmanager
def quiet() -> Iterator[None]:
    """Pass this thread's warnings on at DEBUG: reading a network's attributes warns about each that is dynamic."""
    before = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(before)


def logger() -> Any:
    """The logger to create TensorRT objects with.

    TensorRT keeps the first logger of a process for all objects, so there is one. It passes messages
    on to the Python logger "trtconv.tensorrt": errors at DEBUG where they are collected, to be raised.
    """
    with _making:  # one that is dropped again would be called after its end
        return _logger()


@functools.cache
def _logger() -> Any:
    class Logger(trt.load().ILogger):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Any, message: str) -> None:
            level = _LEVELS[severity.name]
            if level >= logging.ERROR:
                # Python code has called TensorRT on all threads but those that TensorRT has started itself. What
                # they work for isn't known.
                is_foreign = sys._getframe().f_back is None
                collectors = tuple(_everywhere) if is_foreign else _collectors.get()
                for collector in collectors:
                    collector.add(message)
                level = logging.DEBUG if collectors else level
            elif level == logging.WARNING and _is_quiet.get():
                level = logging.DEBUG
            _log.log(level, message)

    return Logger()
