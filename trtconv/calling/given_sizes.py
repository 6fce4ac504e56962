"""The sizes that a user gives for one optimization profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch

from trtconv.calling.structure import children_of, paths_of_leaves, shown_path
from trtconv.sizes.dim import DerivedDim, Dim, Limits, spelled
from trtconv.sizes.ranges import span

Path: TypeAlias = tuple[Any, ...]
Place: TypeAlias = tuple[Path, int]
"""A tensor's path (the parameter, then a key for each level) and a dimension."""


@dataclasses.dataclass(frozen=True)
class Given:
    """A size as a profile has it: a number, or an expression in which s0, s1, ... stand for named sizes."""

    expression: str
    names: tuple[str, ...] = ()


def shown_place(place: Place) -> str:
    """A dimension of a tensor as messages name it: "x.0"."""
    return f"{shown_path(place[0])}.{place[1]}"


class Profile:
    """One mapping of `DynamicShapes`.

    Attributes:
        given: What is given for a dimension, by its place.
    """

    def __init__(self, dynamic_shapes: Mapping[str, Any], arguments: Sequence[tuple[str, Any]]) -> None:
        self.given: dict[Place, Given] = {}
        self._named: dict[str, Limits] = {}
        self._objects: dict[int, str] = {}
        values = dict(reversed(arguments))
        found: dict[Place, Any] = {}
        for name, spec in dynamic_shapes.items():
            if name not in values:
                known = ", ".join(dict(arguments)) or "none"
                raise ValueError(f"dynamic_shapes names {name!r}; the example inputs are {known}")
            found |= _by_place((name,), values[name], spec)
        # Derived ones last: a size gets its name where it stands alone.
        for place in sorted(found, key=lambda place: _is_derived(found[place])):
            self.given[place] = self._read(shown_place(place), found[place])
        for place, given in self.given.items():
            for name in given.names:
                if name not in self._named:
                    raise ValueError(
                        f"{shown_place(place)}: Dim({name!r}) has no limits; give them where it stands alone: "
                        f"Dim({name!r}, min, max)"
                    )

    def part(self, name: str) -> str | int:
        """What a named size is in this profile: a number where it doesn't vary."""
        limits = self._named[name]
        return limits.min if limits.min == limits.max else name

    def limits(self, part: Any) -> Limits:
        """The limits of a number, a named size or an expression."""
        if isinstance(part, int):
            return Limits(part, part, part)
        if isinstance(part, str):
            return self._named[part]
        low, _, high = span(part.expression, [self._named[name].settled(name, None) for name in part.names])
        return Limits(low, None, high)

    def _read(self, place: str, given: Any) -> Given:
        if isinstance(given, Dim | DerivedDim):
            expression, dims = spelled(given)
            return Given(expression, tuple(self._name(place, dim, dim.name, _limits_of(dim)) for dim in dims))
        if isinstance(given, int) and not isinstance(given, bool):
            return Given(str(given))
        if _is_triple(given):
            self._named[place] = Limits(*given)
            return Given("s0", (place,))
        root = getattr(given, "root", given)  # of a torch.export.Dim such as 2 * Dim("height") + 1
        low, high = getattr(root, "min", None), getattr(root, "max", None)
        if isinstance(low, int) and isinstance(high, int):
            limits = Limits(low, None, high)
            return Given(_expression_of(given), (self._name(place, root, root.__name__, limits),))
        raise ValueError(
            f"{place}: {given!r} is no dynamic size; allowed are trtconv.Dim, (min, opt, max), a number, and "
            "torch.export.Dim with min and max"
        )

    def _name(self, place: str, dim: Any, name: str | None, limits: Limits | None) -> str:
        """The name of a size, whose limits are the same everywhere."""
        # The same object stands for the same size; its id is unique while the caller holds it.
        name = name or self._objects.setdefault(id(dim), place)
        if limits is not None:
            known = self._named.setdefault(name, limits)
            if known != limits:
                raise ValueError(f"{place}: the size {name!r} is {known} elsewhere and {limits} here")
        return name


def _limits_of(dim: Dim) -> Limits | None:
    if dim.min is None or dim.max is None:
        return None
    return Limits(dim.min, dim.opt, dim.max, dim.multiple_of)


def _expression_of(given: Any) -> str:
    """How a torch.export.Dim follows from its root: torch has whole multiples and numbers added."""
    if not hasattr(given, "fn"):
        return "s0"
    offset = given.fn(0)
    factor = given.fn(1) - offset
    return ("s0" if factor == 1 else f"{factor} * s0") + (f" + {offset}" if offset else "")


def _is_derived(given: Any) -> bool:
    return isinstance(given, DerivedDim) or hasattr(given, "fn")


def _by_place(path: Path, value: Any, spec: Any) -> dict[Place, Any]:
    """The sizes that are given for the tensors in a value."""
    if spec is None:
        return {}
    if isinstance(value, torch.Tensor):
        sizes = _by_dimension(shown_path(path), value, spec)
        return {(path, dim): size for dim, size in sizes.items() if size is not None}
    found = children_of(value)
    nesting, values = found or (None, [])
    if nesting is not None and _are_dimensions(spec):  # of all tensors in it
        paths = paths_of_leaves([(path[-1], value)])
        tensors = [((*path, *inner[1:]), leaf) for inner, leaf in paths if isinstance(leaf, torch.Tensor)]
        return {place: size for inner, tensor in tensors for place, size in _by_place(inner, tensor, spec).items()}
    children = dict(zip((nesting and nesting.keys) or range(len(values)), values, strict=True))
    result: dict[Place, Any] = {}
    for key, child in spec.items() if isinstance(spec, Mapping) else enumerate(spec):
        if key not in children:
            raise ValueError(f"dynamic_shapes names {shown_path((*path, key))}, which the example input doesn't have")
        result |= _by_place((*path, key), children[key], child)
    return result


def _are_dimensions(spec: Any) -> bool:
    """Whether something gives sizes by dimensions, and not what is given for the items of a container."""
    return (
        isinstance(spec, Mapping)
        and bool(spec)
        and all(
            type(dim) is int
            and (isinstance(size, (int, Dim, DerivedDim)) or hasattr(size, "__name__") or _is_triple(size))
            for dim, size in spec.items()
        )
    )


def _is_triple(given: Any) -> bool:
    return isinstance(given, tuple) and len(given) == 3 and all(isinstance(size, int) for size in given)


def _by_dimension(path: str, value: torch.Tensor, spec: Any) -> dict[int, Any]:
    """The sizes that are given for a tensor, by dimension from 0."""
    rank = value.dim()
    if isinstance(spec, Mapping):
        for dim in spec:
            if not isinstance(dim, int) or not -rank <= dim < rank:
                raise ValueError(f"dynamic_shapes[{path!r}] names dimension {dim!r}; the example has {rank}")
        return {dim % rank: size for dim, size in spec.items()}
    shapes = [tuple(shape) for shape in spec] if isinstance(spec, Sequence) and len(spec) == 3 else []
    if not shapes or any(len(shape) != rank for shape in shapes):
        raise ValueError(
            f"dynamic_shapes[{path!r}] is {spec!r}; it has to be a dict from dimension to Dim, or the least, the best "
            f"and the largest shape, each of {rank} sizes"
        )
    triples = zip(*shapes, strict=True)
    return {dim: sizes for dim, sizes in enumerate(triples) if sizes != (value.shape[dim],) * 3}
