"""Sizes of inputs that may vary: ranges, and what follows from them."""

from __future__ import annotations

import abc
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from trtconv.sizes.expressions import Value, compiled, renamed

Span: TypeAlias = tuple[int, int, int]
"""The least size, that to optimize for, and the largest."""


class _Varying(abc.ABC):
    profiles: tuple[Span, ...]

    @property
    def min(self) -> int:
        """The least size of any profile."""
        return min(profile[0] for profile in self.profiles)

    @property
    def opt(self) -> int:
        """The size that the first profile is optimized for."""
        return self.profiles[0][1]

    @property
    def max(self) -> int:
        """The largest size of any profile."""
        return max(profile[2] for profile in self.profiles)


@dataclasses.dataclass(frozen=True)
class Range(_Varying):
    """A dynamic size with all its properties settled; equal ranges are one size.

    Attributes:
        name: For messages.
        profiles: For each optimization profile the least size, that to optimize for, and the largest.
        multiple_of: What every size is a multiple of.
    """

    name: str
    profiles: tuple[Span, ...]
    multiple_of: int = 1

    def __contains__(self, size: int) -> bool:
        return self.min <= size <= self.max and size % self.multiple_of == 0

    def __str__(self) -> str:
        return f"{self.min}..{self.max}" + (f" by {self.multiple_of}" if self.multiple_of > 1 else "")

    def to_json(self) -> dict[str, Any]:
        """The range as JSON values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Range:
        """The inverse of `to_json`."""
        return Range(
            data["name"], tuple((low, best, high) for low, best, high in data["profiles"]), data["multiple_of"]
        )


@dataclasses.dataclass(frozen=True)
class Relation(_Varying):
    """A size that follows from others: one more than a range's, the sum of two.

    Attributes:
        expression: How, in which s0, s1, ... stand for the sizes of `of`: "s0 + 1".
        of: The ranges that it follows from.
    """

    expression: str
    of: tuple[Range, ...]

    def of_sizes(self, sizes: Sequence[Any]) -> Any:
        """The size for those of `of`: numbers, or `torch.SymInt`."""
        return self.function({f"s{index}": size for index, size in enumerate(sizes)})

    @functools.cached_property
    def function(self) -> Value:
        """What gives the size for those of s0, s1, ..."""
        return compiled(self.expression)

    def at(self, sizes: Mapping[str, int]) -> int:
        """The size where the ranges have these, by name."""
        return int(self.of_sizes([sizes[limits.name] for limits in self.of]))

    @functools.cached_property
    def profiles(self) -> tuple[Span, ...]:  # type: ignore[override]  # a field there, computed here
        """As for a range: between the values at the ends of the ranges, as the expression rises or falls with each."""
        return tuple(
            span(self.expression, [limits.profiles[number] for limits in self.of])
            for number in range(len(self.of[0].profiles))
        )

    def solved(self, size: int) -> int | None:
        """The size of its one range, of which it is a multiple and a number, for which it has this size; or None."""
        offset, next_one = self.of_sizes([0]), self.of_sizes([1])
        found, rest = divmod(size - offset, next_one - offset)
        return None if rest else int(found)

    def __str__(self) -> str:
        return renamed(self.expression, {f"s{index}": limits.name for index, limits in enumerate(self.of)})

    def to_json(self) -> dict[str, Any]:
        """The relation as JSON values."""
        return {"expression": self.expression, "of": [limits.to_json() for limits in self.of]}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Relation:
        """The inverse of `to_json`."""
        return Relation(data["expression"], tuple(map(Range.from_json, data["of"])))


SizeSpec: TypeAlias = int | Range | Relation
"""A size of an input: fixed, a range, or what follows from ranges."""


Sizes: TypeAlias = Sequence[Sequence[SizeSpec] | None]
"""The sizes of each argument; None for what is no tensor."""


def ranges_in(sizes: Iterable[Sequence[SizeSpec | str] | None]) -> list[Range]:
    """The ranges that sizes are, or follow from, each once, in order."""
    return list(dict.fromkeys(each for shape in sizes if shape for size in shape for each in _ranges_of(size)))


def _ranges_of(size: SizeSpec | str) -> tuple[Range, ...]:
    return (size,) if isinstance(size, Range) else size.of if isinstance(size, Relation) else ()


def at_sizes(sizes: Sizes, numbers: Mapping[Range, int]) -> list[list[int] | None]:
    """The sizes for these of the ranges."""
    return [None if shape is None else [_at(size, numbers) for size in shape] for shape in sizes]


def _at(size: SizeSpec, numbers: Mapping[Range, int]) -> int:
    if isinstance(size, Relation):
        return int(size.of_sizes([numbers[limits] for limits in size.of]))
    return numbers[size] if isinstance(size, Range) else size


def substituted(size: SizeSpec, new: Mapping[Range, SizeSpec]) -> SizeSpec:
    """A size in which others stand for ranges."""
    if isinstance(size, Range):
        return new.get(size, size)
    if isinstance(size, int):
        return size
    of: list[Range] = []
    texts: dict[str, str] = {}
    for index, limits in enumerate(size.of):
        other = new.get(limits, limits)
        inner = other.of if isinstance(other, Relation) else (other,) if isinstance(other, Range) else ()
        of += [each for each in inner if each not in of]
        text = other.expression if isinstance(other, Relation) else "s0" if inner else str(other)
        texts[f"s{index}"] = f"({renamed(text, {f's{i}': f's{of.index(each)}' for i, each in enumerate(inner)})})"
    expression = renamed(renamed(size.expression, texts), {})
    if not of:
        return int(compiled(expression)({}))
    return of[0] if expression == "s0" else Relation(expression, tuple(of))


def span(expression: str, spans: Sequence[Span]) -> Span:
    """The limits of an expression of s0, s1, ..., which have these."""

    function = compiled(expression)

    def at(sizes: Sequence[int]) -> int:
        return max(0, int(function({f"s{index}": size for index, size in enumerate(sizes)})))

    ends = [at(sizes) for sizes in itertools.product(*((low, high) for low, _, high in spans))]
    return min(ends), at([best for _, best, _ in spans]), max(ends)


def to_json(size: SizeSpec | str) -> Any:
    """A size as JSON values."""
    return size if isinstance(size, int | str) else size.to_json()


def from_json(data: Any) -> Any:
    """The inverse of `to_json`."""
    if not isinstance(data, Mapping):
        return data
    return Relation.from_json(data) if "expression" in data else Range.from_json(data)
