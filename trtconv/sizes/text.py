"""Symbolic sizes as text: how a graph says them, and how layers that are added to it compute with them."""

from __future__ import annotations

import ast
import functools
import itertools
import operator
from collections.abc import Iterable
from typing import Any

import sympy
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._sympy import functions

from trtconv.sizes import Size, Sizes, expression, is_static
from trtconv.sizes.expressions import OPERATORS, Meaning, compiled


def as_text(sizes: Iterable[Size]) -> tuple[int | str, ...]:
    """Sizes as numbers and expressions in text; "?" for what has no text."""
    return tuple(int(expression(size)) if is_static(size) else text_of(expression(size)) for size in sizes)


@functools.lru_cache(maxsize=4096)
def text_of(value: Any) -> str:
    """An expression in text; "?" if it has none."""
    text = str(value)
    plain = value.xreplace({symbol: named(symbol.name) for symbol in value.free_symbols})
    try:
        return text if parse(text) == plain else UNKNOWN
    except ValueError:
        return UNKNOWN


UNKNOWN = "?"


class SymbolicSizes:
    """Sizes that were text as symbols again; equal ones have equal expressions."""

    def __init__(self) -> None:
        self._environment = ShapeEnv()
        self._count = itertools.count()

    def read(self, sizes: Iterable[int | str]) -> Sizes:
        """Numbers, and expressions as `torch.SymInt`.

        Raises:
            ValueError: a text isn't an expression.
        """
        return tuple(size if isinstance(size, int) else self._symbolic(parse(size)) for size in sizes)

    def unknown(self, shape: Iterable[int]) -> Sizes:
        """A shape with a symbol of its own for each size of -1, of which nothing is known."""
        return tuple(self._symbolic(parse(f"{_OPEN}{next(self._count)}")) if size == -1 else size for size in shape)

    def has_unknown(self, sizes: Iterable[int | str]) -> bool:
        """Whether sizes follow from such a symbol."""
        return any(isinstance(size, str) and _OPEN in size for size in sizes)

    def _symbolic(self, value: Any) -> Any:
        hint = int(value.subs(dict.fromkeys(value.free_symbols, _HINT)))
        return self._environment.create_symintnode(value, hint=hint)


_OPEN = "open_size_"
_HINT = 97
"""A value for all symbols, which nothing should decide by."""


def parse(text: str) -> Any:
    """The sympy expression that a text says.

    Raises:
        ValueError: it isn't one of sizes.
    """
    try:
        return compiled(text, _AS_SYMPY)(_Symbols())
    except TypeError as error:
        raise ValueError(f"{text!r} is no size: {error!r}") from error


class _Symbols(dict[str, Any]):
    """A symbol for each name."""

    def __missing__(self, name: str) -> Any:
        return named(name)


def named(name: str) -> sympy.Symbol:
    """The symbol of a size, which may be 0, in text."""
    return sympy.Symbol(name, nonnegative=True, integer=True)


def linear(value: Any) -> tuple[int, Any, int] | None:
    """(a, symbol, b) of an expression a * symbol + b of one symbol, with whole numbers a and b; None of any other."""
    offset, rest = sympy.expand(value).as_coeff_Add()
    factor, symbol = rest.as_coeff_Mul()
    whole = symbol.is_Symbol and offset.is_Integer and factor.is_Integer
    return (int(factor), symbol, int(offset)) if whole else None


_AS_SYMPY = Meaning(
    sympy.sympify,
    {**OPERATORS, ast.Div: operator.truediv, ast.FloorDiv: functions.FloorDiv, ast.Mod: functions.PythonMod},
    {
        each.__name__: each
        for each in (
            *(functions.CeilToInt, functions.CleanDiv, functions.FloatPow, functions.FloatTrueDiv, functions.FloorDiv),
            *(functions.FloorToInt, functions.IntTrueDiv, functions.Max, functions.Min, functions.Mod),
            *(functions.PythonMod, functions.RoundToInt, functions.ToFloat, functions.TruncToInt),
        )
    },
)
