"""Editing graphs: layers are replaced by others, which are written as converters write them.

The new layers are added to a scratch definition whose inputs have the types of the tensors that they take, so that
TensorRT says what their results are; then they are read, and put in the place of those that they replace.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from trtconv.emit.network import Network
from trtconv.graph.data import CONSTRUCTS, Graph, Layer, TensorType
from trtconv.graph.index import makers_of, readers_of
from trtconv.graph.writer import data_type
from trtconv.sizes import Sizes, is_static
from trtconv.sizes.text import UNKNOWN, SymbolicSizes
from trtconv.tensorrt.logger import collect_messages

Rule = Callable[["Edit", Layer], Any]
"""Gives the tensor that takes the place of a layer's result, or None to leave the layer."""


def rewritten(graph: Graph, rules: Mapping[str, Rule]) -> Graph:
    """A graph with each layer replaced by what the rule for its type gives."""
    if not any(layer.type in rules for layer in graph.layers):
        return graph
    with Edit(graph) as edit:
        for layer in graph.layers:
            rule = rules.get(layer.type)
            tensor = None if rule is None else rule(edit, layer)
            if tensor is not None:
                edit.replace(layer.outputs[0], tensor)
        return edit.graph()


class Edit:
    """One editing of a graph, which stays as it is; a context.

    Attributes:
        makers: For each tensor, by name, the layer that makes it.
        readers: For each tensor, by name, the layers that read it.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.makers = makers_of(graph.layers)
        self.readers = readers_of(graph.layers)
        self._stack = ExitStack()
        self._net: Network | None = None
        self._symbols = SymbolicSizes()
        self._inputs: dict[str, Any] = {}
        self._replaced: dict[str, str] = {}
        self._ends: dict[str, int] = {}
        """For each replaced tensor, how many layers there were when it was."""

    def __enter__(self) -> Edit:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def net(self) -> Network:
        """What the new layers are added to."""
        if self._net is None:
            self._net = Network(self._stack.enter_context(collect_messages()))
            for name in self._graph.inputs:
                if -1 in self._graph.tensors[name].shape:
                    self.tensor(name)
        return self._net

    def type(self, name: str) -> TensorType:
        """The type of a tensor of the graph."""
        return self._graph.tensors[name]

    def sizes(self, name: str) -> Sizes | None:
        """The shape of a tensor of the graph, symbols where it is dynamic; None if it isn't known by symbols."""
        shape = self._graph.tensors[name].shape
        if -1 not in shape:
            return shape
        sizes = self._graph.sizes.get(name, (UNKNOWN,))
        return None if UNKNOWN in sizes else self._symbols.read(sizes)

    def tensor(self, name: str | None) -> Any:
        """A tensor of the graph, as an operand of new layers: where it is replaced, what takes its place."""
        assert name is not None
        return self._input(name, name)

    def before(self, name: str) -> Any:
        """A tensor of the graph as it was, where what takes its place is computed of it."""
        return self._input(_old(name, self._graph), name)

    def _input(self, label: str, name: str) -> Any:
        net = self.net
        if label not in self._inputs:
            kind = self._graph.tensors[name]
            tensor = net.add_input(_INPUT + label, data_type(kind.dtype.name), kind.shape)
            self._inputs[label] = tensor
            known = self.sizes(name)
            sizes = self._symbols.unknown(kind.shape) if known is None else known
            net.known(tensor, sizes)
            if known is None or name in self._graph.inputs:
                for axis, size in enumerate(sizes):
                    if not is_static(size):
                        net.define_symbol(size, tensor, axis)
        return self._inputs[label]

    def replace(self, name: str, tensor: Any) -> None:
        """Have everything that reads a tensor of the graph, its outputs included, read a new one.

        The layers added since the last replacement get the origin of the layer that made it.

        Raises:
            ValueError: the new tensor has another type.
        """
        kind = self._graph.tensors[name]
        shape = self.net.built_shape(tensor)
        if tensor.dtype != data_type(kind.dtype.name) or not _may_be(kind.shape, shape):
            raise ValueError(f"{tensor.dtype.name} {list(shape)} can't take the place of {name!r}, {kind}")
        if tensor.name.startswith(_INPUT) or tensor.name in self._replaced.values():
            tensor = self.net.identity(tensor)  # a tensor has one name
        self._replaced[name] = tensor.name
        self._ends[name] = self.net.definition.num_layers

    def graph(self) -> Graph:
        """The graph with all replacements, without the layers that nothing reads any more."""
        if not self._replaced:
            return self._graph
        new = self.net.graph()
        lasting = {name: sizes for name, sizes in new.sizes.items() if not self._symbols.has_unknown(sizes)}
        return _Splice(self._graph, dataclasses.replace(new, sizes=lasting), self._replaced, self._ends).result()


