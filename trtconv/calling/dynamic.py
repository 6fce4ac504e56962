"""Which sizes of the inputs may vary, and how far."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

from trtconv.calling.given_sizes import Given, Place, Profile, shown_place
from trtconv.calling.structure import paths_of_leaves
from trtconv.sizes.expressions import renamed
from trtconv.sizes.ranges import Range, Relation, SizeSpec, span
from trtconv.sizes.text import linear, parse

_Identity = tuple[Any, ...]
"""What a size is in each profile: a name, a number or a `Given`. Sizes that are the same in each are one."""


class DynamicShapes:
    """The dynamic sizes that a user asked for, by the tensors of the example input.

    Args:
        dynamic_shapes: For parameters of the module's forward by name, nested as their values: for a tensor
            a dict from dimension to size, or its least, best and largest shape, or None. A list of such
            mappings stands for as many optimization profiles.
        arguments: The example arguments with the names of the parameters, in the order of the call.
        open_sizes: Places of whose sizes the example says nothing.

    Attributes:
        sizes: For each tensor among the arguments, in order, its sizes: ranges where they may vary, relations where
            they follow from ranges.

    Raises:
        ValueError: a name, dimension or size doesn't fit the example; the message says which.
    """

    def __init__(
        self,
        dynamic_shapes: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        arguments: Sequence[tuple[str, Any]],
        open_sizes: Collection[Place] = (),
    ) -> None:
        given = [dynamic_shapes or {}] if isinstance(dynamic_shapes, Mapping | None) else list(dynamic_shapes)
        if not given or not all(isinstance(profile, Mapping) for profile in given):
            raise ValueError(
                f"dynamic_shapes={dynamic_shapes!r}: it has to be a dict, or a list of dicts, one a profile"
            )
        self._profiles = [Profile(spec, arguments) for spec in given]
        self._ranges: dict[_Identity, Range] = {}
        tensors = [(path, leaf) for path, leaf in paths_of_leaves(arguments) if isinstance(leaf, torch.Tensor)]
        sizes = {
            (path, dim): None if (path, dim) in open_sizes else size
            for path, leaf in tensors
            for dim, size in enumerate(leaf.shape)
        }
        spelled = {place: self._spelled(place, example) for place, example in sizes.items()}
        examples = _examples(spelled, sizes)
        multiples = _pure_multiples(spelled.values())
        specs = {
            place: self._spec(shown_place(place), *spelled[place], examples, multiples, example)
            for place, example in sizes.items()
        }
        _check_examples(specs, sizes)
        self.sizes = [tuple(specs[path, dim] for dim in range(leaf.dim())) for path, leaf in tensors]

    def _spelled(self, place: Place, example: int | None) -> tuple[str, tuple[_Identity, ...]]:
        """A dimension's size over all profiles, as an expression of sizes."""
        given = [profile.given.get(place) or Given(str(example)) for profile in self._profiles]
        first = given[0]
        if first.names and all(each.expression == first.expression for each in given):
            return first.expression, tuple(
                tuple(profile.part(each.names[i]) for profile, each in zip(self._profiles, given, strict=True))
                for i in range(len(first.names))
            )
        parts = (
            profile.part(each.names[0]) if each.expression == "s0" else each if each.names else int(each.expression)
            for profile, each in zip(self._profiles, given, strict=True)
        )
        return "s0", (tuple(parts),)

    def _spec(
        self,
        place: str,
        expression: str,
        identities: tuple[_Identity, ...],
        examples: Mapping[_Identity, int | None],
        multiples: Mapping[_Identity, str],
        example: int | None,
    ) -> SizeSpec:
        if len(identities) == 1 and expression == multiples.get(identities[0], "s0"):
            limits = self._range(place, identities[0], expression, examples)
            if example is not None and example not in limits:
                raise ValueError(f"{place}: the example has size {example}, outside of {limits}")
            return limits if limits.min < limits.max else limits.min
        of = tuple(self._range(place, identity, "s0", examples) for identity in identities)
        return Relation(expression, of)

    def _range(
        self, place: str, identity: _Identity, expression: str, examples: Mapping[_Identity, int | None]
    ) -> Range:
        """The range of a size; `expression` of it is what the inputs have."""
        if identity not in self._ranges:
            spans, steps = [], set()
            for profile, part in zip(self._profiles, identity, strict=True):
                limits = profile.limits(part)
                spans.append(span(expression, [limits.settled(place, examples[identity])]))
                if limits.min < limits.max:
                    steps.add(limits.multiple_of)
            if len(steps) > 1:
                raise ValueError(f"{place}: multiple_of differs between profiles")
            name = renamed(expression, {"s0": _name_of(identity, place)})
            if any(known.name == name for known in self._ranges.values()):
                name = place  # two of one name that differ in a profile are two
            factor, _ = _line(expression) or (1, 0)
            self._ranges[identity] = Range(name, tuple(spans), factor * max(steps, default=1))
        return self._ranges[identity]


