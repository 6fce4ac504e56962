"""How a converted module is called: the names, shapes and nesting of its arguments and results."""

from __future__ import annotations

import dataclasses
import functools
import keyword
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trtconv.calling.arguments import Parameter, Parameters
from trtconv.calling.misfits import label, misfit_of_arguments, misfit_of_relation, misfit_of_tensor
from trtconv.calling.signature_text import as_text
from trtconv.calling.structure import (
    LEAF,
    Nesting,
    Structure,
    TensorIndex,
    paths_of_leaves,
    same_value,
    shown_path,
    take_apart,
)
from trtconv.dtypes import engine_dtype, name_of, of_name
from trtconv.errors import InputError
from trtconv.sizes.ranges import Range, Relation, from_json, ranges_in, to_json


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or output tensor of a plan.

    Attributes:
        name: Its name in the engine.
        dtype: Its torch dtype.
        shape: Its sizes; a `Range` where the size of an input may vary, a `Relation` where it follows from others, the
            expression that a size of an output follows from.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int | Range | Relation | str, ...]

    def __str__(self) -> str:
        return f"{name_of(self.dtype)}[{', '.join(map(str, self.shape))}]"

    @functools.cached_property
    def is_static(self) -> bool:
        """Whether all sizes are numbers."""
        return all(isinstance(size, int) for size in self.shape)

    @property
    def engine_shape(self) -> tuple[int | Range | Relation | str, ...]:
        """The sizes that the engine has: behind those of a complex tensor the two parts."""
        return (*self.shape, 2) if self.dtype.is_complex else self.shape

    def admits(self, tensor: Any, sizes: dict[str, int]) -> bool:
        """Tell whether a tensor fits by itself; `sizes` keeps the sizes of ranges from tensor to tensor."""
        if not isinstance(tensor, torch.Tensor) or tensor.dtype is not self.dtype:
            return False
        if self.is_static:
            return tensor.shape == self.shape
        return tensor.dim() == len(self.shape) and all(
            size in allowed and sizes.setdefault(allowed.name, size) == size
            if isinstance(allowed, Range)
            # Relations are checked when all sizes are known; a text stands for a size that the engine itself checks.
            else size == allowed or isinstance(allowed, (Relation, str))
            for size, allowed in zip(tensor.shape, self.shape, strict=True)
        )

    def to_json(self) -> list[Any]:
        """The specification as JSON values."""
        return [self.name, name_of(self.dtype), list(map(to_json, self.shape))]

    @staticmethod
    def from_json(data: list[Any]) -> TensorSpec:
        """The inverse of `to_json`."""
        name, dtype, shape = data
        return TensorSpec(name, of_name(dtype), tuple(map(from_json, shape)))


