"""The sizes of an ONNX model's inputs: those that the file fixes, and those that a user gives."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from trtconv.calling.dynamic import DynamicShapes
from trtconv.dtypes import name_of, to_torch
from trtconv.errors import ConversionError
from trtconv.sizes.dim import Dim
from trtconv.sizes.expressions import compiled
from trtconv.sizes.ranges import SizeSpec

Shapes = Mapping[str, Sequence[int]]


def sizes_of(
    tensors: Sequence[Any], shapes: Shapes, dynamic_shapes: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> list[tuple[SizeSpec, ...]]:
    """The sizes of each input: what the file fixes, else what is given.

    Args:
        tensors: The inputs, as TensorRT's parser has made them.
        shapes: Sizes of inputs; those of a dimension that varies are the ones to optimize for.
        dynamic_shapes: Which sizes vary, as for `trtconv.from_onnx`.

    Raises:
        ConversionError: a size that the file leaves open isn't given, or one that it fixes is to vary.
        ValueError: what is given fits neither the file nor itself.
    """
    inputs = {tensor.name: tensor for tensor in tensors}
    profiles = [dynamic_shapes] if isinstance(dynamic_shapes, Mapping) else list(dynamic_shapes)
    for option, names in (("shapes", shapes), *(("dynamic_shapes", profile) for profile in profiles)):
        unknown = [name for name in names if name not in inputs]
        if unknown:
            raise ValueError(f"{option}: the model has no input {unknown}; it has {listing(tensors)}")
    numbers: dict[str, int] = {}
    given = {name: _check_shape(inputs[name], shape, numbers) for name, shape in shapes.items()}
    by_axis = [
        {name: _by_axis(inputs[name], spec) for name, spec in profile.items() if spec is not None}
        for profile in profiles
    ]
    for profile in by_axis:
        _spread_names(profile, inputs, numbers)
    _check_all_given(inputs, given, by_axis)
    is_open = [
        ((name,), axis)
        for name, tensor in inputs.items()
        if name not in given
        for axis, size in enumerate(tensor.shape)
        if size < 0
    ]
    stand_ins = [
        (name, torch.empty(given.get(name, [max(size, 0) for size in tensor.shape]), device="meta"))
        for name, tensor in inputs.items()
    ]
    return DynamicShapes(by_axis, stand_ins, is_open).sizes


def _by_axis(tensor: Any, spec: Any) -> dict[int, Any]:
    """What is given for an input's dimensions; numbers for what the file fixes are left out."""
    rank = len(tuple(tensor.shape))
    place = f"dynamic_shapes[{tensor.name!r}]"
    if isinstance(spec, Mapping):
        wrong = [axis for axis in spec if not isinstance(axis, int) or not -rank <= axis < rank]
        if wrong:
            raise ValueError(f"{place} names dimension {wrong[0]!r}; the model takes {listing([tensor])}")
        found = {axis % rank: size for axis, size in spec.items() if size is not None}
    else:
        triple = [tuple(shape) for shape in spec] if isinstance(spec, Sequence) and len(spec) == 3 else []
        if not triple or any(len(shape) != rank for shape in triple):
            raise ValueError(
                f"{place} is {spec!r}; it has to be a dict from dimension to Dim, or the least, the best and the "
                f"largest shape, each of {rank} sizes"
            )
        found = dict(enumerate(zip(*triple, strict=True)))
    fixed = {axis: size for axis, size in enumerate(tensor.shape) if size >= 0 and axis in found}
    for axis, size in fixed.items():
        if found.pop(axis) not in (size, (size,) * 3):
            raise ConversionError(
                f"{place} lets dimension {axis} vary, which the file fixes: the model takes {listing([tensor])}. "
                "Export the model with this dimension open, torch.onnx.export(..., dynamo=True, dynamic_shapes="
                f"{{{tensor.name!r}: {{{axis}: torch.export.Dim(...)}}}}), or, where no layer depends on it, give it "
                "a name in the file: onnx.tools.update_model_dims"
            )
    return found


