"""How a graph's weights follow from the parameters and buffers of the module that it was made of.

What is written down are the operators that computed them, with memory as it is: a tensor is a part of a storage, views
are other parts of the same one, and an operator that writes changes what later ones read.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch._ops import OpOverload

from trtconv.errors import WeightsError
from trtconv.graph.data import Graph, Layer, Part

_aten = torch.ops.aten


@dataclasses.dataclass(frozen=True)
class Source:
    """A parameter or buffer: its name in the module, and where its values lie.

    ``value`` is what it was where a state dict doesn't have it, as it doesn't have buffers that aren't persistent.
    """

    name: str
    part: Part
    value: torch.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """An operator of ATen's that was run, as "add.Tensor": its arguments, `Part`s for tensors, and for each tensor of
    its result where that lies, None where it is a view of an argument."""

    operator: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[Part | None, ...]


@dataclasses.dataclass(frozen=True)
class Program:
    """What computes weights anew.

    Attributes:
        sources: The parameters and buffers that it reads.
        unused: Names of others that the module has.
        literals: The contents of storages, as bytes, that were neither read from the module nor computed.
        sizes: The bytes of the storages in which sources lie.
        steps: The operators, in order.
        reads: What Python read of tensors that depend on sources, and decided by.
    """

    sources: tuple[Source, ...]
    unused: tuple[str, ...]
    literals: Mapping[int, torch.Tensor]
    sizes: Mapping[int, int]
    steps: tuple[Step, ...]
    reads: tuple[tuple[Part, torch.Tensor], ...]


def with_weights(graph: Graph, weights: Mapping[str, torch.Tensor]) -> Graph:
    """The graph with new values of its parameters and buffers, by their names in the module that it was made of.

    Raises:
        WeightsError: the graph doesn't know how its weights follow from the module's; a name is unknown or missing; a
            tensor has another shape; or the layers themselves depend on values that differ now.
    """
    program = graph.program
    if program is None:
        raise WeightsError(
            "it isn't known how the weights of this network follow from those of a module: it was saved by an older "
            "trtconv, or made of an ONNX file with graphs inside of its nodes; convert again"
        )
    compute = _Computation(program, weights, [part for layer in graph.layers for part in layer.recipes.values()])

    def renewed(layer: Layer) -> Layer:
        new = {name: compute.tensor(part) for name, part in layer.recipes.items()}
        for name, value in new.items():
            old = layer.attributes[name]
            new[name] = value.reshape(old.shape).to(old.dtype)
            if old.dtype is not value.dtype and not torch.equal(
                new[name].isfinite(), value.reshape(old.shape).isfinite()
            ):
                raise WeightsError(
                    f"weights of {layer} leave the range of {old.dtype}, to which it rounds them: convert again"
                )
        return dataclasses.replace(layer, attributes={**layer.attributes, **new})

    return dataclasses.replace(graph, layers=tuple(map(renewed, graph.layers)))


class _Computation:
    """One run of a program; storages that nothing needs any more are let go."""

    def __init__(self, program: Program, weights: Mapping[str, torch.Tensor], results: Iterable[Part]) -> None:
        self._storages: dict[int, torch.UntypedStorage] = {
            key: value.clone().untyped_storage() for key, value in program.literals.items()
        }
        self._load(program, weights)
        last = {part.storage: len(program.steps) for part in (*results, *(part for part, _ in program.reads))}
        for number, step in enumerate(program.steps):
            for part in parts_in((step.args, step.kwargs, step.outputs)):
                last[part.storage] = max(last.get(part.storage, 0), number)
        ends: dict[int, list[int]] = {}
        for storage, number in last.items():
            ends.setdefault(number, []).append(storage)
        with torch.no_grad():
            for number, step in enumerate(program.steps):
                self._run(step)
                for storage in ends.get(number, ()):
                    self._storages.pop(storage, None)
        for part, value in program.reads:
            if not _is_equal(self.tensor(part), value):
                raise WeightsError(
                    "the layers of this network depend on values that are others now: Python read them while the "
                    f"module was converted ({list(value.shape)} elements); convert the module again"
                )

    def _load(self, program: Program, weights: Mapping[str, torch.Tensor]) -> None:
        _check_names(program, weights)
        for source in program.sources:
            given = weights.get(source.name, source.value)
            assert given is not None  # the names are checked
            part = source.part
            if tuple(given.shape) != part.shape:
                raise WeightsError(f"{source.name} has shape {list(given.shape)}; it was {list(part.shape)}")
            value = given.detach().to("cpu", part.dtype)
            known = self._storages.get(part.storage)
            if known is None and _fills(value, part, program.sizes[part.storage]):
                self._storages[part.storage] = value.untyped_storage()
                continue
            if known is None:
                known = torch.zeros(program.sizes[part.storage], dtype=torch.uint8).untyped_storage()
                self._storages[part.storage] = known
                for other in program.sources:
                    if other.part.storage == part.storage and (other.name in weights or other.value is not None):
                        values = weights.get(other.name, other.value)
                        self.tensor(other.part).copy_(values)  # type: ignore[arg-type]  # one of them is there
            if not _is_equal(self.tensor(part), value):
                raise WeightsError(f"{source.name} shares its memory with another of the module's weights, and differs")

    def tensor(self, part: Part) -> torch.Tensor:
        """The tensor that a part is."""
        result = torch.empty(0, dtype=part.dtype)
        result.set_(self._storages[part.storage], part.offset, part.shape, part.stride)
        if part.is_conjugate:
            result = result.conj()
        return torch._neg_view(result) if part.is_negative else result

    def _run(self, step: Step) -> None:
        args, kwargs = map_parts(self.tensor, (step.args, step.kwargs))
        results = _leaves(operator(step.operator)(*args, **kwargs), torch.Tensor, [])
        for result, part in zip(results, step.outputs, strict=True):
            if part is not None:
                if tuple(result.shape) != part.shape:
                    raise WeightsError(f"{step.operator} gives {list(result.shape)} now; it gave {list(part.shape)}")
                self._storages[part.storage] = _laid_out(result, part).untyped_storage()


def _laid_out(value: torch.Tensor, part: Part) -> torch.Tensor:
    """A tensor with the strides and the offset of a part."""
    if value.stride() == part.stride and value.storage_offset() == part.offset:
        return value
    extent = part.offset + 1 + sum((n - 1) * step for n, step in zip(part.shape, part.stride, strict=True))
    return torch.empty(max(extent, 0), dtype=part.dtype).as_strided(part.shape, part.stride, part.offset).copy_(value)


def _check_names(program: Program, weights: Mapping[str, torch.Tensor]) -> None:
    used = {source.name for source in program.sources}
    unknown = [name for name in weights if name not in used and name not in program.unused]
    if unknown:
        raise WeightsError(f"the module that was converted has no {', '.join(map(repr, unknown[:5]))}")
    missing = [source.name for source in program.sources if source.value is None and source.name not in weights]
    if missing:
        raise WeightsError(f"values of {', '.join(map(repr, missing[:5]))} are missing")


def _fills(value: torch.Tensor, part: Part, size: int) -> bool:
    """Whether a tensor's own storage can be taken for a part's."""
    layout = value.stride(), value.storage_offset(), value.untyped_storage().nbytes()
    return layout == (part.stride, part.offset, size) and not (part.is_conjugate or value.is_conj() or value.is_neg())


def _is_equal(value: torch.Tensor, other: torch.Tensor) -> bool:
    return value.shape == other.shape and torch.equal(torch.nan_to_num(value), torch.nan_to_num(other.to(value.dtype)))


def parts_in(structure: Any) -> list[Part]:
    """The parts in nested containers."""
    return _leaves(structure, Part, [])


def _leaves(structure: Any, kind: type, found: list[Any]) -> list[Any]:
    """The values of a kind in nested containers, added to what was found so far."""
    if isinstance(structure, kind):
        found.append(structure)
    elif isinstance(structure, (tuple, list)):
        for item in structure:
            _leaves(item, kind, found)
    elif isinstance(structure, dict):
        for item in structure.values():
            _leaves(item, kind, found)
    return found


def map_parts(function: Callable[[Part], Any], structure: Any) -> Any:
    """Replace each part in nested containers by `function(part)`."""
    if isinstance(structure, Part):
        return function(structure)
    if isinstance(structure, (tuple, list)):
        return type(structure)([map_parts(function, item) for item in structure])
    if isinstance(structure, Mapping):
        return {key: map_parts(function, item) for key, item in structure.items()}
    return structure


# -- saving ---------------------------------------------------------------------------------------


def to_json(program: Program, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A program as plain data, and its tensors by names of their own."""

    def stored(key: str, value: torch.Tensor) -> str:
        tensors[f"recipes.{key}"] = value.contiguous()
        return f"recipes.{key}"

    return {
        "sources": [
            [each.name, encode(each.part), each.value if each.value is None else stored(f"source_{number}", each.value)]
            for number, each in enumerate(program.sources)
        ],
        "unused": program.unused,
        "literals": {key: stored(f"literal_{key}", value) for key, value in program.literals.items()},
        "sizes": dict(program.sizes),
        "steps": [
            [each.operator, encode(each.args), encode(dict(each.kwargs)), encode(each.outputs)]
            for each in program.steps
        ],
        "reads": [
            [encode(part), stored(f"read_{number}", value)] for number, (part, value) in enumerate(program.reads)
        ],
    }


