"""Errors that the user has to mend, without the frames of the libraries that found them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

from trtconv.errors import ConversionError, EngineError, InputError, WeightsError
from trtconv.places import is_library, place
from trtconv.tensorrt import TensorRTNotFoundError

ENVIRONMENT_VARIABLE = "TRTCONV_TRACEBACK"
_ANSWERS = (ConversionError, EngineError, InputError, TensorRTNotFoundError, WeightsError)
"""What trtconv raises on purpose: the message is all that there is to know."""
_CHECKS = (
    "trtconv.calling.arguments",
    "trtconv.conversion",
    "trtconv.calling.dynamic",
    "trtconv.onnx",
    "trtconv.options",
    "trtconv.rebuilding",
    "trtconv.calling.signature",
    "trtconv.calling.structure",
)
"""Modules that check what the user gives."""
_RUNS = ("trtconv.capture.session", "run")
"""The function that runs the user's code."""
_FAULTS = (AssertionError, AttributeError, KeyError, NameError)
"""What a fault of trtconv's own looks like, raised in its code."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def shortened(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Leave trtconv's and torch's frames out of the tracebacks of errors that a function raises for the user to mend.

    What nobody expected keeps all frames, and so does everything where the environment says TRTCONV_TRACEBACK=full.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if os.environ.get(ENVIRONMENT_VARIABLE) == "full" or not _is_users(error):
                raise
            _shorten_chain(error)
            raise error.with_traceback(_without_libraries(error.__traceback__)) from error.__cause__

    return call


def raised_at(error: BaseException) -> str:
    """The innermost line outside of torch, trtconv and Python where an error was raised; "" if there is none."""
    entry = _without_libraries(error.__traceback__)
    while entry is not None and entry.tb_next is not None:
        entry = entry.tb_next
    return place(entry.tb_frame.f_code.co_filename, entry.tb_lineno) if entry is not None else ""


def _is_users(error: BaseException) -> bool:
    """Whether an error is about what the user gave or wrote."""
    frames = [each.tb_frame for each in _entries(error.__traceback__)]
    if isinstance(error, _ANSWERS):
        return True
    innermost = frames[-1]
    if isinstance(error, (TypeError, ValueError)) and innermost.f_globals.get("__name__") in _CHECKS:
        return True
    if not any((frame.f_globals.get("__name__"), frame.f_code.co_name) == _RUNS for frame in frames):
        return False
    return not (isinstance(error, _FAULTS) and str(innermost.f_globals.get("__name__")).startswith("trtconv."))


def _shorten_chain(error: BaseException) -> None:
    """Show the causes of an error that are the user's own; those inside of libraries say nothing more."""
    cause = error.__cause__
    if cause is None:
        error.__suppress_context__ = True
        return
    short = _without_libraries(cause.__traceback__)
    if short is not None:
        _shorten_chain(cause)
        cause.__traceback__ = short
    elif not isinstance(cause, _FAULTS):
        error.__cause__ = None
        error.__suppress_context__ = True


def _without_libraries(traceback: TracebackType | None) -> TracebackType | None:
    """The part of a traceback outside of torch, trtconv and Python; None if there is none."""
    result = None
    for entry in reversed(_entries(traceback)):
        if not is_library(entry.tb_frame.f_code.co_filename):
            result = TracebackType(result, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return result


def _entries(traceback: TracebackType | None) -> list[TracebackType]:
    entries = []
    while traceback is not None:
        entries.append(traceback)
        traceback = traceback.tb_next
    return entries
