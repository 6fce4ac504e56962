"""Writing down in which type each layer of a graph computes: constants are rounded once, casts are shared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from trtconv.graph.data import DataType, Graph, Layer, TensorType
from trtconv.graph.index import makers_of
from trtconv.passes.edit import with_layers, without_unread
from trtconv.passes.precision_choice import NAMES
from trtconv.passes.precision_rules import OWN_TYPE


def with_types(graph: Graph, types: Mapping[str, DataType]) -> Graph:
    """The graph whose layers compute in these types, by their names, where they compute in float32.

    Inputs and outputs of the graph keep their types. A tensor is cast once for all that read it in another type, and of
    what it was itself cast from, if it was.
    """
    if all(dtype is DataType.FLOAT for dtype in types.values()):
        return graph
    return _Writing(graph, types).result()


class _Writing:
    def __init__(self, graph: Graph, types: Mapping[str, DataType]) -> None:
        self.graph, self.types = graph, types
        self.makers = makers_of(graph.layers)
        self.tensors = dict(graph.tensors)
        self.sizes = dict(graph.sizes)
        self.layer_names = {layer.name for layer in graph.layers}
        self.versions: dict[tuple[str, DataType], str] = {}
        self.made: dict[str, DataType] = {}
        """The type in which each float32 tensor is made now."""
        self.after: dict[str | None, list[Layer]] = {}
        """Casts and constants that come after the layer of this name; None for the inputs."""
        self.same: dict[str, str] = {}
        """Results of casts that cast nothing any more."""
        self.rounded: dict[tuple[object, ...], torch.Tensor] = {}

    def result(self) -> Graph:
        self._name_results()
        layers = list(self.graph.layers)
        changed = [self._retyped(layer) for layer in layers]
        merged = list(self.after.get(None, ()))
        for before, layer in zip(layers, changed, strict=True):
            merged += [layer, *self.after.get(before.name, ())]
        suspects = [name for layer in layers for name in layer.outputs if layer.type in ("CAST", "CONSTANT")]
        left = without_unread(merged, self.graph.outputs, suspects)
        return with_layers(self.graph, left, self.tensors, self.sizes)

    def _name_results(self) -> None:
        """Say what the result of each layer is called: its name, unless that is an output's, which is a cast of it."""
        for layer in self.graph.layers:
            dtype = self._type_of(layer)
            for name in filter(self._is_float, layer.outputs):
                self.made[name] = dtype
                if dtype is DataType.FLOAT or name not in self.graph.outputs:
                    self._declare(name, dtype, name)
                    self.versions[name, dtype] = name
                else:
                    self.versions[name, dtype] = lower = self._free(f"{name} ({NAMES[dtype]})")
                    self.versions[name, DataType.FLOAT] = name
                    self._declare(lower, dtype, name)
                    self._cast(lower, name, DataType.FLOAT, layer)
            if self._casts_nothing(layer, dtype):
                self.same[layer.outputs[0]] = str(layer.inputs[0])

    def _casts_nothing(self, layer: Layer, dtype: DataType) -> bool:
        """Whether a layer is a cast to the type that its input now has."""
        if layer.type != "CAST" or not self._is_float(layer.inputs[0]) or layer.outputs[0] in self.graph.outputs:
            return False
        return self.graph.tensors[layer.outputs[0]].dtype is dtype is not DataType.FLOAT

    def _is_float(self, name: str | None) -> bool:
        return name is not None and self.graph.tensors[name].dtype is DataType.FLOAT

    def _type_of(self, layer: Layer) -> DataType:
        return self.types.get(layer.name, DataType.FLOAT)

    def _retyped(self, layer: Layer) -> Layer:
        """A layer that reads and makes tensors of its type."""
        dtype = self._type_of(layer)
        own = OWN_TYPE.get(layer.type, ())
        inputs = tuple(
            None if name is None else self._operand(name, DataType.FLOAT if place in own else dtype)
            for place, name in enumerate(layer.inputs)
        )
        outputs = tuple(self.versions.get((name, dtype), name) for name in layer.outputs)
        attributes = dict(layer.attributes)
        if dtype is not DataType.FLOAT and layer.type != "CONSTANT":
            for name, value in layer.attributes.items():
                if isinstance(value, torch.Tensor) and value.dtype is torch.float32:
                    attributes[name] = self._rounded(value, dtype)
            if attributes.get("to_type") == "FLOAT":
                attributes["to_type"] = dtype.name
        return dataclasses.replace(layer, inputs=inputs, outputs=outputs, attributes=attributes)

    def _operand(self, name: str, dtype: DataType) -> str:
        """What a layer that computes in a type reads in the place of a tensor of the graph."""
        if name in self.same:
            return self._operand(self.same[name], self.graph.tensors[name].dtype)
        if not self._is_float(name):
            return name
        if (name, dtype) not in self.versions and (dtype is not DataType.FLOAT or name in self.made):
            self.versions[name, dtype] = self._new_version(name, dtype)
        return self.versions.get((name, dtype), name)

    def _new_version(self, name: str, dtype: DataType) -> str:
        maker, source = self.makers.get(name), name
        if maker is not None:
            source = self.versions[name, self.made[name]]
        if maker is not None and maker.type == "CAST" and self.made[name] is DataType.FLOAT:
            source = self._operand(str(maker.inputs[0]), dtype)  # a cast of a cast is a cast
            if self.tensors[source].dtype is dtype:
                return source
        result = self._free(f"{name} ({NAMES[dtype]})")
        self._declare(result, dtype, name)
        if maker is None or maker.type != "CONSTANT":
            self._cast(source, result, dtype, maker)
            return result
        attributes = {**maker.attributes, "weights": self._rounded(maker.attributes["weights"], dtype)}
        label = self._layer_name(f"{maker.name} ({NAMES[dtype]})")
        constant = dataclasses.replace(maker, name=label, attributes=attributes, outputs=(result,))
        self.after.setdefault(maker.name, []).append(constant)
        return result

    def _cast(self, source: str, result: str, dtype: DataType, maker: Layer | None) -> None:
        label = self._layer_name(f"{maker.name if maker else source}.cast_to_{NAMES[dtype]}")
        origin = None if maker is None else maker.origin
        cast = Layer(label, "CAST", {"to_type": dtype.name}, (source,), (result,), origin)
        self.after.setdefault(None if maker is None else maker.name, []).append(cast)

    def _declare(self, name: str, dtype: DataType, like: str) -> None:
        self.tensors[name] = TensorType(dtype, self.graph.tensors[like].shape)
        if like in self.graph.sizes:
            self.sizes[name] = self.graph.sizes[like]

    def _free(self, stem: str) -> str:
        name, count = stem, 1
        while name in self.tensors:
            name, count = f"{stem}_{count}", count + 1
        return name

    def _layer_name(self, stem: str) -> str:
        name, count = stem, 1
        while name in self.layer_names:
            name, count = f"{stem}_{count}", count + 1
        self.layer_names.add(name)
        return name

    def _rounded(self, value: torch.Tensor, dtype: DataType) -> torch.Tensor:
        """Weights in a type; the same memory is rounded once."""
        key = (value.data_ptr(), value.shape, value.stride(), dtype)
        if key not in self.rounded:
            self.rounded[key] = value.detach().to(dtype.carrier)
        return self.rounded[key]
