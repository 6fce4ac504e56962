"""The results as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from report import table

from speed.bars import all_bars, best_of_others, geometric_mean, ratio_to_best
from speed.columns import COLUMNS
from speed.results import Results, Row
from speed.soak import growth
from speed.throughput import WAYS

SLIDES = ("googlenet", "resnet18", "resnet50", "densenet121")
"""The models of torch2trt's slides (J. Welsh, 2019), where each has a row by framework, precision and batch."""
FRAMEWORKS = {
    "eager": "PyTorch",
    "compile_graph": "torch.compile, CUDA graph",
    "onnx_graph": "ONNX and TensorRT, CUDA graph",
    "trtconv": "trtconv",
}
PLACES = ("model", "dtype", "batch")

INTRODUCTION = """\
# Latency

Written by `python benchmarks/latency.py`, which says how to run it.

- All columns of a row were made in one process and measured in turns, in rounds; ratios are within one run.
- *Milliseconds a call* are wall time over calls issued one after the other: the GPU's time wherever the host is faster.
- *Host microseconds* are what issuing a call takes while the queue is never full.
- *Alone* is the time from a call to its result with nothing else queued: median / 99th percentile, and the
  interquartile range over the median.
- In graphs, inputs lie where the graph reads them. "trtconv" is called with new inputs each time and returns new
  tensors; so is the minimal module: the same engine's graph with an input copied in and outputs cloned. "ONNX" is
  `torch.onnx.export` (TorchScript) and TensorRT's parser, bound once.
- fp32 rows let every column round to TensorFloat-32.
- A cell with † failed; why is below. An error above 1 (of what is allowed against float64: twice PyTorch's own, plus
  one unit in the last place) is told under "Errors".
"""


def report(results: Results) -> str:
    """All tables that there are rows for."""
    runs = []
    for run, found in results.runs.items():
        settings = ", ".join(f"{name} {value}" for name, value in found["settings"].items())
        runs.append((run, found["date"], found["machine"], found["versions"], settings))
    parts = [INTRODUCTION, table(("run", "date", "machine", "versions", "settings"), runs)]
    parts += _section("Bars", _bars(results))
    parts += _section("Against the best of the others", _means(results))
    parts += _section("Milliseconds a call", _wide(results, lambda row: f"{row['ms']:.3f}"))
    parts += _section("Host microseconds a call", _wide(results, lambda row: f"{row['host_us']:.0f}"))
    parts += _section("Alone, milliseconds", _wide(results, _alone))
    parts += _section("Seconds to convert, to load, and of the first call", _seconds(results))
    parts += _section("Images a second with several streams and threads", _throughput(results))
    parts += _section("Roofline", _roofline(results))
    parts += _section("The rows of torch2trt's slides", _slides(results))
    parts += _section("A new process", _loads(results))
    parts += _section("Memory over many calls", _soaks(results))
    parts += _section("Errors", _errors(results))
    parts += _section("What failed", _failures(results))
    return "\n".join(parts)


def _section(heading: str, body: str) -> Iterator[str]:
    if body:
        yield f"## {heading}\n\n{body}"


def _bars(results: Results) -> str:
    lines = []
    for bar in all_bars(results):
        limit = f"{'at least' if bar.least else 'at most'} {bar.limit:,.3g}"
        lines.append((bar.text, limit, _number(bar.measured), bar.verdict, bar.note))
    return table(("bar", "limit", "measured", "", ""), lines)


def _means(results: Results) -> str:
    columns = ("trtconv", "trtconv_static", "engine_graph")
    groups: dict[tuple[str, int], list[str]] = {}
    for (model, dtype, batch), _ in results.subjects():
        groups.setdefault((dtype, batch), []).append(model)
    lines = []
    for (dtype, batch), models in groups.items():
        ratios = [[ratio_to_best(results, model, dtype, batch, column) for model in models] for column in columns]
        known = [[ratio for ratio in column if not math.isnan(ratio)] for column in ratios]
        if any(known):
            lines.append((dtype, batch, len(known[0]), *(_number(geometric_mean(column)) for column in known)))
    headings = [f"best / {COLUMNS[column]}" for column in columns]
    note = "Geometric means over the models; above 1, ours is faster.\n\n"
    return note + table(("dtype", "batch", "models", *headings), lines) if lines else ""


def _wide(results: Results, show: Any) -> str:
    """A line for each subject, a column for each way to run it."""
    subjects = list(results.subjects())
    used = [column for column in COLUMNS if any(row["column"] == column for _, rows in subjects for row in rows)]
    lines = []
    for place, rows in subjects:
        by_column = {row["column"]: row for row in rows}
        lines.append((*place, *(_cell(by_column.get(column), show) for column in used)))
    return table((*PLACES, *(COLUMNS[column] for column in used)), lines) if lines else ""


def _cell(row: Row | None, show: Any) -> str:
    if row is None or "not_applicable" in row:
        return "-"
    return "†" if "failed" in row else str(show(row))


def _alone(row: Row) -> str:
    return f"{row['alone_ms']:.3f} / {row['alone_p99_ms']:.3f}, {row['alone_spread']:.0%}"


def _seconds(results: Results) -> str:
    shown = (
        ("compile_graph", ("convert_s",)),
        ("onnx_loop", ("convert_s", "load_s", "first_s")),
        ("trtconv", ("convert_s", "first_s")),
        ("trtconv_no_graph", ("load_s", "first_s")),
    )
    lines = []
    for place, rows in results.subjects():
        by_column = {row["column"]: row for row in rows}
        cells = [[by_column.get(column, {}).get(name) for name in names] for column, names in shown]
        texts = [" / ".join("-" if each is None else f"{each:.2f}" for each in group) for group in cells]
        lines.append((*place, *texts))
    headings = (
        "torch.compile",
        "ONNX: convert / load / first call",
        "trtconv: convert / first call",
        "trtconv, from its state in the same process: load / first call",
    )
    return table((*PLACES, *headings), lines) if lines else ""


