"""Which sizes of the inputs may vary, and how far."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from trtconv.calling.arguments import Parameters
from trtconv.calling.structure import children_of, paths_of_leaves, shown_path
from trtconv.sizes.ranges import Dim, Limits, Range, SizeSpec

_Path = tuple[Any, ...]


class DynamicShapes:
    """The dynamic sizes that a user asked for, by the tensors of the example input.

    Args:
        dynamic_shapes: For parameters of the module's forward by name, nested as their values: for a tensor
            a dict from dimension to size, or its least, best and largest shape, or None. A list of such
            mappings stands for as many optimization profiles.
        arguments: The example arguments with the names of the parameters, in the order of the call.

    Attributes:
        sizes: For each tensor among the arguments, in order, its sizes: ranges where they may vary.

    Raises:
        ValueError: a name, dimension or size doesn't fit the example; the message says which.
    """

    def __init__(
        self,
        dynamic_shapes: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        arguments: Sequence[tuple[str, Any]],
    ) -> None:
        given = [dynamic_shapes or {}] if isinstance(dynamic_shapes, Mapping | None) else list(dynamic_shapes)
        if not given or not all(isinstance(profile, Mapping) for profile in given):
            raise ValueError(
                f"dynamic_shapes={dynamic_shapes!r}: it has to be a dict, or a list of dicts, one a profile"
            )
        profiles = [_Profile(spec, arguments) for spec in given]
        self._taken: dict[str, tuple[Any, ...]] = {}
        self.sizes = [
            tuple(
                self._size(f"{shown_path(path)}.{dim}", size, [profile.limits.get((path, dim)) for profile in profiles])
                for dim, size in enumerate(leaf.shape)
            )
            for path, leaf in paths_of_leaves(arguments)
            if isinstance(leaf, torch.Tensor)
        ]

    def _size(self, place: str, example: int, limits: list[Limits | None]) -> SizeSpec:
        """A dimension's size over all profiles."""
        settled = [
            Limits(example, example, example) if each is None else each.settled(place, example) for each in limits
        ]
        spans = tuple((each.min, each.opt or 0, each.max) for each in settled)
        if not any(each is not None for each in limits):
            return example
        step = settled[0].multiple_of
        if any(each.multiple_of != step for each in settled if each.min < each.max):
            raise ValueError(f"{place}: multiple_of differs between profiles")
        # The same size in every profile is one size; two of one name that differ in a profile are two.
        name = next((each.name for each in limits if each is not None and each.name), place)
        identity = tuple(each.name if each is not None else example for each in limits)
        if self._taken.setdefault(name, identity) != identity:
            name = place
        result = Range(name, spans, step)
        if example not in result:
            raise ValueError(f"{place}: the example has size {example}, outside of {result}")
        return result if result.min < result.max else example


class _Profile:
    """One mapping of `DynamicShapes`: limits by place and dimension.

    Attributes:
        limits: By a tensor's path (the parameter, then a key for each level) and the dimension.
    """

    def __init__(self, dynamic_shapes: Mapping[str, Any], arguments: Sequence[tuple[str, Any]]) -> None:
        self.limits: dict[tuple[_Path, int], Limits] = {}
        self._named: dict[str, Limits] = {}
        self._objects: dict[int, str] = {}
        values = dict(reversed(arguments))
        for name, spec in dynamic_shapes.items():
            if name not in values:
                known = ", ".join(dict(arguments)) or "none"
                raise ValueError(f"dynamic_shapes names {name!r}; the example inputs are {known}")
            self._read((name,), values[name], spec)

    def _read(self, path: _Path, value: Any, spec: Any) -> None:
        if spec is None:
            return
        if isinstance(value, torch.Tensor):
            for dim, size in _by_dimension(shown_path(path), value, spec).items():
                if size is not None:
                    self.limits[path, dim] = self._limits(f"{shown_path(path)}.{dim}", size)
            return
        found = children_of(value)
        nesting, values = found or (None, [])
        children = dict(zip((nesting and nesting.keys) or range(len(values)), values, strict=True))
        for key, child in spec.items() if isinstance(spec, Mapping) else enumerate(spec):
            if key not in children:
                raise ValueError(
                    f"dynamic_shapes names {shown_path((*path, key))}, which the example input doesn't have"
                )
            self._read((*path, key), children[key], child)

    def _limits(self, place: str, given: Any) -> Limits:
        result = _read_limits(place, given)
        # The same object stands for the same size; its id is unique while the caller holds it.
        name = result.name or self._objects.setdefault(id(given), place)
        result = dataclasses.replace(result, name=name)
        known = self._named.setdefault(name, result)
        if known != result:
            raise ValueError(f"{place}: the size {name!r} is {known} elsewhere and {result} here")
        return result


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


