"""Interception of functions whose calls torch's modes don't see: the user's own, and methods of modules.

The function itself is intercepted, whatever name, dict, closure or partial holds it: while captures need it, its
code is a trampoline. That asks, per call, whether the calling thread captures; all other calls run the original.
"""

from __future__ import annotations

import dataclasses
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType, FunctionType
from typing import Any

from torch.overrides import get_testing_overrides

Handler = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


def is_unseen(target: object) -> bool:
    """Tell whether a function is written in Python and never reported to torch's modes."""
    return isinstance(target, FunctionType) and not is_seen(target)


def is_seen(target: object) -> bool:
    """Tell whether torch's modes see the calls of a function."""
    if not isinstance(target, FunctionType):
        return True
    if target.__module__.partition(".")[0] != "torch":
        return False
    return "handle_torch_function" in target.__code__.co_names or target in get_testing_overrides()


@dataclasses.dataclass(eq=False)
class _Interception:
    """Calls of these functions, in one thread, go to the handler.

    Attributes:
        handler: None once the interception has ended.
        passing: The function that the handler was given and may now call to run the original.
    """

    targets: frozenset[FunctionType]
    handler: Handler | None
    passing: object = None


_active: ContextVar[tuple[_Interception, ...]] = ContextVar("trtconv_interceptions", default=())
"""The interceptions under way in this thread, those of the innermost capture last."""

_lock = threading.Lock()
_originals: dict[FunctionType, tuple[int, CodeType, bool]] = {}
"""The functions with a trampoline: how many interceptions need it, the code, whether it had no signature of its own."""


@contextmanager
def intercepted(targets: Iterable[Callable[..., Any]], handler: Handler) -> Iterator[None]:
    """In this thread, calls of these Python functions go to `handler`, which may call them to run the original."""
    functions = frozenset(target for target in targets if isinstance(target, FunctionType))
    mine = _Interception(functions, handler)
    bound: list[FunctionType] = []
    _active.set((*_alive(), mine))
    try:
        for function in functions:
            _bind(function)
            bound.append(function)
        yield
    finally:
        # Interceptions needn't end in the order, nor in the context, in which they began: there is no token to reset.
        mine.handler = None
        _active.set(_alive())
        for function in bound:
            _release(function)


def _alive() -> tuple[_Interception, ...]:
    return tuple(each for each in _active.get() if each.handler is not None)


def _bind(function: FunctionType) -> None:
    with _lock:
        if function in _originals:
            count, *rest = _originals[function]
            _originals[function] = (count + 1, *rest)  # type: ignore[assignment]  # the rest as it was
            return
        code = function.__code__
        unsigned = not hasattr(function, "__signature__")
        _originals[function] = (1, code, unsigned)
        if unsigned:  # code that asks for it must not see the trampoline's
            function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]  # an attribute of its own
        function.__code__ = _trampoline(function, code)


def _release(function: FunctionType) -> None:
    with _lock:
        count, code, unsigned = _originals[function]
        if count > 1:
            _originals[function] = (count - 1, code, unsigned)
            return
        del _originals[function]
        function.__code__ = code
        if unsigned:
            del function.__signature__  # type: ignore[attr-defined]  # set above


def _trampoline(function: FunctionType, code: CodeType) -> CodeType:
    """Code that hands its call to a dispatcher, for a function with this code and closure."""
    original = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    original.__kwdefaults__ = function.__kwdefaults__

    def dispatch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        interception = next((each for each in reversed(_active.get()) if each.handler is not None), None)
        if interception is None or interception.handler is None or function not in interception.targets:
            return original(*args, **kwargs)
        if interception.passing is function:
            interception.passing = None
            return original(*args, **kwargs)
        outer, interception.passing = interception.passing, function
        try:
            return interception.handler(function, args, kwargs)
        finally:
            interception.passing = outer

    template = _template.__code__
    constants = tuple(dispatch if constant == "the dispatcher" else constant for constant in template.co_consts)
    return template.replace(
        co_consts=constants,
        co_freevars=code.co_freevars,
        co_name=code.co_name,
        co_firstlineno=code.co_firstlineno,
    )


def _template(*args: Any, **kwargs: Any) -> Any:
    dispatch: Any = "the dispatcher"
    return dispatch(args, kwargs)