def _may_be(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(shape) == len(other) and all(a == b or -1 in (a, b) for a, b in zip(shape, other, strict=True))


_INPUT = "graph: "
"""What the names of the scratch definition's inputs begin with, so that no other tensor there has their names."""


def _old(name: str, graph: Graph) -> str:
    """What a tensor is called where another has taken its name."""
    return _free(f"{name} (before)", graph.tensors)


class _Splice:
    """The layers of a scratch graph among those of another."""

    def __init__(self, graph: Graph, new: Graph, replaced: Mapping[str, str], ends: Mapping[str, int]) -> None:
        self.graph, self.new = graph, new
        self.replaced = replaced
        self.ends = ends
        self.makers = makers_of(graph.layers)
        self.layer_names = {layer.name for layer in graph.layers}
        # The tensor that replaces another takes its name, so that what reads it stays as it is.
        self.names = {made: name for name, made in replaced.items()}
        self.names |= {name: name.removeprefix(_INPUT) for name in new.inputs}
        self.old = {name: _old(name, graph) for name in replaced}
        self.kept = {name for name, old in self.old.items() if _INPUT + old in new.inputs}
        """Replaced tensors of which what replaces them is computed."""
        labels = {layer.construct for layer in graph.layers} | {None}
        constructs = [layer.construct for layer in new.layers]
        self.labels = {label: _unlike(label, labels) for label in constructs if label is not None}
        self.taken = {*graph.tensors}
        self.tensors = dict(graph.tensors)
        self.sizes = dict(graph.sizes)

    def result(self) -> Graph:
        added = self._added()
        layers: list[Layer] = []
        for layer in self.graph.layers:
            for name in layer.outputs:
                layers += added.pop(name, [])
            outputs = tuple(self.old.get(name, name) for name in layer.outputs)
            layers.append(dataclasses.replace(layer, outputs=outputs))
        for rest in added.values():
            layers += rest
        for name in self.replaced:
            self.tensors[self.old[name]] = self.tensors[name]
        left = without_unread(layers, self.graph.outputs, [*self.old.values(), *self.names.values()])
        return with_layers(self.graph, left, self.tensors, self.sizes)

    def _added(self) -> dict[str, list[Layer]]:
        """For each replaced tensor the layers that were added for it, with names that nothing else has."""
        result: dict[str, list[Layer]] = {}
        start = 0
        for name, end in self.ends.items():
            maker = self.makers.get(name)
            result[name] = [self._named(layer, maker) for layer in self.new.layers[start:end]]
            start = end
        return {name: list(map(self._connected, layers)) for name, layers in result.items()}

    def _named(self, layer: Layer, maker: Layer | None) -> Layer:
        stem = layer.name if maker is None else maker.name
        # What takes the place of a layer takes its name.
        heir = maker is not None and len(maker.outputs) == 1 and self.names.get(layer.outputs[0]) in maker.outputs
        heir = heir and maker is not None and not self.kept.intersection(maker.outputs)
        name = stem if heir else _free(f"{stem}.{layer.type.lower()}", self.layer_names)
        self.layer_names.add(name)
        for made in layer.outputs:
            if made not in self.names:
                self.names[made] = _free(f"{name}_output", self.taken)
                self.taken.add(self.names[made])
                self.tensors[self.names[made]] = self.new.tensors[made]
                if made in self.new.sizes:
                    self.sizes[self.names[made]] = self.new.sizes[made]
        attributes = {k: self.labels[v] if k in CONSTRUCTS else v for k, v in layer.attributes.items()}
        origin = None if maker is None else maker.origin
        return dataclasses.replace(layer, name=name, attributes=attributes, origin=origin)

    def _connected(self, layer: Layer) -> Layer:
        """A layer with the names that tensors have here; layers may read what later ones make."""
        inputs = tuple(None if name is None else self.names[name] for name in layer.inputs)
        return dataclasses.replace(layer, inputs=inputs, outputs=tuple(self.names[name] for name in layer.outputs))


def _unlike(label: str, taken: Container[str | None]) -> str:
    name, _, number = label.rpartition(" #")
    return next(f"{name} #{n}" for n in itertools.count(int(number)) if f"{name} #{n}" not in taken)


def _free(stem: str, taken: Container[str]) -> str:
    """The stem, with a number where that is taken."""
    name, count = stem, 1
    while name in taken:
        name, count = f"{stem}_{count}", count + 1
    return name


def with_layers(
    graph: Graph, layers: Sequence[Layer], tensors: Mapping[str, TensorType], sizes: Mapping[str, Any]
) -> Graph:
    """The graph with other layers, and with the types and sizes of the tensors that are left with them."""
    used = {*graph.inputs, *(name for layer in layers for name in (*layer.inputs, *layer.outputs))}
    return dataclasses.replace(
        graph,
        layers=tuple(layers),
        tensors={name: kind for name, kind in tensors.items() if name in used},
        sizes={name: shape for name, shape in sizes.items() if name in used},
    )


def without_unread(layers: Iterable[Layer], outputs: Iterable[str], suspects: Iterable[str]) -> list[Layer]:
    """The layers without those whose results nothing reads, as far as they lead back from the tensors `suspects`."""
    layers = list(layers)
    makers = makers_of(layers)
    readers = Counter(name for layer in layers for name in layer.inputs)
    readers.update(outputs)
    gone: set[int] = set()
    pending = list(suspects)
    while pending:
        layer = makers.get(pending.pop())
        if layer is None or id(layer) in gone or any(readers[name] for name in layer.outputs):
            continue
        gone.add(id(layer))
        for name in layer.inputs:
            readers[name] -= 1
            if name is not None:
                pending.append(name)
    left = [layer for layer in layers if id(layer) not in gone]
    constructs = {layer.construct for layer in left if layer.outputs}
    return [layer for layer in left if layer.outputs or layer.construct in {None, *constructs}]
