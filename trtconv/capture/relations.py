"""Sizes of inputs that the forward pass makes follow from one another: a mask's from those of past and new tokens."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sympy
import torch
from torch.utils._sympy.functions import FloorDiv

from trtconv.errors import CaptureError
from trtconv.places import is_library, place
from trtconv.sizes.ranges import Range, Relation, Sizes, SizeSpec, Span, substituted
from trtconv.sizes.symbols import Symbols
from trtconv.sizes.text import named, text_of

_TRIED = 3
"""On so many other sizes it is tried whether a relation holds by chance."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A relation that torch found.

    Attributes:
        size: The range that isn't one of its own.
        relation: How it follows from others.
        where: The line of the code that asks for it; "" if it is one of torch's.
    """

    size: Range
    relation: Relation
    where: str = ""


def hints_to_try(
    ranges: Sequence[Range], sizes: Sizes, examples: Sequence[torch.Tensor]
) -> list[dict[Range, int] | None]:
    """Sizes to capture with, one after the other, until a capture stands for all.

    Unusual ones at first, of which none is equal to another by chance. Relations show only where they hold: at the
    sizes to optimize for, the largest, or those of the example. A size of 0 comes last: torch takes it for the number.
    """
    own = _own_sizes(sizes, examples)
    best, *most = (
        {limits: limits.profiles[number][end] for limits in ranges}
        for number, end in ((0, 1), *((number, 2) for number in range(len(ranges[0].profiles))))
    )
    tried: list[dict[Range, int] | None] = [None, best]
    for other in (*most, {**best, **own}):
        if other not in tried:
            tried.append(other)
    return sorted(tried, key=lambda hints: hints is not None and 0 in hints.values())


def _own_sizes(sizes: Sizes, examples: Sequence[torch.Tensor]) -> dict[Range, int]:
    """The sizes of ranges in the example."""
    return {
        size: number
        for shape, example in zip((each for each in sizes if each is not None), examples, strict=True)
        for size, number in zip(shape, example.shape, strict=True)
        if isinstance(size, Range)
    }


def relations_in(symbols: Symbols) -> Iterator[Found]:
    """The relations between ranges that torch took for granted while it captured."""
    for symbol, value, where in _equations(symbols):
        free = [each for each in symbols.ranges if each in value.free_symbols]
        if not free or symbol in free or len(free) < len(value.free_symbols):
            continue
        of = tuple(symbols.ranges[each] for each in free)
        names = {each: named(f"s{i}") for i, each in enumerate(free)}
        size = symbols.ranges[symbol]
        expression = text_of(_of_sizes(value, size.multiple_of, names, symbols.ranges))
        try:
            relation = Relation(expression, of)
            holds = relation.of_sizes([symbols.hints[each] * symbols.ranges[each].multiple_of for each in free])
        except ValueError:
            continue
        if holds == symbols.hints[symbol] * size.multiple_of:
            yield Found(size, relation, where)


def _equations(symbols: Symbols) -> Iterator[tuple[Any, Any, str]]:
    """(symbol, what it is equal to, the line of the code that asks for it)."""
    for guard in symbols.env.guards:
        condition = guard.expr
        if not isinstance(condition, sympy.Eq):
            continue
        line: Any = guard.sloc.framework_loc
        where = "" if line is None or is_library(line.filename) else place(line.filename, line.lineno)
        solved = _solved(condition.lhs, condition.rhs, symbols.ranges)
        if solved is not None:
            yield (*solved, where)
    for symbol, value in symbols.env.replacements.items():
        if symbol in symbols.ranges and not value.is_number:
            solved = _solved(symbol, value, symbols.ranges)
            if solved is not None:
                yield (*solved, "")


def _solved(left: Any, right: Any, ranges: Mapping[Any, Range]) -> tuple[Any, Any] | None:
    """An equation solved for a symbol, for one of which the others make more: past + 1, not mask - 1."""
    difference = sympy.expand(left - right)
    terms = difference.as_coefficients_dict()
    solutions = [
        (symbol, sympy.expand(symbol - difference / factor))
        for symbol, factor in terms.items()
        if symbol in ranges and symbol not in (difference - factor * symbol).free_symbols
    ]
    whole = [
        (symbol, value)
        for symbol, value in solutions
        if all(factor.is_Integer for factor in value.as_coefficients_dict().values())
    ]
    order = list(ranges)
    whole.sort(key=lambda each: order.index(each[0]), reverse=True)  # of two that are equal, the first stays
    whole.sort(key=lambda each: any(int(factor) < 0 for factor in each[1].as_coefficients_dict().values()))
    return whole[0] if whole else None


def _of_sizes(value: Any, step: int, names: Mapping[Any, Any], ranges: Mapping[Any, Range]) -> Any:
    """An expression of symbols as one of the sizes, which are multiples of the symbols."""
    exact = sympy.expand(step * value.xreplace({each: names[each] / ranges[each].multiple_of for each in names}))
    if all(factor.is_Integer for factor in exact.as_coefficients_dict().values()) and not exact.has(FloorDiv):
        return exact
    return step * value.xreplace(
        {
            each: names[each] if ranges[each].multiple_of == 1 else FloorDiv(names[each], ranges[each].multiple_of)
            for each in names
        }
    )


def runs_without(
    found: Found, symbols: Symbols, runs: Callable[[Mapping[Range, int]], bool]
) -> dict[Range, int] | None:
    """Sizes for which a relation doesn't hold, and the forward pass runs nevertheless; None if it has to hold."""
    here = {limits: symbols.hints[symbol] * limits.multiple_of for symbol, limits in symbols.ranges.items()}
    size, step = found.size, found.size.multiple_of
    own = here[size]
    # Multiples come first, of which networks want some; 1 is broadcast, which says nothing of other sizes.
    wanted = (2 * own, own // 2, 3 * own, size.max, size.min, own + step, own - step)
    others = dict.fromkeys(n // step * step for n in wanted if n // step * step not in (own, 1))
    for number in itertools.islice((n for n in others if n in size), _TRIED):
        if runs({**here, size: number}):
            return {**here, size: number}
    return None


def with_relation(sizes: Sizes, examples: Sequence[torch.Tensor], found: Found) -> list[tuple[SizeSpec, ...] | None]:
    """The sizes where one range is what follows from others, which vary no farther than it may.

    Raises:
        CaptureError: no size of the others gives one in the range, or that of the example doesn't.
    """
    own = _own_sizes(sizes, examples)
    if all(limits in own for limits in (found.size, *found.relation.of)):
        follows = found.relation.of_sizes([own[limits] for limits in found.relation.of])
        if follows != own[found.size]:
            raise CaptureError(_ANOTHER_EXAMPLE.format(**_words(found), follows=follows, example=own[found.size]))
    new: dict[Range, SizeSpec] = {}
    if len(found.relation.of) == 1:
        new[found.relation.of[0]] = _narrowed(found, found.relation.of[0])
    new[found.size] = substituted(found.relation, new)
    return [None if shape is None else tuple(substituted(size, new) for size in shape) for shape in sizes]


def _narrowed(found: Found, limits: Range) -> Range | int:
    """A range without the sizes for which what follows from it isn't in its own range."""
    relation, size = found.relation, found.size
    is_same = relation.expression == "s0"
    step = math.lcm(limits.multiple_of, size.multiple_of) if is_same else limits.multiple_of
    spans: list[Span] = []
    for (low, best, high), (least, _, most) in zip(limits.profiles, size.profiles, strict=True):
        fit = [n for n in range(-(-low // step) * step, high + 1, step) if least <= relation.of_sizes([n]) <= most]
        if not fit:
            raise CaptureError(_NOTHING_IN_COMMON.format(**_words(found)))
        spans.append((fit[0], min(fit, key=lambda n: abs(n - best)), fit[-1]))
    result = Range(limits.name, tuple(spans), step)
    return result if result.min < result.max else result.min


def _words(found: Found) -> dict[str, Any]:
    return {
        "where": found.where and f"{found.where}: ",
        "size": f"{found.size.name} ({found.size})",
        "relation": found.relation,
        "limits": " and ".join(f"{limits.name} ({limits})" for limits in found.relation.of),
    }


_TOGETHER = "{where}the forward pass takes {size} and {limits} together, where the first has to be {relation}; "
_NOTHING_IN_COMMON = _TOGETHER + (
    "no two sizes of these ranges are. Give both in dynamic_shapes by one size, n = trtconv.Dim(...), or by arithmetic "
    "on it."
)
_ANOTHER_EXAMPLE = _TOGETHER + "in the example input it is {example}, not {follows}."
