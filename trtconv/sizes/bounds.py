"""What sizes are over the whole of their ranges: known without a comparison, which would decide it for one size."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy
import torch
from torch.utils._sympy import functions

from trtconv.sizes.arithmetic import Size, expression

_ENUMERATED = 4096
"""Up to so many combinations of sizes an expression is computed for all of them."""

ANY_SIZE = (0, 1 << 40)
"""Between what a symbol lies of which no range is known."""

Ranges = tuple[tuple[sympy.Symbol, int, int], ...]
"""Symbols with the least and the largest that each becomes."""


def is_at_most(a: Size, b: Size) -> bool:
    """Whether a <= b for all sizes of the inputs."""
    if isinstance(a, int) and isinstance(b, int):
        return a <= b
    return bounds(expression(a) - expression(b), ranges_of(a, b))[1] <= 0


def smaller(a: Size, b: Size) -> Size:
    """The smaller of two sizes, whichever that is."""
    if is_at_most(a, b):
        return a
    return b if is_at_most(b, a) else torch.sym_min(a, b)


def larger(a: Size, b: Size) -> Size:
    """The larger of two sizes, whichever that is."""
    if is_at_most(b, a):
        return a
    return b if is_at_most(a, b) else torch.sym_max(a, b)


def counted_from_start(index: Size, size: Size) -> Size:
    """An index along an axis of this size, counted from its start where it is negative."""
    if is_at_most(0, index):
        return index
    if is_at_most(index, -1):
        return index + size
    return index + size * smaller(1, larger(0, -index))


def slice_of(size: Size, start: Size | None, end: Size | None, step: Size = 1) -> tuple[Size, Size]:
    """Where ``[start:end:step]`` begins along an axis of this size, and how many elements it has: Python's slices."""

    def bound(index: Size) -> Size:
        return smaller(larger(counted_from_start(index, size), 0), size)

    first = 0 if start is None else bound(start)
    last = size if end is None else larger(bound(end), first)
    return first, (last - first + step - 1) // step


def ranges_of(*sizes: Size) -> Ranges:
    """The symbols in sizes, with what they become."""
    result = {}
    for size in sizes:
        if isinstance(size, (torch.SymInt, torch.SymFloat)):
            spans = getattr(size.node.shape_env, "spans", {})
            for symbol in size.node.expr.free_symbols:
                result[symbol] = spans.get(symbol, ANY_SIZE)
    return tuple((symbol, *result[symbol]) for symbol in sorted(result, key=str))


@functools.lru_cache(maxsize=4096)
def bounds(value: Any, ranges: Ranges) -> tuple[float, float]:
    """Numbers between which an expression of sizes stays; the closest ones where its sizes are few enough."""
    all_values = values(value, ranges)
    if all_values:
        return min(all_values), max(all_values)
    span = {symbol: (low, high) for symbol, low, high in ranges}
    lower, upper = (_linear_bound(sympy.expand(sign * value), span) for sign in (-1, 1))
    return -lower, upper


def _linear_bound(value: Any, span: Mapping[Any, tuple[int, int]]) -> float:
    """A number that a sum isn't above; a // k lies between (a - k + 1) / k and a / k."""
    linear = sympy.Integer(0)
    for term in sympy.Add.make_args(value):
        factor, rest = term.as_coeff_Mul()
        if rest.func is functions.FloorDiv and rest.args[1].is_Integer and rest.args[1] > 0:
            dividend, divisor = rest.args
            rest = dividend / divisor if factor > 0 else (dividend - divisor + 1) / divisor
        linear += factor * rest
    linear = sympy.expand(linear)
    if linear != value and any(term.has(functions.FloorDiv) for term in sympy.Add.make_args(linear)):
        return _linear_bound(linear, span)
    result = 0.0
    for term in sympy.Add.make_args(linear):
        factor, rest = term.as_coeff_Mul()
        if rest == 1:
            result += float(factor)
        elif rest in span:
            result += float(factor) * span[rest][bool(factor > 0)]
        else:
            return math.inf
    return result


@functools.lru_cache(maxsize=4096)
def values(value: Any, ranges: Ranges) -> list[Any] | None:
    """An expression for all sizes, the last symbol's changing first; None if these are too many or it isn't defined.

    It is computed as Python would compute it of numbers.
    """
    if math.prod(high - low + 1 for _, low, high in ranges) > _ENUMERATED:
        return None
    try:
        function = computing(value)
        points = itertools.product(*(range(low, high + 1) for _, low, high in ranges))
        symbols = [symbol for symbol, _, _ in ranges]
        return [function(dict(zip(symbols, point, strict=True))) for point in points]
    except (ArithmeticError, KeyError, ValueError):
        return None


@functools.lru_cache(maxsize=4096)
def computing(value: Any) -> Callable[[Mapping[Any, int]], Any]:
    """The function of its symbols' values that an expression of sizes is.

    Raises:
        KeyError: there is something else in it.
    """
    if value.is_Symbol:
        return lambda point: point[value]
    if value.is_number or value in (sympy.true, sympy.false):
        number = int(value) if value.is_Integer else bool(value) if value.is_Boolean else float(value)
        return lambda point: number
    if value.func is sympy.Piecewise:
        cases = [(computing(each.expr), computing(each.cond)) for each in value.args]
        return lambda point: next(result(point) for result, holds in cases if holds(point))
    function = _function(value.func)
    parts = [computing(each) for each in value.args]
    return lambda point: function(*[part(point) for part in parts])


def _function(kind: Any) -> Callable[..., Any]:
    name: str = kind.__name__
    if name.startswith(_MATHEMATICS):
        return getattr(math, name.removeprefix(_MATHEMATICS))  # type: ignore[no-any-return]  # math's
    return _FUNCTIONS[name.removeprefix("BitwiseFn_")]


_MATHEMATICS = "OpaqueUnaryFn_"


def _sum(*numbers: Any) -> Any:
    return sum(numbers)


def _product(*numbers: Any) -> Any:
    return math.prod(numbers)


def _every(*truths: bool) -> bool:
    return all(truths)


def _some(*truths: bool) -> bool:
    return any(truths)


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **{"Add": _sum, "Mul": _product, "Pow": operator.pow, "PowByNatural": operator.pow, "FloatPow": operator.pow},
    **{"FloorDiv": operator.floordiv, "CleanDiv": operator.floordiv, "Mod": operator.mod, "PythonMod": operator.mod},
    **{"IntTrueDiv": operator.truediv, "FloatTrueDiv": operator.truediv, "ToFloat": float},
    **{"Max": max, "Min": min, "Abs": abs, "CeilToInt": math.ceil, "FloorToInt": math.floor, "TruncToInt": math.trunc},
    **{"RoundToInt": round, "RoundDecimal": round, "LShift": operator.lshift, "RShift": operator.rshift},
    **{"bitwise_and": operator.and_, "bitwise_or": operator.or_, "bitwise_xor": operator.xor},
    **{"Equality": operator.eq, "Unequality": operator.ne, "And": _every, "Or": _some, "Not": operator.not_},
    **{"StrictLessThan": operator.lt, "LessThan": operator.le},
    **{"StrictGreaterThan": operator.gt, "GreaterThan": operator.ge},
}
"""What the functions in torch's expressions of sizes compute."""


def is_varying(sizes: Sequence[object]) -> bool:
    """Whether a symbol is among sizes."""
    return any(type(size) is torch.SymInt for size in sizes)