def from_json(state: Any, tensors: Mapping[str, torch.Tensor]) -> Program:
    """The inverse of `to_json`.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: the data is damaged.
    """
    return Program(
        tuple(Source(name, decode(part), key and tensors[key]) for name, part, key in state["sources"]),
        tuple(map(str, state["unused"])),
        {int(key): tensors[name] for key, name in state["literals"].items()},
        {int(key): int(size) for key, size in state["sizes"].items()},
        tuple(_step(*each) for each in state["steps"]),
        tuple((decode(part), tensors[key]) for part, key in state["reads"]),
    )


def _step(name: str, *rest: Any) -> Step:
    operator(name)  # which sees that it is one
    return Step(name, *map(decode, rest))


@functools.cache
def operator(name: str) -> OpOverload:
    """An ATen operator by its name, none that reads files.

    Raises:
        AttributeError, ValueError: there is no such operator.
    """
    packet, _, overload = name.partition(".")
    if not packet.isidentifier() or not overload.isidentifier() or packet.startswith("__"):
        raise ValueError(f"{name!r} is no operator")
    found = getattr(getattr(_aten, packet), overload)
    if not isinstance(found, OpOverload) or any(each.name == "filename" for each in found._schema.arguments):
        raise ValueError(f"{name!r} is no operator of tensors")
    return found


