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
    RoundToInt,
    ToFloat,
    TruncToInt,
)

from trtconv.sizes.arithmetic import Size, expression

_ROUNDINGS = {TruncToInt: torch.trunc, FloorToInt: torch.floor, CeilToInt: torch.ceil, RoundToInt: torch.round}
_LARGEST = 1 << 20
_DENOMINATORS = (1 << 6, 1 << 12, 1 << 20)


def whole(size: Size) -> Any:
    """The expression of a size with rounded numbers as integer divisions, as far as there are some.

    0.7 * size in double precision isn't 7 * size / 10, but rounds to the same for all sizes in the range or
    isn't replaced.
    """
    value = expression(size)
    if not isinstance(size, torch.SymInt):
        return value
    environment: Any = size.node.shape_env

    def most(size: Any) -> int:
        return int(environment.bound_sympy(size).upper)

    return value.replace(lambda part: part.func in _ROUNDINGS, lambda part: _as_division(part, most))


def _as_division(value: Any, most: Callable[[Any], int]) -> Any:
    (real,) = value.args
    if real.func is IntTrueDiv and value.func is not RoundToInt:
        dividend, divisor = real.args
        return FloorDiv(dividend + (divisor - 1 if value.func is CeilToInt else 0), divisor)
    parts = _affine(real)
    if parts is None or most(parts[0]) > _LARGEST:
        return value
    size, factor, offset = parts
    sizes = torch.arange(most(size) + 1)
    rounded = _ROUNDINGS[value.func](sizes.double() * factor + offset).long()
    for most_parts in _DENOMINATORS:
        p, q = (Fraction(each).limit_denominator(most_parts) for each in (factor, offset))
        divisor = p.denominator * q.denominator
        times, more = int(p * divisor), int(q * divisor)
        if value.func is CeilToInt:
            more += divisor - 1
        elif value.func is RoundToInt:
            times, more, divisor = 2 * times, 2 * more + divisor, 2 * divisor
        if torch.equal((sizes * times + more).div(divisor, rounding_mode="floor"), rounded):
            return FloorDiv(size * times + more, divisor)
    return value


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
