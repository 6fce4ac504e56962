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
from torch.fx.experimental.symbolic_shapes import DimDynamic

from trtconv.errors import CaptureError
from trtconv.sizes.bounds import computing
from trtconv.sizes.decisions import Decision, Environment, instead
from trtconv.sizes.expressions import renamed
from trtconv.sizes.ranges import Range, SizeSpec
from trtconv.sizes.text import linear, named

_ENUMERATED = 4096
"""Up to so many combinations of sizes a condition is tried on all of them."""
_DRAWS = 64
"""The number of sizes among which an exception to one of torch's decisions is looked for."""
_ALL = 512
"""Of one symbol that has fewer values all are tried."""
_MOST_EXCEPTIONS = 4
_RUNS = 4
"""So many runs of sizes are shown of those for which something holds."""
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

    def __str__(self) -> str:
        return ", ".join(f"{limits.name} = {size}" for limits, size in self.sizes.items())


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
        self.env = Environment()
        self.ranges: dict[sympy.Symbol, Range] = {}
        self._sizes: dict[Range, torch.SymInt] = {}
        self._avoid = set(avoid)
        self._given = hints
        self.hints: dict[sympy.Symbol, int] = {}

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
            # sympy takes a positive symbol for 1 at least: Min(1, s) would be 1.
            symbol = self.env.create_symbol(
                *(hint, source, DimDynamic.DYNAMIC, None),
                positive=True if limits.min else None,
                do_not_specialize_zero_one=True,
            )
            count: Any = self.env.create_symintnode(symbol, hint=hint, source=source)
            self._sizes[limits] = count if step == 1 else count * step
            low, high = self.env.spans[symbol] = (limits.min // step, limits.max // step)
            self.env.constrain_symbol_range(symbol, compiler_min=low, compiler_max=high)
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

    def check_decisions(self) -> list[Point]:
        """Raise if Python decided something by sizes that isn't the same over their whole ranges.

        What torch decides inside, to choose a kernel, doesn't count: captures are compared. What counts
        is where its code takes the size of this capture for that of all.

        Returns: The sizes for which decisions turn out otherwise that are the same for all others: a test for a
            batch of 1, say, that only leaves out what makes no difference there.

        Raises:
            CaptureError: with the user's line, and the sizes for which each way holds.
        """
        exceptions: dict[tuple[sympy.Symbol, int], Point] = {}
        for decision in self.env.decisions:
            if not decision.asked_by:
                continue
            symbols, _, fails = self._split(decision.condition)
            if not fails:
                continue
            limits = self.ranges[symbols[0]]
            all_tried = len(symbols) == 1 and limits.max // limits.multiple_of < _ENUMERATED
            if not all_tried or len(fails) > _FEW or len(exceptions) >= _MOST_EXCEPTIONS:
                raise CaptureError(self.explained(decision))
            for (value,) in fails:
                point = {**self.hints, symbols[0]: value}
                exceptions.setdefault((symbols[0], value), Point(self._sizes_at(point), self.explained(decision)))
        for symbol, value in self.env.replacements.items():
            if value.is_number and symbol in self.ranges and self.ranges[symbol].min != self.ranges[symbol].max:
                raise CaptureError(self.explained(self._fixing(symbol)))
        return list(exceptions.values())

    def _fixing(self, symbol: sympy.Symbol) -> Decision:
        """The decision after which torch takes a symbol for a number."""
        return next(
            each
            for each in self.env.decisions
            if isinstance(each.condition, sympy.Eq) and each.condition.free_symbols == {symbol}
        )

    def decider(self, sizes: Mapping[Range, int], calls: int) -> Decision | None:
        """The last decision before so many calls that turns out otherwise at these sizes."""
        point = {symbol: sizes[limits] // limits.multiple_of for symbol, limits in self.ranges.items()}
        failing = [each for each in self.env.decisions if each.calls <= calls and not _holds(each.condition, point)]
        # Of one line that which makes a number of a size says most.
        return max(failing, key=lambda each: (each.origin == failing[-1].origin, each.number is not None), default=None)

    def explained(self, decision: Decision) -> str:
        """A decision as an error says it."""
        symbols, holds, fails = self._split(decision.condition)
        ranges = [self.ranges[symbol] for symbol in symbols]
        where, condition = decision.origin, decision.condition
        number, function = decision.number, where.function
        if number is not None:
            size = readable(condition.lhs, self.ranges)
            if function.rpartition(".")[2] in _SEVERAL:
                sizes = _show(ranges, holds), _show(ranges, fails)
                return _GIVES.format(origin=where, function=function, number=number, holds=sizes[0], fails=sizes[1])
            if not decision.asked_by:
                return _FIXES.format(origin=where, function=function, size=size)
            shown = f" ({decision.code})" if decision.code else ""
            advice = instead(decision.code) or _NUMBERS
            return _READS.format(origin=where, code=shown, size=size, number=number, advice=advice)
        advice = instead(decision.code)
        shown = f" (that is {advice})." if advice else f".{_of_equal_sizes(condition, self.ranges)}"
        return _DECIDES.format(
            where=where,
            who="Python" if decision.asked_by else function or "PyTorch",
            condition=readable(condition, self.ranges),
            holds=_show(ranges, holds),
            fails=_show(ranges, fails),
            advice=shown,
        )

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
                tried = itertools.chain(self._drawn(chance), self._along(condition))
                found += itertools.islice((point for point in tried if not _holds(condition, point)), 1)
        return [Point(self._sizes_at(point)) for point in found]

    def captured_sizes(self) -> dict[Range, int]:
        """The sizes by which the capture with symbols decided."""
        return self._sizes_at(self.hints)

    def _sizes_at(self, point: Mapping[sympy.Symbol, int]) -> dict[Range, int]:
        return {limits: point[symbol] * limits.multiple_of for symbol, limits in self.ranges.items()}

    def _along(self, condition: Any) -> Iterator[dict[sympy.Symbol, int]]:
        """All sizes of a condition on one symbol, if they aren't too many."""
        symbols = [symbol for symbol in condition.free_symbols if symbol in self.ranges]
        low, high = self.env.spans[symbols[0]] if len(symbols) == 1 else (0, _ALL)
        if high - low < _ALL:
            yield from ({**self.hints, symbols[0]: value} for value in range(low, high + 1))

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
            (holds if _holds(condition, dict(zip(symbols, point, strict=True))) else fails).append(point)
        return symbols, holds, fails


def _holds(condition: Any, point: Mapping[sympy.Symbol, int]) -> bool:
    try:
        return bool(computing(condition)(point))
    except ArithmeticError:  # it divides by a size of 0
        return False


def readable(expression: Any, ranges: Mapping[sympy.Symbol, Range]) -> str:
    """An expression with the names of the ranges in place of its symbols."""
    sizes = {symbol: named(str(symbol)) / limits.multiple_of for symbol, limits in ranges.items()}
    text = str(expression.subs(sizes))
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


def _of_equal_sizes(condition: Any, ranges: Mapping[sympy.Symbol, Range]) -> str:
    """What to do where a condition asks whether sizes are equal."""
    if not isinstance(condition, (sympy.Eq, sympy.Ne)) or len(condition.free_symbols) < 2:
        return ""
    first, second = (readable(side, ranges) for side in (condition.lhs, condition.rhs))
    return f" Where {first} is always {second}, give both as one size: n = trtconv.Dim(...), or arithmetic on it."


def _show(ranges: list[Range], points: list[tuple[int, ...]]) -> str:
    if not points:
        return "none"
    sizes = [[n * limits.multiple_of for n, limits in zip(point, ranges, strict=True)] for point in points]
    if len(ranges) > 1:
        names = ", ".join(limits.name for limits in ranges)
        return f"{names} = {', '.join(map(str, sizes[0]))}" + (" and others" if len(points) > 1 else "")
    return f"{ranges[0].name} = {_runs([point[0] for point in sizes], _sample_sizes(ranges[0]))}"


def _runs(sizes: list[int], all_sizes: list[int]) -> str:
    """Some of the sizes, those beside each other as first..last."""
    runs: list[list[int]] = []
    chosen = set(sizes)
    for before, size in itertools.pairwise([-1, *all_sizes]):
        if size in chosen and before in chosen:
            runs[-1].append(size)
        elif size in chosen:
            runs.append([size])
    shown = [str(run[0]) if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs]
    return ", ".join(shown[:_RUNS]) + (" and others" if len(shown) > _RUNS else "")


def _sample_sizes(limits: Range) -> list[int]:
    return [value * limits.multiple_of for value in _sample(limits, 1)]


_DECIDES = (
    "{where}: {who} decides by a dynamic size: {condition} holds for {holds} and not for {fails}. An engine always "
    "runs the same layers: convert once for each part of the range (dynamic_shapes), or write the line so that it "
    "does the same for all sizes{advice}"
)
_READS = (
    "{origin}: Python makes a number of a dynamic size{code}: {size} is {number} in this capture and another number "
    "for other sizes. Write instead {advice}; or leave this size out of dynamic_shapes."
)
_NUMBERS = "what lets PyTorch see the size: x.shape[0] for len(x), // for int(a / b), torch.sym_int, torch.sym_sqrt"
_FIXES = (
    "{origin}: {function} takes numbers only for sizes, not {size}, which varies, or needs it to be equal to a size "
    "that doesn't. If another input has that size, let it vary too, by the same Dim. Else leave {size} out of "
    "dynamic_shapes, write the line in other functions, or register a converter for {function}."
)
_GIVES = (
    "{origin}: {function} gives {number} tensors for {holds} and another number for {fails}. An engine has the same "
    "layers for all sizes: leave one of these out of the range (dynamic_shapes), or compute with one tensor, not parts."
)
_SEVERAL = ("__iter__", "unbind", "chunk", "split", "tensor_split")
"""Functions that give as many tensors as a size says."""
