"""Keeping torch's log out of a conversion.

torch logs each failure of a call on fake tensors with a traceback of its own insides, also where the caller can do
without the call, or learns of it by the error.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what torch logs in this thread; other threads go on logging.

    Who asks torch for its log, by TORCH_LOGS, gets it.
    """
    if os.environ.get("TORCH_LOGS"):
        yield
        return
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "torch"]
    loggers = [logging.getLogger(name) for name in names]
    others = _OtherThreads()
    for each in loggers:
        each.addFilter(others)
    try:
        yield
    finally:
        for each in loggers:
            each.removeFilter(others)


class _OtherThreads(logging.Filter):
    """Lets pass what is logged in any thread but the one that made it."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return threading.get_ident() != self._thread
