"""Sizes that are rounded numbers, int(0.7 * height), as integer arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import sympy
import torch
from torch.utils._sympy.functions import (
    CeilToInt,
    FloatTrueDiv,
    FloorDiv,
    FloorToInt,
    IntTrueDiv,
    Min,
    PythonMod,
    RoundToInt,
    ToFloat,
    TruncToInt,
)

_ROUNDINGS = {TruncToInt: torch.trunc, FloorToInt: torch.floor, CeilToInt: torch.ceil, RoundToInt: torch.round}
_LARGEST = 1 << 20
_DENOMINATORS = (1 << 6, 1 << 12, 1 << 20)


def as_division(value: Any, span: Callable[[Any], tuple[float, float]]) -> Any:
    """A rounded number as an integer division; None if it is something else.

    0.7 * size in double precision isn't 7 * size / 10, but rounds to the same for all sizes in the range or
    isn't replaced.

    Args:
        span: Gives the least and the largest value of an expression.
    """
    if value.func not in _ROUNDINGS:
        return None
    (real,) = value.args
    if real.func is IntTrueDiv and value.func is not RoundToInt:
        dividend, divisor = real.args
        return FloorDiv(dividend + (divisor - 1 if value.func is CeilToInt else 0), divisor)
    parts = _affine(real)
    low, high = (0, 0) if parts is None else span(parts[0])
    if parts is None or high - low > _LARGEST:
        return None
    size, factor, offset = parts
    sizes = torch.arange(int(low), int(high) + 1)
    rounded = _ROUNDINGS[value.func](sizes.double() * factor + offset).long()
    for most_parts in _DENOMINATORS:
        p, q = (Fraction(each).limit_denominator(most_parts) for each in (factor, offset))
        divisor = p.denominator * q.denominator
        times, more = int(p * divisor), int(q * divisor)
        if value.func is CeilToInt:
            more += divisor - 1
        elif value.func is RoundToInt:
            times, more, divisor = 2 * times, 2 * more + divisor, 2 * divisor
        divided = (sizes * times + more).div(divisor, rounding_mode="floor")
        quotient = FloorDiv(size * times + more, divisor)
        if torch.equal(divided, rounded):
            return quotient
        # Halves go to the even number.
        is_odd_half = ((sizes * times + more) % divisor == 0) & (divided % 2 == 1)
        if value.func is RoundToInt and torch.equal(divided - is_odd_half.long(), rounded):
            half = 1 - Min(1, PythonMod(size * times + more, divisor))
            return quotient - half * PythonMod(quotient, 2)
    return None


def _affine(value: Any) -> tuple[Any, float, float] | None:
    """An integer expression, a factor and an offset that make up a real one; None if they don't."""
    if value.is_integer and not value.is_number:
        return value, 1.0, 0.0
    if value.func is ToFloat:
        return value.args[0], 1.0, 0.0
    if value.func in (IntTrueDiv, FloatTrueDiv) and value.args[1].is_number:
        parts = _affine(value.args[0])
        return parts and (parts[0], parts[1] / float(value.args[1]), parts[2] / float(value.args[1]))
    if value.func in (sympy.Mul, sympy.Add):
        numbers = [each for each in value.args if each.is_number]
        others = [each for each in value.args if not each.is_number]
        parts = _affine(others[0]) if len(others) == 1 and len(numbers) == 1 else None
        if parts is not None:
            number = float(numbers[0])
            if value.func is sympy.Add:
                return parts[0], parts[1], parts[2] + number
            return parts[0], parts[1] * number, parts[2] * number
    return None
