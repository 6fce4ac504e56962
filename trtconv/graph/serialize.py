"""A graph as JSON and tensors, so that a saved module can run where there is no TensorRT."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trtconv.graph import recipes
from trtconv.graph.data import DataType, Graph, Layer, Live, Site, TensorType
from trtconv.graph.schema import check_layer
from trtconv.places import Origin

_FORMAT = "trtconv.reference.graph"
_VERSION = 3
_READ = (1, 2, 3)
"""In 3 layers have origins and recipes, and tensors symbolic sizes."""


def to_state(graph: Graph) -> tuple[str, dict[str, torch.Tensor]]:
    """Turn a graph into JSON text and the tensors that it refers to by key.

    The tensors are contiguous, and the graph's own, not copies, unless they lie neither by rows nor by columns.
    """
    tensors: dict[str, torch.Tensor] = {}
    layers = []
    origins: dict[Origin, int] = {}
    for index, layer in enumerate(graph.layers):
        attributes = {name: _encode(value, f"{index}.{name}", tensors) for name, value in layer.attributes.items()}
        origin = layer.origin and origins.setdefault(layer.origin, len(origins))
        made_of = {name: recipes.encode(part) for name, part in layer.recipes.items()}
        layers.append([layer.name, layer.type, attributes, layer.inputs, layer.outputs, origin, made_of])
    sites = [[origins.setdefault(each.origin, len(origins)), each.number, each.tensors] for each in graph.sites]
    text = json.dumps(
        {
            "format": _FORMAT,
            "version": _VERSION,
            "inputs": graph.inputs,
            "outputs": graph.outputs,
            "tensors": {name: [kind.dtype.name, kind.shape] for name, kind in graph.tensors.items()},
            "layers": layers,
            "origins": [dataclasses.astuple(origin.elsewhere()) for origin in origins],
            "sizes": graph.sizes,
            "sites": sites,
            "program": graph.program and recipes.to_json(graph.program, tensors),
            "notes": _by_text(graph.notes),
        }
    )
    return text, tensors


def from_state(text: str, tensors: Mapping[str, torch.Tensor]) -> Graph:
    """Restore what :func:`to_state` made.

    Raises:
        ValueError: the text is damaged, of another format or version, or refers to tensors that are not
            there.
    """
    try:
        state = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the state of a graph is not JSON: {error}") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError("the text is not the state of a graph")
    if state.get("version") not in _READ:
        raise ValueError(f"the state has version {state.get('version')}, this is version {_VERSION}")
    try:
        origins = [_origin(*each) for each in state.get("origins", ())]
        program = state.get("program")
        graph = Graph(
            _names(state["inputs"]),
            _names(state["outputs"]),
            tuple(_layer(layer, tensors, origins) for layer in state["layers"]),
            {name: TensorType(DataType[dtype], _shape(shape)) for name, (dtype, shape) in state["tensors"].items()},
            {name: _expressions(sizes) for name, sizes in state.get("sizes", {}).items()},
            program and recipes.from_json(program, tensors),
            {_text(name): text for text, names in state.get("notes", {}).items() for name in names},
            tuple(_site(origins[origin], *rest) for origin, *rest in state.get("sites", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"the state of a graph is damaged: {type(error).__name__}: {error}") from error
    _check(graph)
    return graph


def _by_text(notes: Mapping[str, str]) -> dict[str, list[str]]:
    """The names of layers by what is noted of them, which is the same for many."""
    result: dict[str, list[str]] = {}
    for name, text in notes.items():
        result.setdefault(text, []).append(name)
    return result


def _check(graph: Graph) -> None:
    used = {*graph.inputs, *graph.outputs}
    for layer in graph.layers:
        used.update(name for name in (*layer.inputs, *layer.outputs) if name is not None)
    unknown = sorted(used - set(graph.tensors))
    if unknown:
        raise ValueError(f"the state of a graph is damaged: tensors {unknown[:5]} have no type")
    for layer in graph.layers:
        try:
            check_layer(layer, graph.tensors)
        except ValueError as error:
            raise ValueError(f"the state of a graph is damaged: {error}") from error


def _layer(state: Any, tensors: Mapping[str, torch.Tensor], origins: Sequence[Origin]) -> Layer:
    name, kind, attributes, inputs, outputs, *rest = state
    origin, made_of = rest or (None, {})
    return Layer(
        _text(name),
        _text(kind),
        {key: _decode(value, tensors) for key, value in attributes.items()},
        tuple(None if item is None else _text(item) for item in inputs),
        _names(outputs),
        None if origin is None else origins[origin],
        {key: recipes.decode(part) for key, part in made_of.items()},
    )


def _origin(module: Any, file: Any, line: Any, function: Any, caller: Any) -> Origin:
    return Origin(
        _text(module), _text(file), int(line), _text(function), None if caller is None else (caller[0], caller[1])
    )


def _site(origin: Origin, number: Any, names: Any) -> Site:
    return Site(origin, int(number), tuple(None if name is None else _text(name) for name in names))


def _expressions(sizes: Any) -> tuple[int | str, ...]:
    if not all(type(size) in (int, str) for size in sizes):
        raise ValueError(f"{sizes!r} should be sizes: numbers, or expressions")
    return tuple(sizes)


def _encode(value: Any, key: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        # What is stored is contiguous, as safetensors wants it; weights that lie by columns are stored as they lie.
        by_columns = value.dim() > 1 and not value.is_contiguous() and value.mT.is_contiguous()
        tensors[key] = value.mT if by_columns else value.contiguous()
        return {"tensor": key, "by_columns": True} if by_columns else {"tensor": key}
    if isinstance(value, Live):
        return None
    if isinstance(value, tuple):
        return [_encode(item, f"{key}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return value


def _decode(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, tensors) for item in value)
    if isinstance(value, dict):
        if "float" in value:
            return float(value["float"])
        tensor = tensors[value["tensor"]]
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{value['tensor']!r} is a {type(tensor).__name__}, not a tensor")
        return tensor.mT if value.get("by_columns", False) else tensor
    return value


def _names(items: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in items)


def _shape(sizes: Any) -> tuple[int, ...]:
    if not all(type(size) is int and -1 <= size < 2**63 for size in sizes):
        raise ValueError(f"{sizes!r} should be a shape: sizes, or -1")
    return tuple(sizes)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} should be a name")
    return value
