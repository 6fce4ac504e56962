"""Symbols for dynamic sizes, and what the forward pass decides by them."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sympy
import torch
from torch._dynamo.source import ConstantSource
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv

from trtconv.capture.trace import Origin
from trtconv.errors import CaptureError
from trtconv.places import is_library, place
from trtconv.sizes.expressions import renamed
from trtconv.sizes.ranges import Range, SizeSpec
from trtconv.sizes.text import linear

_ENUMERATED = 4096
"""Up to so many combinations of sizes a condition is tried on all of them."""
_DRAWS = 64
"""The number of sizes among which an exception to one of torch's decisions is looked for."""
_MOST_EXCEPTIONS = 4
_FEW = 2
"""For so many sizes a decision by Python may turn out otherwise, if it makes no difference there."""


@dataclasses.dataclass(frozen=True)
class Point:
    """Sizes at which to compare captures.

    Attributes:
        sizes: For each range a size.
        decision: Where Python decides otherwise only here, what to say if that makes a difference.
    """

    sizes: dict[Range, int]
    decision: str = ""


class Symbols:
    """The symbols of one capture: one for each range.

    Args:
        avoid: Sizes that the symbols should not have while capturing.
        hints: The sizes to capture with; None for unusual ones.

    Attributes:
        env: Where torch keeps what it learns of the symbols.
        ranges: The range of each symbol, whose sizes are the symbol times `multiple_of`.
        hints: The value of each symbol while capturing.
    """

    def __init__(self, avoid: Iterable[int], hints: Mapping[Range, int] | None = None) -> None:
        self.env = ShapeEnv(specialize_zero_one=False, duck_shape=False, assume_static_by_default=False)
        self.ranges: dict[sympy.Symbol, Range] = {}
        self._sizes: dict[Range, torch.SymInt] = {}
        self._avoid = set(avoid)
        self._given = hints
        self.hints: dict[sympy.Symbol, int] = {}
        self._fixed: dict[sympy.Symbol, Origin] = {}

    def size(self, spec: SizeSpec) -> Any:
        """A size as it is given, symbolic where it varies; always the same for equal ranges."""
        if isinstance(spec, int):
            return spec
        if isinstance(spec, Range):
            return self._of_range(spec)
        return spec.of_sizes([self._of_range(limits) for limits in spec.of])

    def _of_range(self, limits: Range) -> torch.SymInt:
        if limits not in self._sizes:
            source = ConstantSource(limits.name)
            step = limits.multiple_of
            hint = self._hint(limits)
            symbol = self.env.create_symbol(
                hint, source, DimDynamic.DYNAMIC, None, positive=True, do_not_specialize_zero_one=True
            )
            count: Any = self.env.create_symintnode(symbol, hint=hint, source=source)
            self._sizes[limits] = count if step == 1 else count * step
            self.env.constrain_symbol_range(symbol, compiler_min=limits.min // step, compiler_max=limits.max // step)
            self.ranges[symbol], self.hints[symbol] = limits, hint
        return self._sizes[limits]

    def _hint(self, limits: Range) -> int:
        """The value of a range's symbol to decide by while capturing."""
        step = limits.multiple_of
        if self._given is not None:
            return self._given[limits] // step
        # A prime is seldom equal to another size by chance, which torch would take for a rule.
        primes = (n for n in range(limits.max // step, max(limits.min // step, 2) - 1, -1) if sympy.isprime(n))
        chosen = next((n for n in primes if n * step not in self._avoid), limits.opt // step)
        self._avoid.add(chosen * step)
        return chosen

    def sizes_of(self, inputs: Sequence[torch.Tensor], examples: Sequence[torch.Tensor]) -> dict[sympy.Symbol, int]:
        """What each symbol in the inputs' sizes is for these examples of them."""
        pairs: list[tuple[Any, int]] = [
            pair
            for fake, real in zip(inputs, examples, strict=True)
            for pair in zip(fake.shape, real.shape, strict=True)
        ]
        found = [(linear(size.node.expr), number) for size, number in pairs if isinstance(size, torch.SymInt)]
        return {
            symbol: (number - offset) // factor
            for line, number in found
            if line is not None
            for factor, symbol, offset in (line,)
        }

    def note(self, origin: Origin) -> None:
        """Remember a call if it is the first after which torch takes a dynamic size for a number."""
        for symbol, value in self.env.replacements.items():
            if value.is_number and symbol in self.ranges:
                self._fixed.setdefault(symbol, origin)

    def check_decisions(self) -> list[Point]:
        """Raise if Python decided something by sizes that isn't the same over their whole ranges.

        What torch decides inside, to choose a kernel, doesn't count: `forward` compares captures. What counts
        is where its code takes the size of this capture for that of all.

        Returns: The sizes for which decisions turn out otherwise that are the same for all others: a test for a
            batch of 1, say, that only leaves out what makes no difference there.

        Raises:
            CaptureError: with the user's line, and the sizes for which each way holds.
        """
        exceptions: dict[tuple[sympy.Symbol, int], Point] = {}
        for guard in self.env.guards:
            line: Any = guard.sloc.framework_loc
            if line is None or is_library(line.filename):
                continue
            symbols, holds, fails = self._split(guard.expr)
            if not fails:
                continue
            ranges = [self.ranges[symbol] for symbol in symbols]
            message = _DECIDES.format(
                where=place(line.filename, line.lineno),
                condition=readable(guard.expr, self.ranges),
                holds=_show(ranges, holds),
                fails=_show(ranges, fails),
                advice=_advice(guard.expr, self.ranges),
            )
            all_tried = len(symbols) == 1 and ranges[0].max // ranges[0].multiple_of < _ENUMERATED
            if not all_tried or len(fails) > _FEW or len(exceptions) >= _MOST_EXCEPTIONS:
                raise CaptureError(message)
            for (value,) in fails:
                point = {**self.hints, symbols[0]: value}
                exceptions.setdefault((symbols[0], value), Point(self._sizes_at(point), message))
        for symbol, origin in self._fixed.items():
            limits = self.ranges[symbol]
            if limits.min != limits.max:
                raise CaptureError(_FIXES.format(origin=origin, function=origin.function, name=limits.name))
        return list(exceptions.values())

    def points(self) -> list[Point]:
        """Sizes at which to compare captures: the ranges' ends, and where torch's decisions turn out otherwise."""
        symbols = list(self.ranges)
        low, high = (
            [getattr(limits, end) // limits.multiple_of for limits in self.ranges.values()] for end in ("min", "max")
        )
        found = [dict(zip(symbols, values, strict=True)) for values in (low, high)]
        chance = random.Random(0)
        for condition in dict.fromkeys(guard.expr for guard in self.env.guards):
            if len(found) == 2 + _MOST_EXCEPTIONS:
                break
            if all(_holds(condition, point) for point in found):
                found += itertools.islice((p for p in self._drawn(chance) if not _holds(condition, p)), 1)
        return [Point(self._sizes_at(point)) for point in found]

    def _sizes_at(self, point: Mapping[sympy.Symbol, int]) -> dict[Range, int]:
        return {limits: point[symbol] * limits.multiple_of for symbol, limits in self.ranges.items()}

    def _drawn(self, chance: random.Random) -> Iterator[dict[sympy.Symbol, int]]:
        """Sizes at random, every other time near each other."""
        for number in range(_DRAWS):
            share = chance.random()
            point = {}
            for symbol, limits in self.ranges.items():
                low, high = limits.min // limits.multiple_of, limits.max // limits.multiple_of
                point[symbol] = low + int(share * (high - low + 1)) if number % 2 else chance.randint(low, high)
            yield point

    def _split(self, condition: Any) -> tuple[list[sympy.Symbol], list[tuple[int, ...]], list[tuple[int, ...]]]:
        """The symbols of a condition, their values for which it holds, and those for which it doesn't."""
        symbols = sorted((s for s in condition.free_symbols if s in self.ranges), key=str)
        values = [_sample(self.ranges[symbol], len(symbols)) for symbol in symbols]
        holds: list[tuple[int, ...]] = []
        fails: list[tuple[int, ...]] = []
        for point in itertools.product(*values):
            result = condition.subs(dict(zip(symbols, point, strict=True)))
            (holds if result == sympy.true else fails).append(point)
        return symbols, holds, fails


def _holds(condition: Any, point: Mapping[sympy.Symbol, int]) -> bool:
    return bool(condition.xreplace({symbol: sympy.Integer(n) for symbol, n in point.items()}) == sympy.true)


def readable(expression: Any, ranges: Mapping[sympy.Symbol, Range]) -> str:
    """An expression with the names of the ranges in place of its symbols."""
    named = {
        symbol: sympy.Symbol(str(symbol), positive=True, integer=True) / limits.multiple_of
        for symbol, limits in ranges.items()
    }
    text = str(expression.subs(named))
    try:
        return renamed(text, {str(symbol): limits.name for symbol, limits in ranges.items()})
    except SyntaxError:  # not all that sympy says is Python
        return text


def _sample(limits: Range, dimensions: int) -> list[int]:
    """Values of a range's symbol: all of them, or some over the whole range."""
    low, best, high = (size // limits.multiple_of for size in (limits.min, limits.opt, limits.max))
    most = max(3, int(_ENUMERATED ** (1 / dimensions)))
    if high - low < most:
        return list(range(low, high + 1))
    step = (high - low) / (most - 1)
    return sorted({best, *(round(low + step * i) for i in range(most))})


def _advice(condition: Any, ranges: Mapping[sympy.Symbol, Range]) -> str:
    """What to do where a condition asks whether sizes are equal."""
    if not isinstance(condition, (sympy.Eq, sympy.Ne)) or len(condition.free_symbols) < 2:
        return ""
    first, second = (readable(side, ranges) for side in (condition.lhs, condition.rhs))
    return f" Where {first} is always {second}, give both as one size: n = trtconv.Dim(...), or arithmetic on it."


def _show(ranges: list[Range], points: list[tuple[int, ...]]) -> str:
    if not points:
        return ""
    sizes = [[n * limits.multiple_of for n, limits in zip(point, ranges, strict=True)] for point in points]
    if len(ranges) > 1:
        names = ", ".join(limits.name for limits in ranges)
        return f"{names} = {', '.join(map(str, sizes[0]))}" + (" and others" if len(points) > 1 else "")
    values = [point[0] for point in sizes]
    return f"{ranges[0].name} = {values[0]}" + (f"..{values[-1]}" if len(values) > 1 else "")


_DECIDES = (
    "{where}: Python decides by a dynamic size: {condition} holds for {holds} and not for {fails}. An engine always "
    "runs the same layers: convert once for each part of the range (dynamic_shapes), or write the line so that it "
    "does the same for all sizes.{advice}"
)
_FIXES = (
    "{origin}: {function} takes numbers only for sizes, not {name}, which varies, or needs it to be equal to a size "
    "that doesn't. If another input has that size, let it vary too, by the same Dim. Else leave {name} out of "
    "dynamic_shapes, write the line in other functions, or register a converter for {function}."
)
