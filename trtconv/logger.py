"""TensorRT's messages, kept so that an error can tell them."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trtconv import tensorrt as trt

_log = logging.getLogger("trtconv.tensorrt")
_one_thread = threading.RLock()
_collectors: list[Messages] = []
_quiet: list[None] = []
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

    def clear(self) -> None:
        """Forget what was reported so far."""
        self._errors.clear()


@contextmanager
def collect_messages() -> Iterator[Messages]:
    """Collect TensorRT's errors while the context is open; one thread at a time has one open.

    TensorRT logs while it holds locks of its own, and logging waits for Python's global lock: a thread that
    holds that one and calls TensorRT would wait for the first thread for ever. So what creates, builds or
    runs TensorRT's objects does so in here.
    """
    with _one_thread:
        messages = Messages()
        _collectors.append(messages)
        try:
            yield messages
        finally:
            _collectors.remove(messages)


@contextmanager
def quiet() -> Iterator[None]:
    """Pass warnings on at DEBUG: reading a network's attributes warns about each that is dynamic."""
    _quiet.append(None)
    try:
        yield
    finally:
        _quiet.pop()


@functools.cache
def logger() -> Any:
    """The logger to create TensorRT objects with.

    TensorRT keeps the first logger of a process for all objects, so there is one. It passes messages
    on to the Python logger "trtconv.tensorrt": errors at DEBUG, because they are raised as well.
    """

    class Logger(trt.load().ILogger):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Any, message: str) -> None:
            level = _LEVELS[severity.name]
            if _quiet and level == logging.WARNING:
                level = logging.DEBUG
            if level >= logging.ERROR:
                for collector in list(_collectors):
                    collector.add(message)
                level = logging.DEBUG if _collectors else level
            _log.log(level, message)

    return Logger()