def _throughput(results: Results) -> str:
    lines = []
    for place, rows in results.subjects("throughput"):
        for way, label in WAYS.items():
            found = [row for row in rows if row["way"] == way]
            if any("failed" in row for row in found):
                lines.append((*place, label, "†", ""))
            elif found:
                rates = ", ".join(f"{row['images_s']:,.0f}" for row in found)
                wrong, checked = (sum(row[name] for row in found) for name in ("wrong", "checked"))
                lines.append((*place, label, rates, f"{wrong} of {checked:,}"))
    return table((*PLACES, "", "1, 2, 4, 8", "wrong outputs"), lines) if lines else ""


def _roofline(results: Results) -> str:
    lines = []
    for (model, dtype, batch), (row, *_) in results.subjects("roofline"):
        if "failed" in row:
            lines.append((model, dtype, batch, "†", "", "", "", "", ""))
            continue
        best, which = best_of_others(results, model, dtype, batch)
        ours = [results.value(model, dtype, batch, column, "ms") for column in ("trtconv", "engine_graph")]
        shares = [_share(row["ms"] / each) for each in (*ours, best)]
        amounts = (f"{row['flops'] / 1e9:.2f}", f"{row['bytes'] / 2**20:.1f}", f"{row['ms']:.4f}")
        lines.append((model, dtype, batch, *amounts, *shares, COLUMNS.get(which, "-")))
    rates = "; ".join(
        f"{run}: {found['rates']['bytes_s'] / 1e9:,.0f} GB/s, "
        + ", ".join(
            f"{name.removesuffix('_flops_s')} {rate / 1e12:,.1f} TFLOPs/s"
            for name, rate in found["rates"].items()
            if name != "bytes_s"
        )
        for run, found in results.runs.items()
        if found["rates"]
    )
    note = (
        "What a call computes, and reads and writes at least (weights, input, output), over the rates of a large "
        "product and a large copy on that GPU. Weights that fit its cache may come faster than this says.\n\n"
        f"Rates: {rates}\n\n"
    )
    headings = ("GFLOPs", "MiB", "least ms", "share: trtconv", "its engine", "best other", "which")
    return note + table((*PLACES, *headings), lines) if lines else ""


def _slides(results: Results) -> str:
    lines = []
    for model in SLIDES:
        for (name, dtype, batch), _ in results.subjects():
            for column, framework in FRAMEWORKS.items() if name == model else ():
                ms = results.value(model, dtype, batch, column, "ms")
                if not math.isnan(ms):
                    lines.append((model, framework, dtype, batch, f"{batch / ms * 1e3:,.0f}", f"{ms:.3f}"))
    return table(("model", "framework", "precision", "batch", "images/s", "ms"), lines) if lines else ""


def _loads(results: Results) -> str:
    names = (
        ("first_ready_s", "first_convert_s", "first_call_s"),
        ("second_ready_s", "second_convert_s", "second_call_s"),
        ("load_ready_s", "load_read_s", "load_state_s", "load_call_s", "load_again_s"),
    )
    lines = []
    for place, (row, *_) in results.subjects("load"):
        texts = [" / ".join(f"{row[name]:.3f}" for name in group) for group in names] if "failed" not in row else ["†"]
        size = f"{row['state_bytes'] / 2**20:.0f}" if "state_bytes" in row else ""
        lines.append((*place, *texts, *[""] * (3 - len(texts)), size))
    note = (
        "Seconds. Before the clock starts, each process has converted and called a linear layer, as any has to: "
        "imports, TensorRT's libraries and its compiler (ready).\n\n"
    )
    headings = (
        "first: ready / convert / call",
        "second: ready / convert / call",
        "load: ready / read / state / first call / second call",
        "MiB",
    )
    return note + table((*PLACES, *headings), lines) if lines else ""


def _soaks(results: Results) -> str:
    lines = []
    for place, (row, *_) in results.subjects("soak"):
        if "failed" in row:
            lines.append((*place, "†", "", "", ""))
            continue
        spans = [
            f"{samples[0] / 2**20:,.1f}, {samples[len(samples) // 2 - 1] / 2**20:,.1f}, {samples[-1] / 2**20:,.1f}, "
            f"{growth(samples):+,} bytes"
            for samples in (row["host"], row["device"])
        ]
        lines.append((*place, f"{row['calls']:,}", row["shapes"], *spans))
    headings = ("calls", "shapes", "host MiB: at first, half-way, at last; growth", "device MiB")
    return table((*PLACES, *headings), lines) if lines else ""


def _errors(results: Results) -> str:
    rows = [row for row in results.of_kind("call") if row.get("error_share", 0) > 1]
    lines = [(*(row[name] for name in PLACES), COLUMNS[row["column"]], f"{row['error_share']:.2f}") for row in rows]
    return table((*PLACES, "column", "error over what is allowed"), lines) if lines else ""


def _failures(results: Results) -> str:
    lines = []
    for row in results.rows:
        if "failed" in row:
            what = COLUMNS.get(row.get("column", ""), row.get("way", row["kind"]))
            lines.append((*(row[name] for name in PLACES), what, row["failed"].replace("|", "\\|")))
    return table((*PLACES, "what", "why"), lines) if lines else ""


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"
