"""Symbolic sizes as text: how a graph says them, and how layers that are added to it compute with them."""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sympy
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._sympy import functions

from trtconv.sizes.arithmetic import Size, Sizes, expression, is_static


def as_text(sizes: Iterable[Size]) -> tuple[int | str, ...]:
    """Sizes as numbers and expressions in text; "?" for what has no text."""
    return tuple(int(expression(size)) if is_static(size) else _as_text(expression(size)) for size in sizes)


@functools.lru_cache(maxsize=4096)
def _as_text(value: Any) -> str:
    text = str(value)
    try:
        return text if parse(text) == value else UNKNOWN
    except ValueError:
        return UNKNOWN


UNKNOWN = "?"


class SymbolicSizes:
    """Sizes that were text as symbols again; equal ones have equal expressions."""

    def __init__(self) -> None:
        self._environment = ShapeEnv()

    def read(self, sizes: Iterable[int | str]) -> Sizes:
        """Numbers, and expressions as `torch.SymInt`.

        Raises:
            ValueError: a text isn't an expression.
        """
        return tuple(size if isinstance(size, int) else self._symbolic(parse(size)) for size in sizes)

    def _symbolic(self, value: Any) -> Any:
        hint = int(value.subs(dict.fromkeys(value.free_symbols, _HINT)))
        return self._environment.create_symintnode(value, hint=hint)


_HINT = 97
"""A value for all symbols, which nothing should decide by."""


def parse(text: str) -> Any:
    """The sympy expression that a text says.

    Raises:
        ValueError: it isn't one of sizes.
    """
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{text!r} is no size: {error!r}") from error


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return sympy.sympify(number)
        case ast.Name(id=name):
            return sympy.Symbol(name, positive=True, integer=True)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _FUNCTIONS[name](*map(_value, arguments))
    raise ValueError(f"{ast.dump(node)} is nothing that sizes are made of")


_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: functions.FloorDiv,
    ast.Mod: functions.PythonMod,
    ast.Pow: operator.pow,
}
_FUNCTIONS: Mapping[str, Any] = {
    each.__name__: each
    for each in (
        *(functions.CeilToInt, functions.CleanDiv, functions.FloatPow, functions.FloatTrueDiv, functions.FloorDiv),
        *(functions.FloorToInt, functions.IntTrueDiv, functions.Max, functions.Min, functions.Mod, functions.PythonMod),
        *(functions.RoundToInt, functions.ToFloat, functions.TruncToInt),
    )
}
