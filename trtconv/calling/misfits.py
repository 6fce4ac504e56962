"""What doesn't fit in a call of a converted module: what came, where, what is allowed, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from trtconv.calling.structure import BESIDE, PLAIN, children_of, map_leaves, same_value, shown_path
from trtconv.dtypes import name_of
from trtconv.errors import InputError
from trtconv.sizes.ranges import Range, Relation

if TYPE_CHECKING:
    from trtconv.calling.signature import Signature, TensorSpec


class _Text(str):
    """A text that stands in containers without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def misfit_of_arguments(signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> InputError:
    """The error for arguments that aren't nested as those of the conversion, or have other plain values."""
    parameters = signature.parameters
    came = _by_name(parameters.named(args, kwargs))
    known = _by_name(parameters.named(*signature.arguments.fill([_Text(spec) for spec in signature.inputs])))
    for key, expected in known.items():
        name = key[0]
        if key not in came:
            return InputError(
                f"{name!r} is missing; the module was converted with {_shown(expected)}: pass it, or convert the "
                "module again without it in the example input"
            )
        for path, value, model in _differences((name,), came[key], expected):
            kind = "" if isinstance(value, torch.Tensor) or type(model) is not _Text else "; it takes a tensor there"
            return InputError(
                f"{shown_path(path)!r} is {_shown(value)}; the module was converted with {_shown(model)}{kind}. "
                "Pass that, or convert the module again with what came in the example input: only tensors can differ "
                "from call to call"
            )
    extra = next((key for key in came if key not in known), None)
    if extra is None:
        return InputError("the arguments aren't nested as those that the module was converted with")
    return InputError(
        f"{extra[0]!r} is {_shown(came[extra])}; the module was converted without it: leave it out, or convert the "
        "module again with it in the example input"
    )


def _by_name(named: list[tuple[str, Any]]) -> dict[tuple[str, int], Any]:
    """By name and number: an extra keyword may be called like ``*args`` or a positional-only parameter."""
    seen: dict[tuple[str, int], Any] = {}
    for name, value in named:
        seen[name, int((name, 0) in seen)] = value
    return seen


def _differences(path: tuple[Any, ...], came: Any, known: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """(path, what came, what is known) where an argument isn't as that of the conversion."""
    models, values = _children(known), _children(came)
    if models is None or values is None:
        fits = isinstance(came, torch.Tensor) if type(known) is _Text else same_value(came, known)
        fits = fits or (isinstance(known, BESIDE) and came == known)
        if not fits:
            yield path, came, known
    elif type(came) is not type(known) or models.keys() != values.keys():
        yield path, came, known
    else:
        for key, model in models.items():
            yield from _differences((*path, key), values[key], model)


def _children(value: Any) -> dict[Any, Any] | None:
    found = children_of(value)
    if found is None:
        return None
    nesting, values = found
    beside = dict(nesting.context) if nesting.kind == "object" else {}
    return beside | dict(zip(nesting.keys or range(len(values)), values, strict=True))


def misfit_of_tensor(signature: Signature, index: int, tensor: torch.Tensor, sizes: Mapping[str, int]) -> InputError:
    """The error for an input tensor of another dtype or shape; `sizes` has those of the ranges before it."""
    spec, path = signature.inputs[index], signature.path(index)
    name = label(signature, index)
    came = _shown(tensor)
    if tensor.dtype is not spec.dtype:
        return InputError(
            f"{name} is {came}; the module was converted for {spec}: pass it as .to({spec.dtype}), or convert the "
            f"module again with an example input of {name_of(tensor.dtype)}"
        )
    if tensor.dim() != len(spec.shape):
        return InputError(
            f"{name} is {came}; the module was converted for {spec}: another number of dimensions needs another "
            "conversion"
        )
    unfit = {
        dim: allowed
        for dim, (size, allowed) in enumerate(zip(tensor.shape, spec.shape, strict=True))
        if size != allowed
        and not isinstance(allowed, Relation)
        and not (isinstance(allowed, Range) and size in allowed)
    }
    if not unfit:
        return _misfit_of_equal_sizes(name, tensor, spec, sizes)
    places = " and ".join(
        f"size {tensor.shape[dim]} in dimension {dim} has to be {_allowed(allowed)}" for dim, allowed in unfit.items()
    )
    advice = ""
    if signature.is_of_forward:
        ranges: Any = {
            dim: _wider(allowed, tensor.shape[dim])
            for dim, allowed in enumerate(spec.shape)
            if dim in unfit or isinstance(allowed, Range)
        }
        for key in reversed(path):
            ranges = {key: ranges}
        advice = f". To take such sizes too, convert the module again with dynamic_shapes={ranges!r}"
    return InputError(f"{name} is {came}; the module was converted for {spec}: {places}{advice}")


def _misfit_of_equal_sizes(name: str, tensor: torch.Tensor, spec: TensorSpec, sizes: Mapping[str, int]) -> InputError:
    seen = dict(sizes)
    for dim, (size, allowed) in enumerate(zip(tensor.shape, spec.shape, strict=True)):
        if isinstance(allowed, Range) and seen.setdefault(allowed.name, size) != size:
            return InputError(
                f"{name} is {_shown(tensor)}, with size {size} in dimension {dim}; the other inputs have "
                f"{allowed.name} = {seen[allowed.name]}, which is the same size: pass equal sizes"
            )
    return InputError(f"{name} is {_shown(tensor)}; the module was converted for {spec}")


def misfit_of_relation(
    signature: Signature, index: int, dim: int, tensor: torch.Tensor, sizes: Mapping[str, int]
) -> InputError:
    """The error for a size that doesn't follow from others as it has to; `sizes` has those that are known."""
    relation = signature.inputs[index].shape[dim]
    assert isinstance(relation, Relation)
    name = f"{label(signature, index)} is {_shown(tensor)}, with size {tensor.shape[dim]} in dimension {dim}"
    known = ", ".join(f"{each.name} = {sizes[each.name]}" for each in relation.of if each.name in sizes)
    if any(each.name not in sizes for each in relation.of):
        limits = " and ".join(f"{each.name} {_allowed(each)}" for each in relation.of)
        return InputError(f"{name}; it has to be {relation}, with {limits}: pass such a size")
    expected = relation.at(sizes)
    return InputError(f"{name}; it has to be {relation}, which is {expected} for {known}: pass sizes that fit")


def label(signature: Signature, index: int) -> str:
    """An input by its place in the call, and by its name in the engine where a user gave it one."""
    place, name = shown_path(signature.path(index)), signature.inputs[index].name
    return repr(place) if name in (place, f"input_{index}") else f"{place!r} (input {name!r} of the engine)"


def ending_gradient(signature: Signature, tensors: Sequence[torch.Tensor]) -> str:
    """What to say where an input requires a gradient; nothing where none does."""
    place = next((index for index, tensor in enumerate(tensors) if tensor.requires_grad), None)
    if place is None:
        return ""
    return (
        f"{label(signature, place)} requires a gradient, which ends here: a converted module computes none. Train the "
        "original module; to run this one, call it under torch.no_grad()"
    )


def _allowed(size: int | Range | Relation | str) -> str:
    if not isinstance(size, Range):
        return str(size)
    return f"{size.min} to {size.max}" + (f" in steps of {size.multiple_of}" if size.multiple_of > 1 else "")


def _wider(allowed: int | Range | Relation | str, size: int) -> Any:
    """A range that has this size too."""
    if isinstance(allowed, Relation | str):
        return size
    low, best, high = (allowed.min, allowed.opt, allowed.max) if isinstance(allowed, Range) else (allowed,) * 3
    return min(low, size), best, max(high, size)


def _shown(value: Any) -> str:
    """Nested containers as Python writes them, tensors by dtype and shape."""
    return repr(map_leaves(_leaf, value))


def _leaf(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _Text(f"{name_of(value.dtype)}{list(value.shape)}")
    kind = type(value)
    return value if isinstance(value, PLAIN) else _Text(f"a {kind.__module__}.{kind.__qualname__}")
