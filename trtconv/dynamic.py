"""Which sizes of the inputs may vary, and how far."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch


@dataclasses.dataclass(frozen=True)
class Dim:
    """A size that may vary from call to call.

    Dimensions with the same name, or given the same `Dim` object, always have the same size.

    Attributes:
        min, max: The least and the largest size.
        opt: The size to optimize for; by default that of the example input.
        name: A name for messages and for equal dimensions.
    """

    min: int
    max: int
    opt: int | None = None
    name: str | None = None


@dataclasses.dataclass(frozen=True)
class Range:
    """A dynamic size with all its properties settled; equal ranges are one size."""

    name: str
    min: int
    opt: int
    max: int

    def __str__(self) -> str:
        return f"{self.min}..{self.max}"


SizeSpec = int | Range
"""A size of an input: fixed, or a range."""


class DynamicShapes:
    """The dynamic sizes that a user asked for, by the tensors of the example input.

    Args:
        dynamic_shapes: For parameters of the module's forward by name, nested as their values: for a tensor
            a dict from dimension to size, or None.
        arguments: The example arguments by the names of the parameters.

    Raises:
        ValueError: a name, dimension or size doesn't fit the example; the message says which.
    """

    def __init__(self, dynamic_shapes: Mapping[str, Any] | None, arguments: Mapping[str, Any]) -> None:
        self._sizes: dict[int, tuple[SizeSpec, ...]] = {}
        self._ranges: dict[str, Range] = {}
        self._objects: dict[int, str] = {}
        for name, spec in (dynamic_shapes or {}).items():
            if name not in arguments:
                known = ", ".join(arguments) or "none"
                raise ValueError(f"dynamic_shapes names {name!r}; the example inputs are {known}")
            self._read(name, arguments[name], spec)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def sizes(self, example: torch.Tensor) -> tuple[SizeSpec, ...]:
        """The sizes of an example tensor, ranges where they may vary."""
        return self._sizes.get(id(example), tuple(example.shape))

    def _read(self, path: str, value: Any, spec: Any) -> None:
        if spec is None:
            return
        if isinstance(value, torch.Tensor):
            self._sizes[id(value)] = self._read_tensor(path, value, spec)
            return
        items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, Sequence) else ()
        children = dict(items)
        for key, child in spec.items() if isinstance(spec, Mapping) else enumerate(spec):
            if key not in children:
                raise ValueError(f"dynamic_shapes names {path}[{key!r}], which the example input doesn't have")
            self._read(f"{path}[{key!r}]", children[key], child)

    def _read_tensor(self, path: str, value: torch.Tensor, spec: Any) -> tuple[SizeSpec, ...]:
        if not isinstance(spec, Mapping):
            raise ValueError(f"dynamic_shapes[{path!r}] is {spec!r}; it has to be a dict from dimension to Dim")
        sizes: list[SizeSpec] = list(value.shape)
        for dim, size in spec.items():
            if not isinstance(dim, int) or not -value.dim() <= dim < value.dim():
                raise ValueError(f"dynamic_shapes[{path!r}] names dimension {dim!r}; the example has {value.dim()}")
            if size is not None:
                sizes[dim] = self._range(f"{path}.{dim % value.dim()}", value.shape[dim], size)
        return tuple(sizes)

    def _range(self, place: str, example: int, given: Any) -> Range:
        # The same object stands for the same size; its id is unique while the caller holds it.
        low, best, high, name = _limits(self._objects.setdefault(id(given), place), given)
        best = min(max(example, low), high) if best is None else best
        if not 0 <= low <= best <= high:
            raise ValueError(f"{place}: a dynamic size needs 0 <= min <= opt <= max, not {low}, {best}, {high}")
        if not low <= example <= high:
            raise ValueError(f"{place}: the example has size {example}, outside of {low}..{high}")
        result = Range(name, low, best, high)
        known = self._ranges.setdefault(name, result)
        if known != result:
            raise ValueError(f"{place}: the size {name!r} is {known} elsewhere and {result} here")
        return result


def _limits(place: str, given: Any) -> tuple[int, int | None, int, str]:
    if isinstance(given, Dim):
        return given.min, given.opt, given.max, given.name or place
    if isinstance(given, tuple) and len(given) == 3:
        low, best, high = given
        return low, best, high, place
    low, high = getattr(given, "min", None), getattr(given, "max", None)  # torch.export.Dim
    if isinstance(low, int) and isinstance(high, int):
        return low, None, high, getattr(given, "__name__", place)
    allowed = "trtconv.Dim, (min, opt, max) and torch.export.Dim"
    raise ValueError(f"{place}: {given!r} is no dynamic size; allowed are {allowed}")
