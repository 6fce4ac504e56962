"""TensorRT's long calls, run so that Ctrl-C ends them.

Python acts on a signal when its main thread comes back to Python code. In a call of TensorRT's that is at its end, or
where it reports on its progress, and there it takes what is raised for a report that failed, and goes on.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import torch

from trtconv.tensorrt.exclusion import leave_behind

_POLL = 0.1
"""Seconds between looks at signals, which don't end each kind of waiting on each system."""
_PATIENCE = 0.5
"""Seconds in which what was cancelled may end before its caller goes on without it."""

_R = TypeVar("_R")


def interruptible(work: Callable[[], _R], cancel: Callable[[], object] = lambda: None) -> _R:
    """The result of `work`, which runs in a thread of its own while this one listens.

    What is raised here meanwhile, `KeyboardInterrupt` for one, is raised within a second. `work` may then still be
    under way: it holds what it needs, and that is freed at its end.

    Args:
        work: Takes Python's global lock no longer than for moments. It has a copy of this thread's context.
        cancel: Makes `work` end soon.
    """
    result: Future[_R] = Future()
    ended = threading.Event()
    is_used: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    device = torch.cuda.current_device() if is_used else -1
    run = contextvars.copy_context().run
    thread = threading.Thread(target=run, args=(_run, work, device, result, ended), name="trtconv")
    try:
        thread.start()
        while not ended.wait(_POLL):
            pass
        thread.join()
    except BaseException:
        cancel()
        if not ended.wait(_PATIENCE):
            leave_behind(thread)
        raise
    return result.result()


def _run(work: Callable[[], _R], device: int, result: Future[_R], ended: threading.Event) -> None:
    try:
        with torch.cuda.device(device):  # each thread has one of its own; -1 leaves it
            result.set_result(work())
    except BaseException as error:
        result.set_exception(error)
    finally:
        # An error's traceback holds this frame.
        del work, result
        ended.set()
