"""A size that may vary, as a user writes it."""

from __future__ import annotations

import dataclasses
from typing import Any

from trtconv.sizes.expressions import renamed
from trtconv.sizes.ranges import Span


@dataclasses.dataclass(frozen=True)
class Limits:
    """The least size, that to optimize for and the largest, as they are given."""

    min: int
    opt: int | None
    max: int
    multiple_of: int = 1

    def __str__(self) -> str:
        best = "" if self.opt is None else f" (opt {self.opt})"
        return f"{self.min}..{self.max}{best}" + (f" by {self.multiple_of}" if self.multiple_of > 1 else "")

    def settled(self, place: str, example: int | None) -> Span:
        """With a size to optimize for, the example's or the largest, and all checked."""
        best = self.opt
        if best is None:
            best = self.max if example is None else min(max(example, self.min), self.max)
        if not 0 <= self.min <= best <= self.max:
            raise ValueError(
                f"{place}: a dynamic size needs 0 <= min <= opt <= max, not {self.min}, {best}, {self.max}"
            )
        step = self.multiple_of
        if step < 1 or any(n % step for n in (self.min, best, self.max)):
            raise ValueError(
                f"{place}: min, opt and max, {self.min}, {best}, {self.max}, have to be multiples of {step}"
            )
        return self.min, best, self.max


@dataclasses.dataclass(frozen=True, eq=False)
class DerivedDim:
    """A size that follows from those of dims: what arithmetic on a `Dim` gives, with +, -, * and //.

    Attributes:
        expression: How, in which s0, s1, ... stand for the dims: "s0 + 1".
        dims: What it follows from.
    """

    expression: str
    dims: tuple[Dim, ...]

    def __add__(self, other: Any) -> Any:
        return _derived("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return _derived("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return _derived("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _derived("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return _derived("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _derived("*", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _derived("//", self, other)

    def __repr__(self) -> str:
        return renamed(self.expression, {f"s{index}": repr(dim) for index, dim in enumerate(self.dims)})


def _derived(sign: str, left: Any, right: Any) -> Any:
    """The result of arithmetic on dims, whose names go on counting on the right side."""
    texts: list[str] = []
    dims: list[Dim] = []
    for each in (left, right):
        if isinstance(each, bool) or not isinstance(each, DerivedDim | Dim | int):
            return NotImplemented
        text, own = (str(each), ()) if isinstance(each, int) else spelled(each)
        for dim in own:
            if not any(dim is known for known in dims):
                dims.append(dim)
        numbers = {id(dim): number for number, dim in enumerate(dims)}
        texts.append(renamed(text, {f"s{index}": f"s{numbers[id(dim)]}" for index, dim in enumerate(own)}))
    if sign == "//" and not (isinstance(right, int) and right > 0):
        raise ValueError(f"{left!r} // {right!r}: sizes are divided by whole numbers from 1")
    return DerivedDim(renamed(f"({texts[0]}) {sign} ({texts[1]})", {}), tuple(dims))


def spelled(given: Dim | DerivedDim) -> tuple[str, tuple[Dim, ...]]:
    """An expression of dims, and the dims."""
    return ("s0", (given,)) if isinstance(given, Dim) else (given.expression, given.dims)


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Dim:
    """A size that may vary from call to call: ``Dim(min, max)`` or ``Dim(min, opt, max)``, as in a tuple.

    Dimensions with the same name, or given the same `Dim` object, always have the same size. A size that follows from
    others is written as such: ``Dim("past", 0, 511) + 1``, ``2 * height``, ``height // 16 * (width // 16)``. Where a
    name has its limits elsewhere, it is enough: ``Dim("past") + 1``.

    Attributes:
        min, max: The least and the largest size; None for a name alone.
        opt: The size to optimize for; by default that of the example input.
        name: A name for messages and for equal dimensions; it may also come first: ``Dim("batch", 1, 8)``.
        multiple_of: Only multiples of this are sizes: 32 for a network that halves its maps five times.

    Raises:
        TypeError: the sizes are neither two nor three, or one is given twice.
        ValueError: they aren't 0 <= min <= opt <= max, or no multiples of `multiple_of`.
    """

    min: int | None
    opt: int | None
    max: int | None
    name: str | None
    multiple_of: int

    def __init__(
        self,
        *sizes: Any,
        min: int | None = None,
        opt: int | None = None,
        max: int | None = None,
        name: str | None = None,
        multiple_of: int = 1,
    ) -> None:
        if sizes and isinstance(sizes[0], str) and name is None:
            name, *sizes = sizes  # type: ignore[assignment]  # a tuple becomes a list
        given = {"min": min, "opt": opt, "max": max}
        places = {0: (), 1: ("min",), 2: ("min", "max"), 3: ("min", "opt", "max")}.get(len(sizes))
        if places is None or any(given[place] is not None for place in places):
            raise TypeError("Dim takes (min, max), (min, opt, max), or each of them once by name")
        given |= dict(zip(places, sizes, strict=True))
        for field, value in {**given, "name": name, "multiple_of": multiple_of}.items():
            object.__setattr__(self, field, value)
        if self.is_reference:
            return
        low, best, high = given.values()
        whole = [size for size in (low, best, high, multiple_of) if type(size) is int]
        if low is None or high is None or len(whole) != 4 - (best is None):
            raise ValueError(f"a dynamic size needs whole numbers for min and max, not {low!r} and {high!r}")
        Limits(low, best, high, multiple_of).settled(repr(self), low)

    @property
    def is_reference(self) -> bool:
        """Whether it is a name alone, whose limits are given elsewhere."""
        return self.name is not None and (self.min, self.opt, self.max, self.multiple_of) == (None, None, None, 1)

    __add__, __radd__ = DerivedDim.__add__, DerivedDim.__radd__
    __sub__, __rsub__ = DerivedDim.__sub__, DerivedDim.__rsub__
    __mul__, __rmul__ = DerivedDim.__mul__, DerivedDim.__rmul__
    __floordiv__ = DerivedDim.__floordiv__

    def __repr__(self) -> str:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        shown = [
            f"{n}={value!r}" for n, value in fields.items() if value is not None and (n, value) != ("multiple_of", 1)
        ]
        return f"Dim({', '.join(shown)})"
