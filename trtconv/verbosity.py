"""Python's logger "trtconv", and how to see what it is told.

ERROR
    Errors of TensorRT's that no exception tells.
WARNING
    TensorRT's warnings.
INFO
    The steps of a conversion with their seconds, what passes changed, and what TensorRT says by the way.
DEBUG
    All that TensorRT says while it builds, the layers of the finished engine among it.

TensorRT's messages are of the logger "trtconv.tensorrt". What a user of the library has to know comes as an exception
or a warning (`warnings`), whatever the logger's level.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("trtconv")


@contextmanager
def verbose(level: int | str = logging.INFO) -> Iterator[None]:
    """A context in which the logger "trtconv" says more, on the standard error stream if logging isn't set up.

    Args:
        level: The least level that is shown: ``"INFO"`` or ``logging.DEBUG``. `trtconv.verbosity` says what each tells.

    Raises:
        ValueError: there is no such level.
    """
    before = log.level
    log.setLevel(level)
    handler = None if log.hasHandlers() else logging.StreamHandler()
    if handler is not None:
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        log.addHandler(handler)
    try:
        yield
    finally:
        log.setLevel(before)
        if handler is not None:
            log.removeHandler(handler)
