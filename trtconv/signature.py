"""How a converted module is called: the names, shapes and nesting of its arguments and results."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import keyword
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trtconv.dtypes import engine_dtype, name_of
from trtconv.dynamic import Range
from trtconv.errors import InputError
from trtconv.structure import LEAF, Nesting, Structure, TensorIndex, paths_of_leaves, shown_path, take_apart


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or output tensor of a plan.

    Attributes:
        name: Its name in the engine.
        dtype: Its torch dtype.
        shape: Its sizes; a `Range` where the size of an input may vary, the expression that a size of
            an output follows from.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int | Range | str, ...]

    def __str__(self) -> str:
        return f"{name_of(self.dtype)}[{', '.join(map(str, self.shape))}]"

    @functools.cached_property
    def is_static(self) -> bool:
        """Whether all sizes are numbers."""
        return all(isinstance(size, int) for size in self.shape)

    def check(self, tensor: Any, sizes: dict[str, int]) -> None:
        """Raise `InputError` unless a tensor fits; `sizes` keeps the sizes of ranges from tensor to tensor."""
        if not isinstance(tensor, torch.Tensor):
            raise InputError(f"input {self.name!r} is a {type(tensor).__name__}; it has to be a tensor {self}")
        fits = tensor.shape == self.shape if self.is_static else tensor.dim() == len(self.shape)
        if not fits or tensor.dtype is not self.dtype:
            came = f"{name_of(tensor.dtype)}{list(tensor.shape)}"
            raise InputError(f"input {self.name!r} is {came}; the module was converted for {self}")
        if self.is_static:
            return
        for dim, (size, allowed) in enumerate(zip(tensor.shape, self.shape, strict=True)):
            if isinstance(allowed, Range):
                fits = size in allowed and sizes.setdefault(allowed.name, size) == size
            else:  # a text stands for a size that the engine itself checks
                fits = size == allowed or isinstance(allowed, str)
            if not fits:
                raise InputError(
                    f"input {self.name!r} has size {size} in dimension {dim}, of {list(tensor.shape)}; the module was "
                    f"converted for {self._allowed(allowed, sizes)}"
                )

    @staticmethod
    def _allowed(size: int | Range | str, sizes: dict[str, int]) -> str:
        if not isinstance(size, Range):
            return str(size)
        known = sizes.get(size.name)
        within = f"{size.min} to {size.max}" + (f" in steps of {size.multiple_of}" if size.multiple_of > 1 else "")
        return within if known is None else f"{within}, and the other inputs have {size.name} = {known}"

    def to_json(self) -> list[Any]:
        """The specification as JSON values."""
        sizes = [dataclasses.asdict(size) if isinstance(size, Range) else size for size in self.shape]
        return [self.name, name_of(self.dtype), sizes]

    @staticmethod
    def from_json(data: list[Any]) -> TensorSpec:
        """The inverse of `to_json`."""
        name, dtype, shape = data
        sizes = tuple(_range_from_json(size) if isinstance(size, dict) else size for size in shape)
        return TensorSpec(name, getattr(torch, dtype), sizes)


def _range_from_json(data: Mapping[str, Any]) -> Range:
    return Range(data["name"], tuple((low, best, high) for low, best, high in data["profiles"]), data["multiple_of"])


@dataclasses.dataclass(frozen=True)
class Signature:
    """How a converted module is called, and what it returns.

    Attributes:
        parameters: (name, kind, has a default) of each parameter of the module's forward.
        arguments: The nesting of (args, kwargs).
        inputs: The input tensors, in the order of `arguments`.
        result: The nesting of the result.
        outputs: The output tensors: those of the result, then the new contents of `written_inputs`.
        written_inputs: Which inputs the module writes to.
    """

    parameters: tuple[tuple[str, str, bool], ...]
    arguments: Structure
    inputs: tuple[TensorSpec, ...]
    result: Structure
    outputs: tuple[TensorSpec, ...]
    written_inputs: tuple[int, ...]

    @staticmethod
    def of_tensors(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Signature:
        """The signature of what takes tensors in order and returns one tensor, or a tuple of several.

        Tensors can be passed by name too, where their names can be parameters of a Python function.
        """
        kind = "POSITIONAL_OR_KEYWORD" if all(_is_parameter(spec.name) for spec in inputs) else "POSITIONAL_ONLY"
        return Signature(
            parameters=tuple(
                (spec.name if kind == "POSITIONAL_OR_KEYWORD" else f"input_{index}", kind, False)
                for index, spec in enumerate(inputs)
            ),
            arguments=Structure(_positional(len(inputs)), tuple(map(TensorIndex, range(len(inputs))))),
            inputs=tuple(inputs),
            result=Structure.of_tensors(len(outputs), single=len(outputs) == 1),
            outputs=tuple(outputs),
            written_inputs=(),
        )

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
        """The input tensors of a call, checked against what the plan was built for.

        Raises:
            TypeError: the arguments don't fit the module's forward.
            InputError: a tensor is missing or too much, or has another shape or dtype.
        """
        # The common case, without kwargs, is decided by counting.
        if not kwargs and self._flat and len(args) == len(self.inputs):
            tensors = list(args)
        else:
            args, kwargs = bind_arguments(self.parameters, args, kwargs)
            tensors = self._flatten(args, kwargs)
        sizes: dict[str, int] = {}
        for spec, tensor in zip(self.inputs, tensors, strict=True):
            spec.check(tensor, sizes)
        if len(self.profiles) > 1:
            self._check_profiles(sizes)
        return tensors

    def check_written(self, tensors: Sequence[torch.Tensor]) -> None:
        """Raise `InputError` if an input that the module writes to shares memory with another."""
        spans = [_span(tensor) for tensor in tensors]
        for place in self.written_inputs:
            for other, (start, stop) in enumerate(spans):
                if other != place and spans[place][0] < stop and start < spans[place][1]:
                    raise InputError(
                        f"the module writes to {self.place(place)!r}, which shares memory with {self.place(other)!r}; "
                        "the inputs of a converted module don't see one another's writes: pass a clone() of one of them"
                    )

    def place(self, index: int) -> str:
        """Where in a call of the module's forward an input tensor stands: "mask", "pair['b'][0]"."""
        return shown_path(self._places[index])

    @functools.cached_property
    def _places(self) -> tuple[tuple[Any, ...], ...]:
        """For each input the name of its parameter and the keys in what that is given."""
        tensor = object()
        args, kwargs = self.arguments.fill([tensor] * len(self.inputs))
        paths = paths_of_leaves(arguments_by_name(self.parameters, args, kwargs))
        return tuple(path for path, leaf in paths if leaf is tensor)

    @functools.cached_property
    def profiles(self) -> tuple[Mapping[str, tuple[int, int, int]], ...]:
        """For each optimization profile the limits of the dynamic sizes by name."""
        ranges = {size.name: size for spec in self.inputs for size in spec.shape if isinstance(size, Range)}
        count = max((len(limits.profiles) for limits in ranges.values()), default=1)
        return tuple({name: limits.profiles[i] for name, limits in ranges.items()} for i in range(count))

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
        return any(spec.dtype is not engine_dtype(spec.dtype) for spec in (*self.inputs, *self.outputs))

    @functools.cached_property
    def _flat(self) -> bool:
        """Whether the arguments are tensors, all positional and none nested."""
        return self.arguments.nesting == _positional(len(self.inputs))

    def _flatten(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        known = self.arguments.nesting
        leaves, nesting = take_apart((args, kwargs), known)
        if nesting != known:
            raise InputError(
                f"the arguments are nested as {_show(nesting)}; the module was converted for {_show(known)}"
            )
        tensors = []
        for leaf, expected in zip(leaves, self.arguments.leaves, strict=True):
            if isinstance(expected, TensorIndex):
                tensors.append(leaf)
            elif isinstance(leaf, torch.Tensor) or leaf != expected:
                raise InputError(f"an argument is {leaf!r}; the module was converted with {expected!r} in its place")
        return tensors

    def to_json(self) -> dict[str, Any]:
        """The signature as JSON values."""
        return {
            "parameters": self.parameters,
            "arguments": self.arguments.to_json(),
            "inputs": [spec.to_json() for spec in self.inputs],
            "result": self.result.to_json(),
            "outputs": [spec.to_json() for spec in self.outputs],
            "written_inputs": self.written_inputs,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Signature:
        """The inverse of `to_json`."""
        return Signature(
            parameters=tuple((name, kind, optional) for name, kind, optional in data["parameters"]),
            arguments=Structure.from_json(data["arguments"]),
            inputs=tuple(map(TensorSpec.from_json, data["inputs"])),
            result=Structure.from_json(data["result"]),
            outputs=tuple(map(TensorSpec.from_json, data["outputs"])),
            written_inputs=tuple(data["written_inputs"]),
        )


def _span(tensor: torch.Tensor) -> tuple[int, int]:
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


def _show(nesting: Nesting) -> str:
    args, kwargs = nesting.fill(itertools.repeat("*"))
    shown = [repr(arg) for arg in args] + [f"{name}={value!r}" for name, value in kwargs.items()]
    return "(" + ", ".join(shown).replace("'*'", "*") + ")"


def parameters_of(module: torch.nn.Module) -> tuple[tuple[str, str, bool], ...]:
    """The parameters of a module's forward as a `Signature` keeps them."""
    parameters = inspect.signature(module.forward).parameters.values()
    return tuple((p.name, p.kind.name, p.default is not p.empty) for p in parameters)


def arguments_by_name(
    parameters: tuple[tuple[str, str, bool], ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """Bound arguments with the names of the parameters that take them; their tensors are in the order of the call's."""
    named: list[tuple[str, Any]] = []
    for position, (name, kind, _) in enumerate(parameters):
        if kind == "VAR_POSITIONAL":
            named.append((name, args[position:]))
        elif position < len(args) and kind.startswith("POSITIONAL"):
            named.append((name, args[position]))
    return [*named, *kwargs.items()]


def bind_arguments(
    parameters: tuple[tuple[str, str, bool], ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """One form for all ways to pass the same arguments: positional wherever possible."""
    signature = inspect.Signature(
        [
            inspect.Parameter(name, getattr(inspect.Parameter, kind), default=None if optional else inspect._empty)
            for name, kind, optional in parameters
        ]
    )
    bound = signature.bind(*args, **kwargs)
    return bound.args, bound.kwargs
