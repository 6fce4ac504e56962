"""Taking a network apart: any of its layers as a network of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator

from trtconv.graph.data import Graph, Layer
from trtconv.reference.schedule import LayerStep, LoopStep, Step, schedule


class Partition:
    """The units that a network consists of: layers, and loops, conditionals and attentions as a whole.

    What computes constants or shapes is no unit: it belongs to each part that reads it, so that a builder sees there
    the constants that it would see in the whole.

    Attributes:
        graph: The network.
        units: The layers of each unit, each unit after those whose results it takes.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._places = {layer.name: place for place, layer in enumerate(graph.layers)}
        groups = _groups(graph)
        self._free: dict[str, Layer] = {}
        self.units: list[tuple[Layer, ...]] = []
        for group in groups:
            if self._is_free(group):
                self._free |= {name: layer for layer in group for name in layer.outputs}
            else:
                self.units.append(tuple(group))
        self._readers: dict[str, set[str]] = {}
        for layer in (layer for group in groups for layer in group if layer.type != "SHAPE"):
            for name in filter(None, layer.inputs):
                self._readers.setdefault(name, set()).add(layer.name)

    def _is_free(self, group: Collection[Layer]) -> bool:
        (layer, *others) = group
        if others or layer.construct is not None:
            return False
        return layer.type in ("CONSTANT", "SHAPE") or all(name is None or name in self._free for name in layer.inputs)

    @property
    def edges(self) -> list[str]:
        """What units make: the values that parts take and give, beside the network's inputs, are among them."""
        return [name for unit in self.units for layer in unit for name in layer.outputs]

    def part(self, units: Iterable[int]) -> Graph:
        """The network of some units, by their places: its inputs are what they take from elsewhere."""
        layers = [layer for place in units for layer in self.units[place]]
        outputs = self._given(layers)
        layers += self._constants_of(layers)
        layers.sort(key=lambda layer: self._places[layer.name])
        made = {name for layer in layers for name in layer.outputs}
        read = dict.fromkeys(name for layer in layers for name in layer.inputs if name is not None and name not in made)
        return dataclasses.replace(
            self.graph,
            inputs=tuple(read),
            outputs=tuple(outputs),
            layers=tuple(dataclasses.replace(layer, recipes={}) for layer in layers),
            tensors={name: kind for name, kind in self.graph.tensors.items() if name in made or name in read},
            sizes={name: sizes for name, sizes in self.graph.sizes.items() if name in made or name in read},
            program=None,
            notes={},
            sites=(),
        )

    def _given(self, layers: Collection[Layer]) -> list[str]:
        """The tensors that these layers make for others."""
        names = {layer.name for layer in layers}
        made = [name for layer in layers for name in layer.outputs]
        return [name for name in made if name in self.graph.outputs or self._readers.get(name, set()) - names]

    def _constants_of(self, layers: Iterable[Layer]) -> list[Layer]:
        """What computes the constants and shapes that these layers read."""
        found: dict[str, Layer] = {}
        pending = [name for layer in layers for name in layer.inputs]
        while pending:
            layer = self._free.get(pending.pop() or "")
            if layer is not None and layer.name not in found:
                found[layer.name] = layer
                pending += layer.inputs
        return list(found.values())


def _groups(graph: Graph) -> list[list[Layer]]:
    """The layers in the order in which they run, those of a construct together, where the last of them runs."""
    groups: list[list[Layer]] = []
    for step in schedule(graph):
        group = list(_layers(step))
        labels = _constructs(group)
        joined = [each for each in groups if not labels.isdisjoint(_constructs(each))] if labels else []
        groups = [each for each in groups if each not in joined]
        groups.append([layer for each in [*joined, group] for layer in each])
    for group in groups:
        # Boundaries that give nothing, as the limit of a loop's trips does.
        labels = _constructs(group)
        group += [layer for layer in graph.layers if layer.construct in labels and not layer.outputs]
    return groups


def _constructs(layers: Iterable[Layer]) -> set[str]:
    return {layer.construct for layer in layers if layer.construct is not None}


def _layers(step: Step) -> Iterator[Layer]:
    if isinstance(step, LayerStep):
        yield step.layer
        return
    blocks = (step.condition, step.body) if isinstance(step, LoopStep) else (step.if_true, step.if_false)
    yield from (layer for block in blocks for inner in block for layer in _layers(inner))
    if isinstance(step, LoopStep):
        yield from (*step.recurrences, *step.iterators)
    yield from step.outputs
