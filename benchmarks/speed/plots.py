"""The results as pictures, written as SVG without any library."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from speed.bars import best_of_others
from speed.columns import COLUMNS
from speed.results import Results
from speed.throughput import WAYS

WIDTH, HEIGHT, MARGIN, ACROSS = 300, 210, 42, 4
COLORS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f", "#76b7b2", "#edc948")
LATENCY = ("eager_graph", "compile_graph", "compile_graph_last", "onnx_graph", "engine_graph", "trtconv")


@dataclasses.dataclass(frozen=True)
class Panel:
    """One diagram of several lines.

    Attributes:
        ticks: The places along the x axis, at equal distances.
        lines: By name, a value for each tick; NaN where there is none.
    """

    title: str
    ticks: Sequence[str]
    lines: Mapping[str, Sequence[float]]


def write_plots(results: Results, prefix: Path) -> list[Path]:
    """Write latency against batch, images a second against streams, and shares of the roofline."""
    written = []
    for name, panels, unit in (
        ("batches", _latency(results), "ms a call (logarithmic) by batch"),
        ("streams", _streams(results), "images a second (logarithmic) by streams or threads"),
        ("roofline", _shares(results), "share of the roofline (logarithmic) by batch"),
    ):
        if panels:
            path = prefix.with_name(f"{prefix.name}_{name}.svg")
            path.write_text(draw(panels, unit))
            written.append(path)
    return written


def _by_batch(results: Results, kind: str) -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for (model, dtype, batch), _ in results.subjects(kind):
        found.setdefault((model, dtype), []).append(batch)
    return {place: sorted(batches) for place, batches in found.items()}


def _latency(results: Results) -> list[Panel]:
    panels = []
    for (model, dtype), batches in _by_batch(results, "call").items():
        lines = {
            COLUMNS[column].strip("*"): [results.value(model, dtype, batch, column, "ms") for batch in batches]
            for column in LATENCY
        }
        panels.append(Panel(f"{model}, {dtype}", [str(batch) for batch in batches], lines))
    return panels


def _streams(results: Results) -> list[Panel]:
    panels = []
    for (model, dtype, batch), rows in results.subjects("throughput"):
        good = [row for row in rows if "failed" not in row]
        ticks = sorted({row["workers"] for row in good})
        rates = {(row["way"], row["workers"]): row["images_s"] for row in good}
        lines = {label: [rates.get((way, tick), math.nan) for tick in ticks] for way, label in WAYS.items()}
        panels.append(Panel(f"{model}, {dtype}, batch {batch}", [str(tick) for tick in ticks], lines))
    return panels


def _shares(results: Results) -> list[Panel]:
    least = {place: row["ms"] for place, (row, *_) in results.subjects("roofline") if "failed" not in row}
    panels = []
    for (model, dtype), batches in _by_batch(results, "roofline").items():
        bounds = [least.get((model, dtype, batch), math.nan) for batch in batches]
        ours = [results.value(model, dtype, batch, "trtconv", "ms") for batch in batches]
        best = [best_of_others(results, model, dtype, batch)[0] for batch in batches]
        lines = {
            label: [bound / ms for bound, ms in zip(bounds, times, strict=True)]
            for label, times in (("trtconv", ours), ("best other", best))
        }
        panels.append(Panel(f"{model}, {dtype}", [str(batch) for batch in batches], lines))
    return panels


def draw(panels: Sequence[Panel], unit: str) -> str:
    """The panels side by side, under one legend."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    colors = {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}
    across = min(ACROSS, len(panels))
    width, top = max(2, across) * WIDTH, 28 + 16 * math.ceil(len(names) / 2)
    height = top + HEIGHT * math.ceil(len(panels) / across)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(8, 16, unit),
    ]
    for index, name in enumerate(names):
        x, y = 8 + index % 2 * width // 2, 34 + 16 * (index // 2)
        parts.append(f'<path d="M{x} {y - 4}h20" stroke="{colors[name]}" stroke-width="2"/>')
        parts.append(_text(x + 26, y, name))
    for index, panel in enumerate(panels):
        parts += _panel(panel, index % across * WIDTH, top + index // across * HEIGHT, colors)
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, left: float, top: float, colors: Mapping[str, str]) -> list[str]:
    values = [value for line in panel.lines.values() for value in line if value > 0]
    if not values:
        return [_text(left + MARGIN, top + 20, f"{panel.title}: nothing measured")]
    low, high = math.log(min(values)) - 0.05, math.log(max(values)) + 0.05
    right, bottom = left + WIDTH - 12, top + HEIGHT - 24

    def x_of(index: int) -> float:
        return left + MARGIN + (index + 0.5) / len(panel.ticks) * (right - left - MARGIN)

    def y_of(value: float) -> float:
        return bottom - (math.log(value) - low) / (high - low) * (bottom - top - 28)

    parts = [
        _text(left + MARGIN, top + 18, panel.title),
        f'<path d="M{left + MARGIN} {top + 24}V{bottom}H{right}" fill="none" stroke="#888"/>',
    ]
    parts += [_text(x_of(index), bottom + 14, tick, "middle") for index, tick in enumerate(panel.ticks)]
    for step in range(4):
        value = math.exp(low + (high - low) * step / 3)
        parts.append(
            _text(left + MARGIN - 4, y_of(value) + 4, f"{value:.3g}" if value < 1e3 else f"{value:.0f}", "end")
        )
    for name, line in panel.lines.items():
        points = [(x_of(index), y_of(value)) for index, value in enumerate(line) if value > 0]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        if path:
            parts.append(f'<path d="M{path}" fill="none" stroke="{colors[name]}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colors[name]}"/>' for x, y in points]
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