def _spread_names(profile: dict[str, dict[int, Any]], inputs: Mapping[str, Any], numbers: Mapping[str, int]) -> None:
    """Let what is given for a name of the file hold wherever the name stands, alone or in an expression."""
    named: dict[str, Any] = {}
    for name, axis, label in _named_axes(inputs):
        size = profile.get(name, {}).get(axis)
        if isinstance(size, tuple) and len(size) == 3:
            size = profile[name][axis] = Dim(*size, name=label)
        if size is not None:
            named.setdefault(label, size)
    named = {**numbers, **named}
    for name, axis, label in _named_axes(inputs):
        size = named[label] if label in named else _of_names(label, named)
        if size is not None:
            profile.setdefault(name, {}).setdefault(axis, size)


def _named_axes(inputs: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """(input, axis, name) of the dimensions that the file leaves open under a name."""
    for name, tensor in inputs.items():
        for axis, size in enumerate(tensor.shape):
            label = tensor.get_dimension_name(axis) if size < 0 else None
            if label:
                yield name, axis, label


def _of_names(label: str, named: Mapping[str, Any]) -> Any:
    """A name that is an expression of others, as exporters write them: "past + 1"."""
    try:
        return compiled(label)(named)
    except (ValueError, KeyError, TypeError):  # any text may be a name
        return None


def _check_all_given(inputs: Mapping[str, Any], given: Shapes, profiles: Sequence[Mapping[str, Any]]) -> None:
    missing = [
        tensor
        for name, tensor in inputs.items()
        if name not in given
        and any(size < 0 and axis not in p.get(name, {}) for axis, size in enumerate(tensor.shape) for p in profiles)
    ]
    if missing:
        example = ", ".join(f"{tensor.name!r}: [{', '.join(_dimensions(tensor))}]" for tensor in missing)
        raise ConversionError(
            f"the model has inputs with dynamic dimensions: {listing(missing)}; pass their sizes, with a number "
            f"for each name: from_onnx(..., shapes={{{example}}}), or how far they vary: dynamic_shapes="
            f"{{{missing[0].name!r}: {{0: (min, opt, max)}}}}"
        )


def _check_shape(tensor: Any, given: Sequence[int], sizes: dict[str, int]) -> tuple[int, ...]:
    """The shape given for an input; `sizes` holds the sizes of the dimensions with names so far."""
    option = f"shapes={{{tensor.name!r}: {given!r}}}"
    try:
        shape = tuple(map(operator.index, given))
    except TypeError:
        raise ValueError(f"{option}: a shape is a sequence of sizes; the model takes {listing([tensor])}") from None
    fixed = tuple(tensor.shape)
    if len(shape) != len(fixed) or not all(map(_admits, fixed, shape)):
        hint = "" if fixed else ", a scalar; so TensorRT reads an input whose shape the model doesn't say"
        raise ValueError(f"{option} doesn't fit: the model takes {listing([tensor])}{hint}")
    for name, size in zip(_dimensions(tensor), shape, strict=True):
        if not name.isdecimal() and name != "?" and sizes.setdefault(name, size) != size:
            raise ValueError(f"{option}: {name} is {size} here and {sizes[name]} in an input before")
    return shape


def _admits(dimension: int, size: int) -> bool:
    return size >= 0 and dimension in (-1, size)


def _dimensions(tensor: Any) -> list[str]:
    """Each dimension as a number, a name, or "?"."""
    shape = tuple(tensor.shape)
    return [str(size) if size >= 0 else tensor.get_dimension_name(axis) or "?" for axis, size in enumerate(shape)]


def listing(tensors: Iterable[Any]) -> str:
    """Tensors with their dtypes and sizes, as the file has them."""
    return ", ".join(
        f"{tensor.name!r}: {name_of(to_torch(tensor.dtype))}[{', '.join(_dimensions(tensor))}]" for tensor in tensors
    )