def _name_of(identity: _Identity, otherwise: str) -> str:
    return next((part for part in identity if isinstance(part, str)), otherwise)


def _examples(
    spelled: Mapping[Place, tuple[str, tuple[_Identity, ...]]], sizes: Mapping[Place, int | None]
) -> dict[_Identity, int | None]:
    """The size that each range has in the example."""
    found: dict[_Identity, int | None] = {}
    for wanted in (True, False):  # a dimension of that very size says it best
        for place, (expression, identities) in spelled.items():
            line = _line(expression) if len(identities) == 1 else None
            if line is None or (expression == "s0") is not wanted:
                continue
            size, (factor, offset) = sizes[place], line
            if size is not None and identities[0] not in found and (size - offset) % factor:
                shown = renamed(expression, {"s0": _name_of(identities[0], "n")})
                raise ValueError(f"{shown_place(place)}: the example has size {size}, which no {shown} is")
            found.setdefault(identities[0], None if size is None else (size - offset) // factor)
    for place, (_, identities) in spelled.items():
        for index, identity in enumerate(identities):
            if identity not in found:
                name = _name_of(identity, f"s{index}")
                raise ValueError(
                    f"{shown_place(place)}: {name!r} can't be told from the sizes of the inputs: some dimension has to "
                    "be of that size, or of a multiple of it and a number"
                )
    return found


def _pure_multiples(spelled: Iterable[tuple[str, tuple[_Identity, ...]]]) -> dict[_Identity, str]:
    """For sizes of which the inputs have only one multiple: that multiple, which is then a range of its own."""
    uses: dict[_Identity, set[tuple[str, int]]] = {}
    for expression, identities in spelled:
        for identity in identities:
            uses.setdefault(identity, set()).add((expression, len(identities)))
    return {
        identity: next(iter(each))[0]
        for identity, each in uses.items()
        if len(each) == 1 and all(count == 1 and (_line(text) or (0, 1))[1] == 0 for text, count in each)
    }


def _check_examples(specs: Mapping[Place, SizeSpec], sizes: Mapping[Place, int | None]) -> None:
    """See that the sizes of the example are equal where they have to be, and follow as they are to."""
    seen: dict[str, tuple[Place, int]] = {}
    for place, spec in specs.items():
        example = sizes[place]
        if isinstance(spec, Range) and example is not None:
            other, size = seen.setdefault(spec.name, (place, example))
            if size != example:
                raise ValueError(
                    f"{shown_place(place)}: the example has size {example}; {shown_place(other)}, which is the same "
                    f"size, has {size}"
                )
    known = {name: size for name, (_, size) in seen.items()}
    for place, spec in specs.items():
        example = sizes[place]
        if isinstance(spec, Relation) and example is not None:
            for limits in spec.of[:1]:
                if len(spec.of) == 1 and limits.name not in known:
                    known[limits.name] = spec.solved(example) or 0
            if all(limits.name in known for limits in spec.of) and spec.at(known) != example:
                raise ValueError(
                    f"{shown_place(place)}: the example has size {example}, and {spec} is {spec.at(known)} there"
                )


@functools.lru_cache(maxsize=1024)
def _line(expression: str) -> tuple[int, int] | None:
    """(a, b) of an expression a * s0 + b, a above 0; None of others."""
    found = linear(parse(expression))
    return (found[0], found[2]) if found is not None and found[0] > 0 else None
