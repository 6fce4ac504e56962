"""Captures with symbols for sizes, and what sees that they stand for all sizes: captures of some of those sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch

from trtconv.capture.all_sizes import Difference, difference
from trtconv.capture.replay import same_results
from trtconv.capture.trace import Call, Trace
from trtconv.errors import CaptureError
from trtconv.shortened import raised_at
from trtconv.sizes.ranges import Range
from trtconv.sizes.symbols import Point, Symbols


class Pass(Protocol):
    """A forward pass that was run on stand-ins."""

    @property
    def inputs(self) -> list[torch.Tensor]:
        """The stand-ins of the inputs."""

    def all_calls(self) -> Sequence[Call]:
        """All calls in the order in which they were made."""

    def live_calls(self) -> list[Call]:
        """The calls that the outputs need."""

    def trace(self) -> Trace:
        """The calls, with constants' values in the place of their stand-ins."""


Run = Callable[[Mapping[Range, int]], Pass]
"""Runs a forward pass on stand-ins of these sizes."""


def check_all_sizes(symbolic: Pass, symbols: Symbols, run: Run, examples: Sequence[torch.Tensor]) -> None:
    """See that the ends of the ranges, and what torch decides otherwise, give the calls of a capture with symbols.

    Raises:
        CaptureError: they don't, or the forward pass doesn't take an end of a range.
    """
    exceptions = symbols.check_decisions()
    for place, point in enumerate([*exceptions, *symbols.points()]):
        try:
            static = run(point.sizes)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if place < len(exceptions) + 2:
                raise CaptureError(_refusal(error, point, symbols, run)) from error
            continue  # between the ends may lie sizes that the module doesn't take
        values = {symbol: point.sizes[limits] // limits.multiple_of for symbol, limits in symbols.ranges.items()}
        both = [(each.inputs, each.live_calls()) for each in (symbolic, static)]
        found = difference(both[0], both[1], values)
        if found is not None and not same_results(symbolic.trace(), static.trace(), values, examples):
            raise CaptureError(point.decision or _explained(found, point, symbols, symbolic.all_calls()))


def _explained(found: Difference, point: Point, symbols: Symbols, calls: Sequence[Call]) -> str:
    """Calls that differ at some sizes, and the line that decides which are made."""
    number = len(calls)
    if found.call is not None:
        number = next(number for number, call in enumerate(calls) if call is found.call)
    decision = symbols.decider(point.sizes, number)
    if decision is None:
        return _DIFFERS.format(origin=found.origin, shown=point, found=found)
    return _DECIDED.format(why=symbols.explained(decision), shown=point, found=found)


def _refusal(error: Exception, point: Point, symbols: Symbols, run: Run) -> str:
    """Sizes that the forward pass doesn't take, and which it takes."""
    line = raised_at(error)
    works = _part_that_works(point, symbols, run)
    return _FAILS.format(
        where=f"{line}: " if line else "",
        shown=point,
        error=f"{type(error).__name__}: {error}",
        works=f"; it takes {works}. Give that range in dynamic_shapes"
        if works
        else ". Leave them out of dynamic_shapes",
    )


def _part_that_works(point: Point, symbols: Symbols, run: Run) -> str:
    """The sizes of one range that the forward pass takes, where it is one range that has too many; else ""."""
    good = symbols.captured_sizes()

    def works(limits: Range, size: int) -> bool:
        try:
            run({**good, limits: size})
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
            return False
        return True

    for limits, bad in point.sizes.items():
        if bad == good[limits] or works(limits, bad):
            continue
        step, least, wrong = limits.multiple_of, good[limits] // limits.multiple_of, bad // limits.multiple_of
        while abs(least - wrong) > 1:
            middle = (least + wrong) // 2
            if works(limits, middle * step):
                least = middle
            else:
                wrong = middle
        ends = (least * step, limits.max) if least > wrong else (limits.min, least * step)
        return f"{limits.name} = {ends[0]}..{ends[1]}"
    return ""


_ADVICE = (
    "An engine runs the same layers for all sizes: leave these sizes out of the range (dynamic_shapes), or write the "
    "line so that it does the same for all sizes."
)
_DIFFERS = "{origin}: the forward pass isn't the same for all sizes: at {shown} it calls {found}. " + _ADVICE
_DECIDED = "{why} (At {shown} the forward pass calls {found}.)"
_FAILS = "{where}the forward pass doesn't take {shown} itself ({error}){works}."
