"""Interception of functions that torch knows nothing of.

torch's modes see torch's functions. A converter for a function of the user's own needs its calls to be
seen too: while a module is captured, the function's name is bound to a wrapper, which for all other
threads, and for calls outside of a capture, is the function itself.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType
from typing import Any

Handler = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

_handler: ContextVar[Handler | None] = ContextVar("trtconv_own_functions", default=None)
_lock = threading.Lock()
_bound: dict[FunctionType, int] = {}
"""How many captures under way have a function bound to its wrapper."""


def is_own(target: object) -> bool:
    """Tell whether a function isn't torch's, so that torch's modes don't see its calls."""
    return isinstance(target, FunctionType) and target.__module__.partition(".")[0] != "torch"


def is_seen(target: object) -> bool:
    """Tell whether torch's modes see the calls of a function: of torch's, but not of methods of modules."""
    return not is_own(target) and not (getattr(target, "__module__", None) or "").startswith("torch.nn.modules.")


@contextmanager
def intercepted(targets: Iterable[Callable[..., Any]], handler: Handler) -> Iterator[None]:
    """In this context and thread, calls of Python functions by their qualified names go to `handler`."""
    functions = [target for target in targets if isinstance(target, FunctionType)]
    token = _handler.set(handler)
    for function in functions:
        _bind(function)
    try:
        yield
    finally:
        for function in functions:
            _release(function)
        _handler.reset(token)


def _bind(function: FunctionType) -> None:
    with _lock:
        _bound[function] = _bound.get(function, 0) + 1
        if _bound[function] == 1:
            owner, name = _place(function)
            if getattr(owner, name, None) is function:
                setattr(owner, name, _wrapper(function))


def _release(function: FunctionType) -> None:
    with _lock:
        _bound[function] -= 1
        if not _bound[function]:
            del _bound[function]
            owner, name = _place(function)
            if getattr(getattr(owner, name, None), "__wrapped__", None) is function:
                setattr(owner, name, function)


def _place(function: FunctionType) -> tuple[Any, str]:
    """The module or class that holds a function, and its name there."""
    owner: Any = importlib.import_module(function.__module__)
    *path, name = function.__qualname__.split(".")
    for part in path:
        owner = getattr(owner, part, None)
    return owner, name


def _wrapper(function: FunctionType) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        handler = _handler.get()
        return function(*args, **kwargs) if handler is None else handler(function, args, kwargs)

    return call
