"""The ratios that trtconv's calls have to keep, each within one run."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable

from speed.results import Results
from speed.soak import growth

EIGHT = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "efficientnet_b0",
    "convnext_tiny",
    "unet_256",
    "vit_b_16",
    "swin_t",
)
OTHERS = (
    "eager_graph",
    "eager_graph_last",
    "compile_graph",
    "compile_graph_last",
    "onnx_graph",
)
"""The best that there is beside trtconv."""
HOST_NOISE = 2**21
"""Bytes that a process's resident size may differ by without a leak."""


@dataclasses.dataclass(frozen=True)
class Bar:
    """One ratio.

    Attributes:
        measured: NaN if it wasn't.
        limit: What it has to reach, if `least`, or may not exceed.
        note: What the number is of.
    """

    text: str
    measured: float
    limit: float
    least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether it holds."""
        if math.isnan(self.measured):
            return "not measured"
        holds = self.measured >= self.limit if self.least else self.measured <= self.limit
        return "held" if holds else "**missed**"


def best_of_others(results: Results, model: str, dtype: str, batch: int) -> tuple[float, str]:
    """Milliseconds of the best other column, and which it is; NaN if none was measured."""
    times = {column: results.value(model, dtype, batch, column, "ms") for column in OTHERS}
    known = {column: ms for column, ms in times.items() if not math.isnan(ms)}
    if not known:
        return math.nan, ""
    best = min(known, key=lambda column: known[column])
    return known[best], best


def ratio_to_best(results: Results, model: str, dtype: str, batch: int, column: str = "trtconv") -> float:
    """The best other column's time over ours: above 1, ours is faster."""
    best, _ = best_of_others(results, model, dtype, batch)
    return best / results.value(model, dtype, batch, column, "ms")


def geometric_mean(ratios: Iterable[float]) -> float:
    """The geometric mean; NaN if there are none."""
    known = list(ratios)
    return statistics.geometric_mean(known) if known else math.nan


def all_bars(results: Results) -> list[Bar]:
    """Every bar, measured or not."""
    return [*_calls(results), *_against_others(results), *_threads(results), *_loads(results), *_memory(results)]


def _calls(results: Results) -> list[Bar]:
    def ratio(model: str, column: str, floor: str, name: str) -> float:
        values = (results.value(model, "fp16", 1, each, name) for each in (column, floor))
        return next(values) / next(values)

    bars = []
    for model in ("resnet18", "resnet50"):
        for text, column, floor, name, limit in (
            ("host time of a call over the minimal module's", "trtconv", "minimal", "host_us", 1.3),
            ("GPU time of a call over the bare replay's", "trtconv", "engine_graph", "ms", 1.05),
            ("host time with static io over the bare replay's", "trtconv_static", "engine_graph", "host_us", 1.5),
        ):
            bars.append(Bar(f"{model}, fp16, batch 1: {text}", ratio(model, column, floor, name), limit))
    return bars


def _against_others(results: Results) -> list[Bar]:
    ratios = {
        (model, batch): ratio
        for model in EIGHT
        for batch in (1, 16)
        if not math.isnan(ratio := ratio_to_best(results, model, "fp16", batch))
    }
    singles = {model: ratio for (model, batch), ratio in ratios.items() if batch == 1}
    lowest = min(singles, key=lambda model: singles[model], default="")
    counted = f"{len(ratios)} of {2 * len(EIGHT)} rows"
    return [
        Bar("best other column over a call, geometric mean", geometric_mean(ratios.values()), 0.91, True, counted),
        Bar("best other column over a call, lowest of batch 1", singles.get(lowest, math.nan), 0.75, True, lowest),
    ]


def _threads(results: Results) -> list[Bar]:
    rows = [
        row
        for row in results.of_kind("throughput")
        if (row["model"], row["dtype"], row["batch"], row["way"]) == ("resnet18", "fp16", 1, "module_threads")
        and "failed" not in row
    ]
    rates = {row["workers"]: row["images_s"] for row in rows}
    wrong, checked = (sum(row[name] for row in rows) for name in ("wrong", "checked"))
    return [
        Bar(
            "resnet18, fp16, batch 1: images a second of 8 threads over one's",
            rates.get(8, math.nan) / rates.get(1, math.nan),
            2.5,
            True,
        ),
        Bar("wrong outputs of threads", wrong if rows else math.nan, 0, note=f"of {checked}"),
    ]


def _loads(results: Results) -> list[Bar]:
    rows = {row["model"]: row for row in results.of_kind("load") if "failed" not in row}
    seconds = rows.get("densenet121", {}).get("load_s", math.nan)
    bars = [Bar("densenet121: seconds from its file to a result, in a new process", seconds, 0.3)]
    for model, row in rows.items():
        ratio = row["second_s"] / row["first_s"]
        bars.append(Bar(f"{model}: second conversion over the first, each in a new process", ratio, 1 / 3))
    return bars


def _memory(results: Results) -> list[Bar]:
    bars = []
    for row in results.of_kind("soak"):
        if "failed" not in row:
            text = f"{row['calls']:,} calls with changing shapes: bytes that the second half adds"
            bars.append(Bar(f"{text}, host", growth(row["host"]), HOST_NOISE))
            bars.append(Bar(f"{text}, device", growth(row["device"]), 0))
    return bars
