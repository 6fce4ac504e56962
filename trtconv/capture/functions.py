"""The upper level of interception: torch functions as the user calls them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import BuiltinFunctionType, CellType, FunctionType, MethodDescriptorType
from typing import Any

from torch.overrides import TorchFunctionMode

Handler = Callable[["FunctionLevel", Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


class FunctionLevel(TorchFunctionMode):
    """A torch function mode that gives each call to a handler, and can look inside Python functions.

    torch turns the mode off while its handler runs, so a handler sees ``torch.nn.functional.relu`` but
    not the ``torch.relu`` that it calls. `open` runs a function such that the inner calls come to the
    handler too.
    """

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self._handler = handler
        self._open: list[Callable[..., Any]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self._handler(self, func, args, kwargs or {})

    def opens(self, func: Callable[..., Any]) -> bool:
        """Tell whether `open` can look inside a function: it is written in Python, and isn't open already."""
        # A method such as Tensor.split calls its C namesake, which comes here under the same name.
        return func not in self._open and _can_open(func)

    def open(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run `func` such that the calls that it makes come to the handler."""
        self._open.append(func)
        try:
            with self:
                return _opened(func)(*args, **kwargs)
        finally:
            self._open.pop()


def _can_open(func: Callable[..., Any]) -> bool:
    if isinstance(func, (BuiltinFunctionType, MethodDescriptorType)) or not isinstance(func, FunctionType):
        return False
    return _checks(func) or any(_can_open(inner) for inner in _enclosed(func))


def _checks(func: FunctionType) -> bool:
    return any(name in func.__globals__ for name in _CHECKS)


def _is_private(value: object, func: FunctionType) -> bool:
    """Whether a value is a function that belongs to another one, and checks for `__torch_function__`."""
    return (
        isinstance(value, FunctionType)
        and value is not func
        and value.__name__.startswith("_")
        and value.__module__ == func.__module__
        and not set(_CHECKS).isdisjoint(value.__code__.co_names)
    )


def _enclosed(func: FunctionType) -> list[FunctionType]:
    contents = []
    for cell in func.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # an empty cell
            continue
        if isinstance(value, FunctionType) and value is not func:
            contents.append(value)
    return contents


@functools.cache
def _opened(func: FunctionType) -> FunctionType:
    """A copy of `func` that doesn't hand its call to `__torch_function__` but runs its body.

    torch's Python functions begin with ``if has_torch_function(...): return handle_torch_function(...)``.
    The copy has globals of its own in which the check is always False; torch itself isn't touched. Private functions
    that it calls are copied likewise: they would hand on the call of the public one, whose results may be others.
    """
    scope = func.__globals__
    if _checks(func):
        private = {name: _opened(scope[name]) for name in func.__code__.co_names if _is_private(scope.get(name), func)}
        scope = {**scope, **dict.fromkeys(_CHECKS, _never), **private}
    inner = set(_enclosed(func))
    closure = tuple(
        CellType(_opened(cell.cell_contents)) if _holds(cell, inner) else cell for cell in func.__closure__ or ()
    )
    copy = FunctionType(func.__code__, scope, func.__name__, func.__defaults__, closure or None)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


def _holds(cell: CellType, functions: set[FunctionType]) -> bool:
    try:
        value = cell.cell_contents
    except ValueError:
        return False
    return isinstance(value, FunctionType) and value in functions and _can_open(value)


def _never(*_: object) -> bool:
    return False


VALUE_READERS = frozenset(
    {"item", "tolist", "numpy", "__array__", "__bool__", "__int__", "__float__", "__index__", "__complex__"}
)
"""Methods of a tensor that need its values."""

TENSOR_PROPERTIES = frozenset({"T", "H", "mT", "mH", "data", "real", "imag"})
"""Properties of a tensor that are tensors."""
