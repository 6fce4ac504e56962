"""What was converted, as one text: what `TRTModule.report` returns."""

from __future__ import annotations

import dataclasses
import html
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from trtconv.graph.data import Layer
from trtconv.plan import Plan
from trtconv.shown.table import Table
from trtconv.shown.text import bytes_text, counted, dtype_name, folded, module_of


@dataclasses.dataclass
class ModuleCounts:
    """What one module of the model came to, with those inside of it that aren't told apart.

    Attributes:
        calls: Calls of torch that were converted, after the passes on them.
        layers: Layers of the network.
        weights: Numbers in the layers' weights; those that several layers have count at the first.
        types: How often each type of layer comes.
    """

    calls: int = 0
    layers: int = 0
    weights: int = 0
    types: Counter[str] = dataclasses.field(default_factory=Counter)


class Report:
    """What was converted, to what, how long it took and how large it is; text, and HTML in a notebook."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._graphs = [segment.graph for segment in plan.segments if segment.graph is not None]
        self._made_by = plan.provenance

    # -- numbers ----------------------------------------------------------------------------------

    def by_module(self, depth: int | None = 1) -> dict[str, ModuleCounts]:
        """The counts by the paths of modules, up to so many names; None tells all apart, "" is the outermost."""
        found: dict[str, ModuleCounts] = {}
        seen: set[Any] = set()
        for layer in self._layers():
            counts = found.setdefault(folded(module_of(layer), depth), ModuleCounts())
            counts.layers += 1
            counts.types[layer.type] += 1
            counts.weights += sum(weights.numel() for weights in _weights(layer, seen))
        for module, calls in self._made_by.get("calls_by_module", {}).items():
            found.setdefault(folded(module, depth), ModuleCounts()).calls += calls
        return found

    @property
    def dtypes(self) -> dict[str, int]:
        """How many tensors of the network, but constants, have each dtype."""
        return dict(
            Counter(
                dtype_name(graph.tensors[name].dtype)
                for graph in self._graphs
                for layer in graph.layers
                if layer.type != "CONSTANT"
                for name in layer.outputs
            ).most_common()
        )

    @property
    def weight_bytes(self) -> int:
        """The bytes of the network's weights."""
        seen: set[Any] = set()
        return sum(weights.nbytes for layer in self._layers() for weights in _weights(layer, seen))

    @property
    def engine_bytes(self) -> int:
        """The bytes of the engines."""
        return sum(segment.engine.numel() for segment in self._plan.segments)

    @property
    def folded_operators(self) -> int | None:
        """How many operators were run once, at the conversion, on weights and constants; None where it isn't known."""
        programs = [graph.program for graph in self._graphs]
        known = [program for program in programs if program is not None]
        return sum(len(program.steps) for program in known) if known and len(known) == len(programs) else None

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds that each step took."""
        return dict(self._made_by.get("seconds", {}))

    def _layers(self) -> Iterator[Layer]:
        return (layer for graph in self._graphs for layer in graph.layers)

    # -- text -------------------------------------------------------------------------------------

    def _facts(self) -> Iterator[tuple[str, str]]:
        """What it says, under its headings."""
        made = self._made_by
        signature = self._plan.signature
        yield "converted", str(made.get("module") or made.get("onnx") or "?")
        yield "inputs", ", ".join(f"{spec.name}: {spec}" for spec in signature.inputs)
        yield "outputs", ", ".join(f"{spec.name}: {spec}" for spec in signature.outputs)
        yield (
            "by",
            ", ".join([f"trtconv {made.get('trtconv')}", f"torch {made.get('torch')}", str(made.get("tensorrt"))]),
        )
        yield "options", f"tf32={made.get('tf32')}, compute_capabilities={made.get('compute_capabilities')}"
        seconds = [f"{name} {value:.2f} s" for name, value in self.seconds.items()]
        yield "times", ", ".join(seconds) + f", together {sum(self.seconds.values()):.2f} s"
        sizes = [f"engine {bytes_text(self.engine_bytes)}"]
        if self._graphs:
            sizes.append(f"weights of the network {bytes_text(self.weight_bytes)}")
        yield "sizes", ", ".join(sizes)
        if not self._graphs:
            yield "network", "wasn't kept (keep_network=False)"
            return
        yield "dtypes", ", ".join(f"{count} tensors {name}" for name, count in self.dtypes.items())
        folded = self.folded_operators
        constants = sum(layer.type == "CONSTANT" for layer in self._layers())
        known = "" if folded is None else f"; {folded} operators on weights and constants were run at the conversion"
        yield "constants", f"{constants} layers{known}"

    def passes(self) -> Table:
        """What passes did, in order: those that changed nothing are left out."""
        rows = [
            (effect["name"].replace("_", " "), effect["before"], effect["after"], effect["new"], where)
            for key, where in (("passes", "all"), ("engine_passes", "the engine"))
            for effect in self._made_by.get(key, ())
        ]
        numbers = ("before", "after", "new")
        return Table(("pass", *numbers, "for"), rows, numbers=numbers)

    def modules(self, depth: int | None = 1) -> Table:
        """`by_module` as a table, with the sums."""
        found = self.by_module(depth)
        rows = [(module or "(outermost)", *_cells(counts)) for module, counts in found.items()]
        total = (sum(getattr(counts, name) for counts in found.values()) for name in _NUMBERS)
        return Table(("module", *_NUMBERS, "types"), [*rows, ("together", *total, "")], numbers=_NUMBERS)

    def _tables(self) -> Iterator[tuple[str, Table]]:
        if self.passes().rows:
            yield "Passes, and how many calls or layers there were before and after each:", self.passes()
        if self._graphs:
            yield "Modules:", self.modules()

    def __str__(self) -> str:
        facts = "\n".join(f"{name + ':':<11}{text}" for name, text in self._facts())
        return "\n\n".join([facts, *(f"{title}\n{table}" for title, table in self._tables())])

    def _repr_html_(self) -> str:
        facts = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in self._facts())
        tables = "".join(f"<p>{html.escape(title)}</p>{table._repr_html_()}" for title, table in self._tables())
        return f"<table>{facts}</table>{tables}"

    __repr__ = __str__


_NUMBERS = ("calls", "layers", "weights")


def _cells(counts: ModuleCounts) -> tuple[int, int, int, str]:
    return counts.calls, counts.layers, counts.weights, counted(counts.types.elements())


def _weights(layer: Layer, seen: set[Any]) -> Iterator[torch.Tensor]:
    """A layer's weights, of which none has been seen in another."""
    for value in layer.attributes.values():
        if isinstance(value, torch.Tensor):
            key = (value.untyped_storage().data_ptr(), value.storage_offset(), value.shape, value.stride())
            if key not in seen:
                seen.add(key)
                yield value
