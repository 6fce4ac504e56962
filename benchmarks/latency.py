"""What a call costs, beside everything else that runs the same model: torch, torch.compile, ONNX and TensorRT by hand.

    python benchmarks/latency.py                                    # everything on the GPU; hours
    python benchmarks/latency.py --models resnet18 --dtypes fp16 --batches 1 16
    python benchmarks/latency.py --columns trtconv minimal engine_graph         # some columns (see --help)
    python benchmarks/latency.py --models --soak 100000             # only many calls with changing shapes
    python benchmarks/latency.py --models --loads densenet121       # only what a new process pays
    python benchmarks/latency.py --merge a.json b.json              # parts as one table, from any machine
    python benchmarks/latency.py --device cpu --models tiny         # try the benchmark without a GPU

Writes the rows as JSON after each subject, and at the end tables as Markdown and plots as SVG, all beside --output:
benchmarks/results/latency.{json,md} and latency_*.svg, or $OUT/latency.* where that is set. A subject (a model in one
dtype and batch) that is in several parts is taken from the last.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from speed.clock import reason
from speed.columns import COLUMNS, Ways, measure_columns
from speed.loads import CACHE, get_ready, in_new_process, measure_loads
from speed.models import DTYPES, MODELS, TINY, make_subject
from speed.plots import write_plots
from speed.results import Results, describe_run, merge, read
from speed.roofline import measure_rates, measure_roofline
from speed.soak import ALL_SHAPES, SHAPES, soak
from speed.tables import report
from speed.throughput import WAYS, measure_throughput

FOLDER = Path(os.environ.get("OUT", Path(__file__).resolve().parent / "results"))
BATCHES = (1, 2, 4, 8, 16)
EVERYTHING = [*COLUMNS, *WAYS, "roofline"]
ON_CPU = ["eager", "trtconv", "trtconv_static", "trtconv_no_graph", "module_threads", "roofline"]
"""What there is without a GPU."""


def measure_all(options: argparse.Namespace) -> Results:
    """Measure what the options ask for; the results so far are written after each subject."""
    device, begin = torch.device(options.device), time.perf_counter()
    known = ON_CPU if options.device == "cpu" and not options.columns else EVERYTHING
    chosen = [name for name in options.columns or known if name not in options.skip]
    results, run = Results(), f"{options.output.name}-{int(time.time())}"
    rates = measure_rates(device, options.dtypes) if "roofline" in chosen and options.models else {}
    results.runs[run] = describe_run(
        device, {"calls": options.calls, "cudnn_benchmark": options.cudnn_benchmark}, rates
    )

    get_ready(options.device)

    def keep(rows: list[dict[str, Any]]) -> None:
        results.add(run, rows)
        results.write(options.output.with_suffix(".json"))

    for name in options.models:
        for dtype in options.dtypes:
            for batch in options.batches:
                place, before = f"{name}, {dtype}, batch {batch}", time.perf_counter() - begin
                if before > options.seconds:
                    print(f"{place}: left out, {before:.0f} s are over", flush=True)
                    continue
                keep(_measure(name, dtype, batch, device, chosen, options, rates))
                print(f"{place}: {time.perf_counter() - begin - before:.0f} s", flush=True)
    for name in options.loads:
        keep([measure_loads(name, options.dtypes[0], options.batches[0], options.device, in_new_process)])
    if options.soak:
        keep([soak(options.soak, options.soak_model, options.dtypes[0], device, options.soak_shapes)])
    return results


def _measure(
    name: str,
    dtype: str,
    batch: int,
    device: torch.device,
    chosen: Sequence[str],
    options: argparse.Namespace,
    rates: dict[str, float],
) -> list[dict[str, Any]]:
    """All rows of a subject."""
    if any(column.startswith("compile") for column in chosen):
        torch._dynamo.reset()
    try:
        subject = make_subject(name, dtype, batch, device)
    except Exception as error:  # a line of the table, not the end of the run
        place = {"kind": "call", "model": name, "dtype": dtype, "batch": batch}
        return [{**place, "column": column, "failed": reason(error)} for column in COLUMNS if column in chosen]
    ways = Ways(subject)
    with ways.open:
        rows = measure_columns(ways, [column for column in COLUMNS if column in chosen], options.calls)
        rows += measure_throughput(ways, [way for way in WAYS if way in chosen], options.throughput_seconds)
    if "roofline" in chosen:
        rows.append(measure_roofline(subject, rates))
    del ways, subject
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return rows


@contextlib.contextmanager
def _settings(options: argparse.Namespace) -> Iterator[None]:
    """Everyone's best: TensorFloat-32 in fp32, no gradients; and caches that no earlier run has filled."""
    precision, searching = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    caches = os.environ.get(CACHE)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        os.environ[CACHE] = folder
        if options.device == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = options.cudnn_benchmark
        try:
            yield
        finally:
            if options.device == "cuda":
                torch.set_float32_matmul_precision(precision)
                torch.backends.cudnn.benchmark = searching
            if caches is None:
                del os.environ[CACHE]
            else:
                os.environ[CACHE] = caches


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=[*MODELS, *TINY], default=list(MODELS), metavar="MODEL")
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--columns", nargs="*", choices=EVERYTHING, default=[], metavar="COLUMN", help=str(EVERYTHING))
    parser.add_argument("--skip", nargs="*", choices=EVERYTHING, default=[], metavar="COLUMN")
    parser.add_argument("--calls", type=int, default=200, help="calls of each column in each way (default 200)")
    parser.add_argument("--throughput-seconds", type=float, default=0.2, help="of each number of streams (default 0.2)")
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN search for torch's convolutions")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no subject after this time")
    parser.add_argument("--soak", type=int, default=0, metavar="CALLS", help="many calls with changing shapes")
    parser.add_argument("--soak-model", choices=[*MODELS, *TINY], default="resnet18", metavar="MODEL")
    parser.add_argument("--soak-shapes", type=int, choices=range(1, ALL_SHAPES + 1), default=SHAPES, metavar="NUMBER")
    parser.add_argument("--loads", nargs="*", choices=[*MODELS, *TINY], default=[], metavar="MODEL")
    parser.add_argument("--merge", nargs="+", type=Path, default=[], metavar="FILE", help="measure nothing")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, default=FOLDER / "latency", help="where files go, without a suffix")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parse(arguments)
    if options.merge:
        results = merge([read(path) for path in options.merge])
    else:
        with _settings(options):
            results = measure_all(options)
    results.write(options.output.with_suffix(".json"))
    text = report(results)
    options.output.with_suffix(".md").write_text(text)
    write_plots(results, options.output)
    print(text)


if __name__ == "__main__":
    main()