_DTYPES = {str(value).removeprefix("torch."): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_CONSTANTS = {
    str(value): value for value in (torch.strided, torch.contiguous_format, torch.preserve_format, torch.channels_last)
}


def encode(value: Any) -> Any:
    """An argument as JSON has it.

    Raises:
        TypeError: it is of no known kind.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"float": repr(value)}
        case complex():
            return {"complex": [repr(value.real), repr(value.imag)]}
        case Part():
            return {"part": [str(value.dtype).removeprefix("torch."), *value[1:]]}
        case torch.dtype():
            return {"dtype": str(value).removeprefix("torch.")}
        case torch.device():
            return {"device": "cpu"}
        case tuple() | list():
            return [encode(item) for item in value]
        case dict():
            return {"dict": {str(key): encode(item) for key, item in value.items()}}
    if str(value) in _CONSTANTS:
        return {"constant": str(value)}
    raise TypeError(f"{value!r}, of type {type(value).__name__}, can't be saved")


def decode(value: Any) -> Any:
    """The inverse of `encode`; sequences come back as tuples, but as lists inside of arguments operators take both."""
    if isinstance(value, list):
        return tuple(map(decode, value))
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "float":
            return float(content)
        case "complex":
            return complex(*map(float, content))
        case "part":
            dtype, storage, shape, stride, *rest = content
            return Part(_DTYPES[dtype], storage, tuple(shape), tuple(stride), *rest)
        case "dtype":
            return _DTYPES[content]
        case "device":
            return torch.device("cpu")
        case "constant":
            return _CONSTANTS[content]
        case "dict":
            return {str(key): decode(item) for key, item in content.items()}
    raise ValueError(f"{kind!r} is nothing that a recipe is made of")
