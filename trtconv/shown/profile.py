"""How long each layer takes: what `TRTModule.profile` returns."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.places import Origin
from trtconv.shown.table import Table
from trtconv.shown.text import folded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 20
"""How many of the slowest layers are printed."""


@dataclasses.dataclass(frozen=True)
class TimedLayer:
    """A layer of what ran.

    Attributes:
        name: What the engine calls it, or the network.
        origins: The lines of the model that it comes from: several where TensorRT has fused layers.
        dtype: Of its results, by torch's names.
        shapes: Of its results, as "[1, 64, 56, 56]".
        milliseconds: The median of the runs.
    """

    name: str
    origins: tuple[Origin, ...]
    dtype: str
    shapes: str
    milliseconds: float

    @property
    def modules(self) -> tuple[str, ...]:
        """The paths of the modules that it comes from; ("",) where that isn't known."""
        return tuple(dict.fromkeys(origin.module for origin in self.origins)) or ("",)


@dataclasses.dataclass(frozen=True)
class Profile:
    """The layers of a converted module and how long they take.

    Printed it is the modules and the slowest layers, in a notebook as HTML.

    Attributes:
        layers: In the order in which they ran.
        runs: Of how many runs the medians are.
        backend: What ran: "tensorrt" or "reference".
        device: Where: the GPU's name, or "cpu".
    """

    layers: tuple[TimedLayer, ...]
    runs: int
    backend: str
    device: str

    @property
    def milliseconds(self) -> float:
        """The sum over all layers."""
        return sum(layer.milliseconds for layer in self.layers)

    def share(self, milliseconds: float) -> float:
        """A time's share of the sum."""
        return milliseconds / self.milliseconds if self.milliseconds else 0.0

    def by_module(self, depth: int | None = None) -> dict[str, float]:
        """The milliseconds of each module, by its path, with those in it that are more than `depth` names deep.

        A layer that comes from several modules counts in equal parts for each. The times add up to `milliseconds`.
        None is as deep as modules go; "" is what no module inside of the outermost one did.
        """
        times: dict[str, float] = {}
        for layer in self.layers:
            modules = dict.fromkeys(folded(module, depth) for module in layer.modules)
            for module in modules:
                times[module] = times.get(module, 0.0) + layer.milliseconds / len(modules)
        return times

    def table(self, rows: int | None = None) -> Table:
        """The layers, in order; or so many of the slowest, the slowest first."""
        layers = self.layers
        if rows is not None:
            layers = tuple(sorted(layers, key=lambda layer: -layer.milliseconds)[:rows])
        return Table(
            ("layer", "from", "dtype", "shape", "ms", "share"),
            [
                (
                    layer.name,
                    ", ".join(map(_shortly, layer.origins)),
                    layer.dtype,
                    layer.shapes,
                    *self._time(layer.milliseconds),
                )
                for layer in layers
            ],
            numbers=("ms", "share"),
        )

    def module_table(self, depth: int | None = 1) -> Table:
        """`by_module` as a table."""
        rows = [(module or "(outermost)", *self._time(time)) for module, time in self.by_module(depth).items()]
        return Table(("module", "ms", "share"), rows, numbers=("ms", "share"))

    def _time(self, milliseconds: float) -> tuple[str, str]:
        return f"{milliseconds:.3f}", f"{self.share(milliseconds):.1%}"

    @property
    def title(self) -> str:
        """What was timed, in one line."""
        runs = f"median of {self.runs} run{'s' * (self.runs != 1)}"
        if self.backend == "tensorrt":
            return f"TensorRT on {self.device}: {self.milliseconds:.3f} ms in {len(self.layers)} layers, {runs}"
        return (
            f"The reference interpreter on {self.device}, no engine: {self.milliseconds:.3f} ms in {len(self.layers)} "
            f"layers, {runs}. What takes long here need not take long in an engine"
        )

    def __str__(self) -> str:
        left = len(self.layers) - ROWS
        return "\n\n".join(
            [
                self.title,
                str(self.module_table()),
                str(self.table(ROWS)) + (f"\nand {left} faster layers" if left > 0 else ""),
            ]
        )

    def _repr_html_(self) -> str:
        tables = "".join(table._repr_html_() for table in (self.module_table(), self.table(ROWS)))
        return f"<p>{self.title}</p>{tables}"

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """The profile as JSON, which is also written to a file if one is named."""
        layers = [{**dataclasses.asdict(layer), "share": self.share(layer.milliseconds)} for layer in self.layers]
        head = {"backend": self.backend, "device": self.device, "runs": self.runs, "milliseconds": self.milliseconds}
        return _written({**head, "layers": layers}, path)

    def to_chrome_trace(self, path: str | PathLike[str] | None = None) -> str:
        """The layers one after the other in Chrome's trace format, for chrome://tracing and ui.perfetto.dev.

        Lanes below show the modules that they come from, by depth. Written to a file too if one is named.
        """
        events: list[dict[str, Any]] = [_lane(0, f"layers, {self.title}")]
        began = 0.0
        for layer in self.layers:
            took = 1000 * layer.milliseconds
            details = {"origins": list(map(str, layer.origins)), "dtype": layer.dtype, "shape": layer.shapes}
            events.append(_event(layer.name, 0, began, took, details))
            names = layer.modules[0].split(".") if layer.modules[0] else []
            for depth in range(1, len(names) + 1):
                module = ".".join(names[:depth])
                last = next((event for event in reversed(events) if event["tid"] == depth), None)
                if last is not None and last["name"] == module and abs(last["ts"] + last["dur"] - began) < 1e-6:
                    last["dur"] += took
                else:
                    events.append(_event(module, depth, began, took, {}))
            began += took
        depths = sorted({event["tid"] for event in events} - {0})
        events += [_lane(depth, f"modules of depth {depth}") for depth in depths]
        return _written({"traceEvents": events, "displayTimeUnit": "ms"}, path)

    def plot(self, depth: int | None = None, *, rows: int = ROWS, axes: Axes | None = None) -> Axes:
        """Bars of the slowest layers, or of modules where a depth is given, with matplotlib.

        Raises:
            ImportError: matplotlib isn't installed.
        """
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise ImportError("a plot needs the package matplotlib: pip install trtconv[plot]") from error
        times: list[tuple[str, float]] = [(layer.name, layer.milliseconds) for layer in self.layers]
        if depth is not None:
            times = [(module or "(outermost)", time) for module, time in self.by_module(depth).items()]
        times = sorted(times, key=lambda pair: pair[1])[-rows:]
        if axes is None:
            _, axes = pyplot.subplots(figsize=(8, 1 + 0.25 * len(times)), layout="constrained")
        bars = axes.barh([name for name, _ in times], [time for _, time in times])
        axes.bar_label(bars, [f"{self.share(time):.1%}" for _, time in times], padding=3)
        axes.set_xlabel("ms")
        axes.set_title("\n".join(self.title.split(": ", 1)), fontsize="medium")
        axes.margins(x=0.12)
        return axes


def _shortly(origin: Origin) -> str:
    """A module and its line, without the folder of the file."""
    file = f"{Path(origin.file).name}:{origin.line}" if origin.file else "?"
    return f"{origin.module} ({file})" if origin.module else file


def _lane(number: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": "thread_name", "pid": 0, "tid": number, "args": {"name": name}}


def _event(name: str, lane: int, began: float, took: float, details: Mapping[str, Any]) -> dict[str, Any]:
    """An event; its times are microseconds."""
    return {"ph": "X", "name": name, "pid": 0, "tid": lane, "ts": began, "dur": took, "args": dict(details)}


def _written(value: Any, path: str | PathLike[str] | None) -> str:
    text = json.dumps(value, indent=1)
    if path is not None:
        Path(path).write_text(text)
    return text