@dataclasses.dataclass(frozen=True, repr=False)
class Signature:
    """How a converted module is called, and what it returns; printed, it says what sizes are allowed.

    Attributes:
        parameters: Those of the module's forward.
        arguments: The nesting of (args, kwargs), with the defaults of what wasn't given.
        inputs: The input tensors, in the order of `arguments`.
        result: The nesting of the result.
        outputs: The output tensors: those of the result, then the new contents of `written_inputs`.
        written_inputs: Which of `taken` the module writes to.
        is_of_forward: Whether a module's forward was converted, of which other sizes can be asked for.
        state: The buffers that calls read and write, with their names in the module.
    """

    parameters: Parameters
    arguments: Structure
    inputs: tuple[TensorSpec, ...]
    result: Structure
    outputs: tuple[TensorSpec, ...]
    written_inputs: tuple[int, ...]
    is_of_forward: bool = True
    state: tuple[TensorSpec, ...] = ()

    @staticmethod
    def of_tensors(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Signature:
        """The signature of what takes tensors in order and returns one tensor, or a tuple of several.

        Tensors can be passed by name too, where their names can be parameters of a Python function.
        """
        kind = "POSITIONAL_OR_KEYWORD" if all(_is_parameter(spec.name) for spec in inputs) else "POSITIONAL_ONLY"
        return Signature(
            parameters=Parameters(
                tuple(
                    Parameter(spec.name if kind == "POSITIONAL_OR_KEYWORD" else f"input_{index}", kind)
                    for index, spec in enumerate(inputs)
                )
            ),
            arguments=Structure(_positional(len(inputs)), tuple(map(TensorIndex, range(len(inputs))))),
            inputs=tuple(inputs),
            result=Structure.of_tensors(len(outputs), single=len(outputs) == 1),
            outputs=tuple(outputs),
            written_inputs=(),
            is_of_forward=False,
        )

    @property
    def taken(self) -> tuple[TensorSpec, ...]:
        """All that the engine reads: the input tensors, then the state."""
        return (*self.inputs, *self.state)

    @functools.cached_property
    def writes_to_arguments(self) -> bool:
        """Whether the module writes to tensors that a call gives it."""
        return any(place < len(self.inputs) for place in self.written_inputs)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
        """The input tensors of a call, checked against what the plan was built for.

        Raises:
            TypeError: the arguments don't fit the module's forward.
            InputError: a tensor is missing or too much, or has another shape or dtype.
        """
        # The common case, without kwargs, is decided by counting.
        tensors = list(args) if not kwargs and len(args) == self.leading else self.tensors_of(args, kwargs)
        sizes: dict[str, int] = {}
        for index, (spec, tensor) in enumerate(zip(self.inputs, tensors, strict=True)):
            if spec.admits(tensor, sizes):
                continue
            if index not in self.written_inputs:
                tensors[index] = _autocast(tensor, spec)
            if not spec.admits(tensors[index], sizes):
                self.tensors_of(args, kwargs)
                raise self._misfit(tensors)
        if self.relations:
            self._check_relations(tensors, sizes)
        if len(self.profiles) > 1:
            self._check_profiles(sizes)
        return tensors

    def __repr__(self) -> str:
        return as_text(self)

    def settle(self) -> Signature:
        """Work out now what is kept once known, for tracers that can't look into that; return itself."""
        _ = self.profiles, self.relations, self.leading, self.is_cast
        _ = self.returns_one_tensor, self.writes_to_arguments
        _ = [spec.is_static for spec in (*self.taken, *self.outputs)]
        _ = [relation.function for _, _, relation in self.relations]
        return self

    def device_of(self, tensors: Sequence[torch.Tensor]) -> torch.device:
        """The one device that all input tensors are on; the CPU where there are none.

        Raises:
            InputError: they are on several.
        """
        device = tensors[0].device if tensors else torch.device("cpu")
        for index, tensor in enumerate(tensors):
            if tensor.device != device:
                raise InputError(
                    f"{label(self, index)} is on {tensor.device}, {label(self, 0)} on {device}; all inputs have to be "
                    "on one device: a GPU that TensorRT supports, or the CPU"
                )
        return device

    def check_written(self, tensors: Sequence[torch.Tensor]) -> None:
        """Raise `InputError` if an input that the module writes to shares memory with another."""
        spans = [memory_of(tensor) for tensor in tensors]
        for place in [each for each in self.written_inputs if each < len(tensors)]:
            for other, (start, stop) in enumerate(spans):
                if other != place and spans[place][0] < stop and start < spans[place][1]:
                    raise InputError(
                        f"the module writes to {self.place(place)!r}, which shares memory with {self.place(other)!r}; "
                        "the inputs of a converted module don't see one another's writes: pass a clone() of one of them"
                    )

    def write_back(self, tensors: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> None:
        """Give what the module writes to, among what the engine took, its new contents: the last of its outputs."""
        for place, new in zip(reversed(self.written_inputs), reversed(outputs), strict=False):
            if new is not tensors[place]:
                tensors[place].copy_(new)

    def place(self, index: int) -> str:
        """Where in a call of the module's forward an input tensor stands: "mask", "pair['b'][0]"."""
        return shown_path(self.path(index))

    def path(self, index: int) -> tuple[Any, ...]:
        """The name of the parameter that takes an input tensor, and the keys in what that is given."""
        return self._paths[index]

    @functools.cached_property
    def _paths(self) -> tuple[tuple[Any, ...], ...]:
        tensor = torch.empty(0)  # objects are taken apart where they hold tensors and plain values only
        paths = paths_of_leaves(self.parameters.named(*self.arguments.fill([tensor] * len(self.inputs))))
        return tuple(path for path, leaf in paths if leaf is tensor)

    @functools.cached_property
    def profiles(self) -> tuple[Mapping[str, tuple[int, int, int]], ...]:
        """For each optimization profile the limits of the dynamic sizes by name."""
        count = max((len(limits.profiles) for limits in self.ranges.values()), default=1)
        return tuple({name: limits.profiles[i] for name, limits in self.ranges.items()} for i in range(count))

    @property
    def ranges(self) -> dict[str, Range]:
        """The dynamic sizes by name."""
        return {limits.name: limits for limits in ranges_in(spec.shape for spec in self.inputs)}

    @functools.cached_property
    def relations(self) -> tuple[tuple[int, int, Relation], ...]:
        """The inputs, with their dimensions, whose sizes follow from others."""
        return tuple(
            (index, dim, size)
            for index, spec in enumerate(self.inputs)
            for dim, size in enumerate(spec.shape)
            if isinstance(size, Relation)
        )

    def _check_relations(self, tensors: Sequence[torch.Tensor], sizes: dict[str, int]) -> None:
        """See that sizes follow from others as they have to; `sizes` gets those that no dimension has by itself."""
        for index, dim, relation in self.relations:
            if len(relation.of) == 1 and relation.of[0].name not in sizes:
                solved = relation.solved(tensors[index].shape[dim])
                if solved is None or solved not in relation.of[0]:
                    raise misfit_of_relation(self, index, dim, tensors[index], sizes)
                sizes[relation.of[0].name] = solved
        for index, dim, relation in self.relations:
            if relation.at(sizes) != tensors[index].shape[dim]:
                raise misfit_of_relation(self, index, dim, tensors[index], sizes)

    def _check_profiles(self, sizes: Mapping[str, int]) -> None:
        if any(all(low <= sizes[n] <= high for n, (low, _, high) in profile.items()) for profile in self.profiles):
            return
        shown = "; ".join(
            ", ".join(f"{name} {low} to {high}" for name, (low, _, high) in profile.items())
            for profile in self.profiles
        )
        came = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        raise InputError(f"no optimization profile has the sizes {came}; the module was converted for: {shown}")

    @functools.cached_property
    def is_cast(self) -> bool:
        """Whether tensors have a dtype for the caller that the engine has another one for."""
        return any(spec.dtype is not engine_dtype(spec.dtype) for spec in (*self.taken, *self.outputs))

    @functools.cached_property
    def returns_one_tensor(self) -> bool:
        """Whether the result is the first output, in no container."""
        return self.result.nesting.kind == "leaf" and self.result.leaves == (TensorIndex(0),)

    @functools.cached_property
    def leading(self) -> int:
        """The number of tensors that are a call by themselves, the first arguments; -1 if there is no such call."""
        tensors = [torch.empty(0)] * len(self.inputs)
        try:
            called = self.parameters.with_defaults(tensors, {})
        except TypeError:
            return -1
        in_order = [leaf.index for leaf in self.arguments.leaves if isinstance(leaf, TensorIndex)]
        fits = self._matches(*take_apart(called)) and in_order == list(range(len(tensors)))
        return len(tensors) if fits else -1

    def tensors_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
        """The tensors of a call, in the order of `inputs`, whatever their shapes and dtypes.

        Raises: as `bind`, for arguments that aren't nested as those of the conversion.
        """
        bound = self.parameters.with_defaults(args, kwargs)
        leaves, nesting = take_apart(bound, self.arguments.nesting)
        if not self._matches(leaves, nesting):
            raise misfit_of_arguments(self, *bound)
        pairs = zip(leaves, self.arguments.leaves, strict=True)
        return [leaf for leaf, expected in pairs if isinstance(expected, TensorIndex)]

    def _matches(self, leaves: list[Any], nesting: Nesting) -> bool:
        """Whether arguments are nested as those of the conversion, tensors and equal values where it had them."""
        return nesting == self.arguments.nesting and all(
            isinstance(leaf, torch.Tensor) if isinstance(expected, TensorIndex) else same_value(leaf, expected)
            for leaf, expected in zip(leaves, self.arguments.leaves, strict=True)
        )

    def _misfit(self, tensors: Sequence[torch.Tensor]) -> InputError:
        """Why tensors, of which one doesn't fit, are refused."""
        sizes: dict[str, int] = {}
        for index, (spec, tensor) in enumerate(zip(self.inputs, tensors, strict=True)):
            before = dict(sizes)
            if not spec.admits(tensor, sizes):
                return misfit_of_tensor(self, index, tensor, before)
        return InputError("the arguments don't fit those that the module was converted with")

    def to_json(self) -> dict[str, Any]:
        """The signature as JSON values."""
        return {
            "parameters": [each.to_json() for each in self.parameters.all],
            "arguments": self.arguments.to_json(),
            "inputs": [spec.to_json() for spec in self.inputs],
            "result": self.result.to_json(),
            "outputs": [spec.to_json() for spec in self.outputs],
            "written_inputs": self.written_inputs,
            "is_of_forward": self.is_of_forward,
            "state": [spec.to_json() for spec in self.state],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Signature:
        """The inverse of `to_json`."""
        return Signature(
            parameters=Parameters(tuple(map(Parameter.from_json, data["parameters"]))),
            arguments=Structure.from_json(data["arguments"]),
            inputs=tuple(map(TensorSpec.from_json, data["inputs"])),
            result=Structure.from_json(data["result"]),
            outputs=tuple(map(TensorSpec.from_json, data["outputs"])),
            written_inputs=tuple(data["written_inputs"]),
            is_of_forward=data.get("is_of_forward", True),
            state=tuple(map(TensorSpec.from_json, data.get("state", ()))),
        )


_AUTOCAST = (torch.float32, torch.float16, torch.bfloat16)


def _autocast(tensor: Any, spec: TensorSpec) -> Any:
    """An input of another of autocast's dtypes, which comes from a parent under autocast, in that which is taken."""
    if not isinstance(tensor, torch.Tensor) or tensor.dtype not in _AUTOCAST or spec.dtype not in _AUTOCAST:
        return tensor
    return tensor.to(spec.dtype) if torch.is_autocast_enabled(tensor.device.type) else tensor


def memory_of(tensor: torch.Tensor) -> tuple[int, int]:
    """The first address of a tensor's memory, and that after its last."""
    if not tensor.numel():
        return 0, 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _is_parameter(name: str) -> bool:
    """Whether a method can have a parameter of this name beside `self`."""
    return name.isidentifier() and not keyword.iskeyword(name) and name != "self"


def _positional(count: int) -> Nesting:
    """The nesting of (args, kwargs) where all arguments are positional and none is nested."""
    return Nesting("tuple", tuple, children=(Nesting("tuple", tuple, children=(LEAF,) * count), Nesting("dict", dict)))