def _read_limits(place: str, given: Any) -> Limits:
    if isinstance(given, Dim):
        return Limits(given.min, given.opt, given.max, given.name or "", given.multiple_of)
    if isinstance(given, int) and not isinstance(given, bool):
        return Limits(given, given, given, place)
    if isinstance(given, tuple) and len(given) == 3 and all(isinstance(size, int) for size in given):
        return Limits(*given, name=place)
    low, high = getattr(given, "min", None), getattr(given, "max", None)  # torch.export.Dim
    if isinstance(low, int) and isinstance(high, int):
        return Limits(low, None, high, getattr(given, "__name__", place), _step_of(place, given))
    raise ValueError(
        f"{place}: {given!r} is no dynamic size; allowed are trtconv.Dim, (min, opt, max), a number, and "
        "torch.export.Dim with min and max"
    )


def _step_of(place: str, given: Any) -> int:
    """The factor of a torch.export.Dim such as ``32 * Dim("height")``."""
    if not hasattr(given, "fn"):
        return 1
    if given.fn(0) != 0:
        raise ValueError(
            f"{place}: {given!r} is no dynamic size; of sizes that follow from others multiples are allowed"
        )
    return int(given.fn(1))


def infer_dynamic_shapes(examples: Iterable[Any], module: Any = None) -> dict[str, Any]:
    """Find which sizes vary in a data set, for the option `dynamic_shapes` of `trtconv.convert`.

    A size that isn't the same in all examples becomes a `Dim` from the least to the largest that occurs,
    optimized for that of the example with the median number of elements. The same dimension of several tensors
    is one size if it is equal in each example.

    Args:
        examples: A `DataLoader`, or anything else that gives examples. Each is a dict of the module's arguments by
            name, nested as the module takes them, or, with `module`, a tensor, which is its first argument, or a
            tuple or list of its first arguments. What is more than the module takes (labels) is left out.
        module: The module that is to be converted, for the names of its parameters.

    Returns: what `dynamic_shapes` takes; {} if no size varies.

    Raises:
        ValueError: there are no examples, they differ in their arguments, nesting or ranks, or they aren't by name and
            no module is given.
    """
    parameters = None if module is None else Parameters.of(module)
    seen = [_tensors_by_path(_by_name(example, parameters)) for example in examples]
    if not seen:
        raise ValueError("there are no examples to find sizes in")
    for each in seen:
        if {path: len(shape) for path, shape in each.items()} != {path: len(shape) for path, shape in seen[0].items()}:
            raise ValueError(f"the examples differ: one has {_listing(seen[0])}, another {_listing(each)}")
    elements = sorted(range(len(seen)), key=lambda i: sum(torch.Size(shape).numel() for shape in seen[i].values()))
    middle = elements[len(elements) // 2]
    dims: dict[tuple[int, tuple[int, ...]], Dim] = {}
    result: dict[str, Any] = {}
    for path, shape in seen[0].items():
        for dim in range(len(shape)):
            sizes = tuple(each[path][dim] for each in seen)
            if min(sizes) < max(sizes):
                place = f"{'.'.join(map(str, path))}.{dim}"
                limits = Dim(min(sizes), sizes[middle], max(sizes), name=place)
                _put(result, (*path, dim), dims.setdefault((dim, sizes), limits))
    return result


def _by_name(example: Any, parameters: Parameters | None) -> Mapping[str, Any]:
    """An example's arguments by the names of the parameters that take them."""
    if isinstance(example, Mapping):
        return example
    if parameters is None:
        raise ValueError(
            f"an example is a {type(example).__name__}; give dicts of arguments by name, or the module for their "
            "names: infer_dynamic_shapes(loader, module)"
        )
    args = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    count = len(args) if parameters.takes_any_number else parameters.positional
    return dict(parameters.named(args[:count], {}))


def _tensors_by_path(value: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], tuple[int, ...]]:
    if isinstance(value, torch.Tensor):
        return {path: tuple(value.shape)}
    found = children_of(value)
    if found is None:
        return {}
    nesting, children = found
    shapes: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for key, child in zip(nesting.keys or range(len(children)), children, strict=True):
        shapes |= _tensors_by_path(child, (*path, key))
    return shapes


def _put(tree: dict[Any, Any], path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def _listing(shapes: Mapping[tuple[Any, ...], tuple[int, ...]]) -> str:
    return ", ".join(f"{'.'.join(map(str, path))} {list(shape)}" for path, shape in shapes.items()) or "no tensors"
