"""What capture returns: the calls of one forward pass, in order.

Tensors stand for themselves: an activation is the fake tensor that carried it through the forward
pass (its shape and dtype are the activation's), a constant is a real tensor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from trtconv.capture.names import canonical_name
from trtconv.dtypes import name_of
from trtconv.places import Origin

Target: TypeAlias = Callable[..., Any]
"""What was called: a Python or C function of torch, a function of the user's, or an ATen overload."""

DependsOnInput: TypeAlias = Callable[[torch.Tensor], bool]
"""Tells whether a tensor that the code sees depends on an input."""


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call: `target(*args, **kwargs)` gave `output`.

    `args`, `kwargs` and `output` hold tensors wherever the call had them, nested as in the call.
    """

    target: Target
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    origin: Origin

    def input_tensors(self) -> list[torch.Tensor]:
        """The tensors among the arguments, activations and constants, in order."""
        return tensors_in((self.args, self.kwargs))

    def output_tensors(self) -> list[torch.Tensor]:
        """The tensors among the results, in order."""
        return tensors_in(self.output)

    def with_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """The same call with other arguments."""
        return dataclasses.replace(self, args=args, kwargs=kwargs)


@dataclasses.dataclass
class Trace:
    """The forward pass as a list of calls without side effects, each tensor written once.

    Attributes:
        inputs: One fake tensor for each input tensor.
        outputs: The results: activations, inputs or constants.
        calls: The calls that the outputs need, in the order in which they were made.
    """

    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    calls: list[Call]

    def consumers(self) -> dict[int, list[Call]]:
        """For each tensor, by id, the calls that read it."""
        result: dict[int, list[Call]] = {}
        for call in self.calls:
            for tensor in call.input_tensors():
                readers = result.setdefault(id(tensor), [])
                if not readers or readers[-1] is not call:
                    readers.append(call)
        return result


def describe(call: Call) -> str:
    """A call as an error shows it: its function, and what it was given."""
    given = [f"{name_of(t.dtype)}{list(t.shape)}" for t in call.input_tensors()]
    target = str(call.target) if isinstance(call.target, OpOverload) else canonical_name(call.target)
    name = call.origin.function or target
    inner = f" (as {target})" if call.origin.function.rpartition(".")[2] not in target else ""
    return f"{name}({', '.join(given)}){inner}"


def live_calls(calls: Sequence[Call], outputs: Iterable[torch.Tensor]) -> list[Call]:
    """The calls that these outputs need, in the order in which they were made."""
    needed = {id(tensor) for tensor in outputs}
    live: list[Call] = []
    for call in reversed(calls):
        if needed.isdisjoint(id(tensor) for tensor in call.output_tensors()):
            continue
        needed.update(id(tensor) for tensor in call.input_tensors())
        live.append(call)
    return live[::-1]


def is_reached(tensor: torch.Tensor, calls: Sequence[Call], inputs: Iterable[torch.Tensor]) -> bool:
    """Tell whether one of the inputs is behind a tensor; behind all others that calls make are random numbers."""
    behind = {id(tensor), *(id(each) for call in live_calls(calls, [tensor]) for each in call.input_tensors())}
    return not behind.isdisjoint(map(id, inputs))


def bind(target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call of an ATen overload by the names of its schema, defaults filled in."""
    if not isinstance(target, OpOverload):
        raise TypeError(f"{target} is no ATen overload")
    bound: dict[str, Any] = {}
    for position, argument in enumerate(target._schema.arguments):
        if position < len(args) and not argument.kwarg_only:
            bound[argument.name] = args[position]
        elif argument.name in kwargs:
            bound[argument.name] = kwargs[argument.name]
        else:
            bound[argument.name] = argument.default_value
    return bound


def is_activation(value: object) -> bool:
    """Tell whether a value of a trace depends on an input."""
    return isinstance(value, FakeTensor)


def is_constant(value: object) -> bool:
    """Tell whether a value of a trace is a tensor that depends on no input."""
    return isinstance(value, torch.Tensor) and not is_activation(value)


def is_plain(value: torch.Tensor) -> bool:
    """Tell whether a tensor is of no subclass with ways of its own to keep values: quantized weights, for one."""
    return type(value) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


def tensors_in(structure: Any) -> list[torch.Tensor]:
    """The tensors in nested lists, tuples and dicts, in order."""
    result: list[torch.Tensor] = []
    _collect(structure, result)
    return result


def _collect(structure: Any, result: list[torch.Tensor]) -> None:
    if type(structure) in _ATOMS:
        return
    if isinstance(structure, torch.Tensor):
        result.append(structure)
    elif isinstance(structure, (tuple, list)):
        for item in structure:
            _collect(item, result)
    elif isinstance(structure, dict):
        for item in structure.values():
            _collect(item, result)


def map_tensors(function: Callable[[torch.Tensor], Any], structure: Any) -> Any:
    """Replace each tensor in nested containers by `function(tensor)`."""
    # Each call of a forward pass comes here several times; torch's pytree is ten times as slow.
    kind = type(structure)
    if isinstance(structure, torch.Tensor):
        return function(structure)
    if kind in _ATOMS:
        return structure
    if kind is tuple:
        return tuple([map_tensors(function, item) for item in structure])
    if kind is list:
        return [map_tensors(function, item) for item in structure]
    if kind is dict:
        return {key: map_tensors(function, item) for key, item in structure.items()}
    return pytree.tree_map_only(torch.Tensor, function, structure)


_ATOMS = frozenset(
    {int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size, slice}
)

__all__ = [
    "Call",
    "Origin",
    "Target",
    "Trace",
    "bind",
    "describe",
    "is_activation",
    "is_constant",
    "is_plain",
    "live_calls",
    "map_tensors",
    "tensors_in",
]
