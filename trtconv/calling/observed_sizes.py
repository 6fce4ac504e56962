"""Which sizes vary in a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from trtconv.calling.arguments import Parameters
from trtconv.calling.structure import children_of
from trtconv.sizes.dim import Dim


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
