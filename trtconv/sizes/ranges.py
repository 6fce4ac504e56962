"""Sizes that may vary from call to call, and how far."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Dim:
    """A size that may vary from call to call: ``Dim(min, max)`` or ``Dim(min, opt, max)``, as in a tuple.

    Dimensions with the same name, or given the same `Dim` object, always have the same size.

    Attributes:
        min, max: The least and the largest size.
        opt: The size to optimize for; by default that of the example input.
        name: A name for messages and for equal dimensions.
        multiple_of: Only multiples of this are sizes: 32 for a network that halves its maps five times.

    Raises:
        TypeError: the sizes are neither two nor three, or one is given twice.
        ValueError: they aren't 0 <= min <= opt <= max, or no multiples of `multiple_of`.
    """

    min: int
    opt: int | None
    max: int
    name: str | None
    multiple_of: int

    def __init__(
        self,
        *sizes: int,
        min: int | None = None,
        opt: int | None = None,
        max: int | None = None,
        name: str | None = None,
        multiple_of: int = 1,
    ) -> None:
        given = {"min": min, "opt": opt, "max": max}
        places = {0: (), 1: ("min",), 2: ("min", "max"), 3: ("min", "opt", "max")}.get(len(sizes))
        if places is None or any(given[place] is not None for place in places):
            raise TypeError("Dim takes (min, max), (min, opt, max), or each of them once by name")
        given |= dict(zip(places, sizes, strict=True))
        low, best, high = given.values()
        whole = [size for size in (low, best, high, multiple_of) if type(size) is int]
        if low is None or high is None or len(whole) != 4 - (best is None):
            raise ValueError(f"a dynamic size needs whole numbers for min and max, not {low!r} and {high!r}")
        for field, value in {**given, "name": name, "multiple_of": multiple_of}.items():
            object.__setattr__(self, field, value)
        Limits(low, best, high, multiple_of=multiple_of).settled(repr(self), low)

    def __repr__(self) -> str:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        shown = [
            f"{n}={value!r}" for n, value in fields.items() if value is not None and (n, value) != ("multiple_of", 1)
        ]
        return f"Dim({', '.join(shown)})"


@dataclasses.dataclass(frozen=True)
class Range:
    """A dynamic size with all its properties settled; equal ranges are one size.

    Attributes:
        name: For messages.
        profiles: For each optimization profile the least size, that to optimize for, and the largest.
        multiple_of: What every size is a multiple of.
    """

    name: str
    profiles: tuple[tuple[int, int, int], ...]
    multiple_of: int = 1

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

    def __contains__(self, size: int) -> bool:
        return self.min <= size <= self.max and size % self.multiple_of == 0

    def __str__(self) -> str:
        return f"{self.min}..{self.max}" + (f" by {self.multiple_of}" if self.multiple_of > 1 else "")


SizeSpec = int | Range
"""A size of an input: fixed, or a range."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What was given for a size: a `Range` when it is settled."""

    min: int
    opt: int | None
    max: int
    name: str = ""
    multiple_of: int = 1

    def __str__(self) -> str:
        best = "" if self.opt is None else f" (opt {self.opt})"
        return f"{self.min}..{self.max}{best}" + (f" by {self.multiple_of}" if self.multiple_of > 1 else "")

    def settled(self, place: str, example: int) -> Limits:
        """With a size to optimize for, and all checked."""
        best = min(max(example, self.min), self.max) if self.opt is None else self.opt
        if not 0 <= self.min <= best <= self.max:
            raise ValueError(
                f"{place}: a dynamic size needs 0 <= min <= opt <= max, not {self.min}, {best}, {self.max}"
            )
        step = self.multiple_of
        if step < 1 or any(n % step for n in (self.min, best, self.max)):
            raise ValueError(
                f"{place}: min, opt and max, {self.min}, {best}, {self.max}, have to be multiples of {step}"
            )
        return dataclasses.replace(self, opt=best)
