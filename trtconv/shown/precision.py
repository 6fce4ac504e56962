"""In which type each layer of a converted module computes, and why."""

from __future__ import annotations

import dataclasses
import html
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from trtconv.errors import EngineError
from trtconv.graph.data import Graph, Layer
from trtconv.passes.precision_choice import NAMES
from trtconv.plan import Plan
from trtconv.shown.table import Table
from trtconv.shown.text import bytes_text

_GIVEN = "as the module has it"
_COLORS = {"fp16": "#4c9f70", "bf16": "#3f7fbf", "fp32": "#d9822b"}


class LayerPrecision(NamedTuple):
    """One layer that computes with floating-point numbers.

    Attributes:
        precision: "fp32", "fp16" or "bf16".
        name, type: Of the layer.
        reason: Why it has that precision.
        place: The line and the module that it comes from; "" if that isn't known.
    """

    precision: str
    name: str
    type: str
    reason: str
    place: str


@dataclasses.dataclass(init=False)
class PrecisionReport:
    """What `TRTModule.precision_report` returns: text by `str()`, tables and a picture in notebooks.

    Attributes:
        asked: The option `precision` of the conversion; None if there was none.
        layers: The layers that compute with floating-point numbers, in order, without casts and constants.
        casts: From which type to which, by the names of the layers that cast.
        weights: Bytes of weights by dtype.
    """

    asked: str | Mapping[str, str] | None
    layers: tuple[LayerPrecision, ...]
    casts: Mapping[str, tuple[str, str]]
    weights: Mapping[str, int]

    def __init__(self, plan: Plan) -> None:
        graphs = [segment.graph for segment in plan.segments if segment.graph is not None]
        if len(graphs) < len(plan.segments):
            raise EngineError("the network of this module wasn't kept: convert with keep_network=True")
        weights: Counter[str] = Counter()
        for graph in graphs:
            for value in graph.weights():
                weights[str(value.dtype).removeprefix("torch.")] += value.nbytes
        every = [(graph, layer) for graph in graphs for layer in graph.layers]
        self.asked = plan.provenance.get("precision")
        self.layers = tuple(row for pair in every if (row := _row(*pair)) is not None)
        self.casts = {layer.name: types for graph, layer in every if (types := _cast(graph, layer)) is not None}
        self.weights = weights

    @property
    def reasons(self) -> Table:
        """How many layers compute in which type for which reason, the most frequent first."""
        found: dict[tuple[str, str], list[str]] = {}
        for layer in self.layers:
            found.setdefault((layer.precision, layer.reason), []).append(layer.name)
        rows = sorted(found.items(), key=lambda item: -len(item[1]))
        return Table(
            ("type", "layers", "reason", "the first"),
            [(precision, len(names), reason, names[0]) for (precision, reason), names in rows],
            numbers=("layers",),
        )

    def _facts(self) -> str:
        counts = Counter(layer.precision for layer in self.layers)
        listed = ", ".join(f"{count} layers in {name}" for name, count in counts.most_common()) or "no layers"
        sizes = ", ".join(f"{bytes_text(size)} {name}" for name, size in self.weights.items()) or "none"
        pairs = Counter(f"{source} to {result}" for source, result in self.casts.values())
        casts = ", ".join(f"{count} {pair}" for pair, count in pairs.items()) or "none"
        return f"precision={self.asked!r}: {listed}\ncasts: {casts}\nweights: {sizes}"

    def _table(self) -> Table:
        return Table(LayerPrecision._fields, self.layers)

    def __str__(self) -> str:
        return f"{self._facts()}\n\n{self.reasons}\n\n{self._table()}"

    def svg(self) -> str:
        """A picture: a bar for each layer, in order, in the color of its type."""
        bars = "".join(
            f'<rect x="{place}" width="1" height="24" fill="{_COLORS[layer.precision]}">'
            f"<title>{html.escape(f'{layer.name}: {layer.precision}, {layer.reason}')}</title></rect>"
            for place, layer in enumerate(self.layers)
        )
        key = " ".join(f'<tspan fill="{color}">&#9632;</tspan> {name}' for name, color in _COLORS.items())
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" width="100%" height="44">'
            f'<svg width="100%" height="24" viewBox="0 0 {max(len(self.layers), 1)} 24" preserveAspectRatio="none">'
            f'{bars}</svg><text y="40" font-size="12" font-family="sans-serif">{key}</text></svg>'
        )

    def _repr_html_(self) -> str:
        whole = f"<details><summary>{len(self.layers)} layers</summary>{self._table()._repr_html_()}</details>"
        return f"<pre>{html.escape(self._facts())}</pre>{self.svg()}{self.reasons._repr_html_()}{whole}"


def _row(graph: Graph, layer: Layer) -> LayerPrecision | None:
    if layer.type in ("CAST", "CONSTANT"):
        return None
    tensors = [*layer.outputs, *(name for name in layer.inputs if name is not None)]
    dtype = next((dtype for name in tensors if (dtype := graph.tensors[name].dtype) in NAMES), None)
    if dtype is None:
        return None
    reason = graph.notes.get(layer.name, _GIVEN)
    return LayerPrecision(NAMES[dtype], layer.name, layer.type, reason, str(layer.origin or ""))


def _cast(graph: Graph, layer: Layer) -> tuple[str, str] | None:
    """From and to which type a layer casts, if both are types of floating-point numbers."""
    if layer.type != "CAST":
        return None
    source, result = (graph.tensors[str(name)].dtype for name in (layer.inputs[0], layer.outputs[0]))
    return (NAMES[source], NAMES[result]) if source in NAMES and result in NAMES and source is not result else None
