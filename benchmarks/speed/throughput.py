"""Images a second of several streams and threads, with every output checked."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from speed.clock import reason, synchronize
from speed.columns import Ways
from speed.models import Subject, tensors_of

WORKERS = (1, 2, 4, 8)
REPEATS = 4
"""Runs of each number of workers, in turns; the first is for warming up."""
SECONDS = 0.2
"""What a run of one worker takes; one of several is made for twice as many calls, which they share."""
KEPT_BYTES = 2**30
"""All outputs of a run are kept until they are checked; runs are cut so that they need no more."""

WAYS = {
    "engine_streams": "engine, a graph for each stream",
    "module_streams": "one module, one thread, several streams",
    "module_threads": "one module, a thread and a stream each",
}

Outputs = list[list[list[Tensor]]]
"""By worker and call, the tensors of the result."""


def measure_throughput(ways: Ways, chosen: Sequence[str], seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Rows of one subject, one for each way and number of workers."""
    rows = []
    for way in chosen:
        row = {"kind": "throughput", **ways.subject.key, "way": way}
        try:
            run = _RUNS[way](ways)
            expected = Expected(ways)
            rows += [{**row, **found} for found in _sweep(run, expected, ways.subject, seconds)]
        except Exception as error:  # a cell of the table, not the end of the run
            rows.append({**row, "failed": reason(error)})
    return rows


Run = Callable[[int, int], tuple[float, Outputs]]
"""From workers and calls of each to the seconds that it took, and the outputs to check."""


def _sweep(run: Run, expected: Expected, subject: Subject, seconds: float) -> list[dict[str, Any]]:
    once = min(run(1, 3)[0] for _ in range(2)) / 3
    rates: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    checked, wrong = dict.fromkeys(WORKERS, 0), dict.fromkeys(WORKERS, 0)
    for turn in range(REPEATS):
        for workers in WORKERS:
            affordable = KEPT_BYTES // (expected.bytes_each * workers)
            calls = int(max(10, min(seconds / once / max(1, workers / 2), affordable)))
            took, outputs = run(workers, calls)
            for worker, results in enumerate(outputs):
                checked[workers] += len(results)
                wrong[workers] += sum(not expected.fits(worker, result) for result in results)
            if turn:
                rates[workers].append(workers * calls * subject.batch / took)
    return [
        {
            "workers": workers,
            "images_s": statistics.median(rates[workers]),
            "checked": checked[workers],
            "wrong": wrong[workers],
        }
        for workers in WORKERS
    ]


class Expected:
    """What each worker's input gives when nothing else runs.

    A result is right if it is nearer to its own input's than a tenth of the way to any other input's, so that neither a
    mixed-up nor a half-written one passes, whatever the dtype's rounding.
    """

    def __init__(self, ways: Ways) -> None:
        module, _ = ways.converted
        self._results = []
        for x in ways.subject.draws:
            self._results.append([value.clone() for value in tensors_of(module(x))])
            synchronize(ways.subject.device)
        self.bytes_each = sum(value.nbytes for value in self._results[0])
        self._limits = [
            min(_distance(own, other) for other in self._results if other is not own) / 10 for own in self._results
        ]
        if not all(limit > 0 for limit in self._limits):
            raise ValueError("two inputs have the same result, so that mixed-up ones wouldn't show")

    def fits(self, worker: int, result: Sequence[Tensor]) -> bool:
        """Whether this is the result of the worker's input."""
        return _distance(self._results[worker], result) <= self._limits[worker]


def _distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    return max(float((a.float() - b.float()).abs().max()) for a, b in zip(one, other, strict=True))


# -- the ways to run several workers --------------------------------------------------------------


def _streams(subject: Subject, number: int = max(WORKERS)) -> list[Any]:
    """For each worker what makes its stream current."""
    if subject.device.type != "cuda":
        return [contextlib.nullcontext() for _ in range(number)]
    streams: list[Any] = [torch.cuda.Stream(subject.device) for _ in range(number)]
    return [torch.cuda.stream(stream) for stream in streams]


def _engine_streams(ways: Ways) -> Run:
    bounds = [ways.engine.bind([x]) for x in ways.subject.draws[: max(WORKERS)]]
    graphs = [bound.capture() for bound in bounds]
    streams = _streams(ways.subject)

    def run(workers: int, calls: int) -> tuple[float, Outputs]:
        synchronize(ways.subject.device)
        begin = time.perf_counter()
        for _ in range(calls):
            for stream, graph in zip(streams[:workers], graphs, strict=False):
                with stream:
                    graph.replay()
        synchronize(ways.subject.device)
        return time.perf_counter() - begin, [[bound.outputs] for bound in bounds[:workers]]

    return run


def _module_streams(ways: Ways) -> Run:
    module, _ = ways.converted
    streams = _streams(ways.subject)

    def run(workers: int, calls: int) -> tuple[float, Outputs]:
        results: list[list[Any]] = [[] for _ in range(workers)]
        turn = list(zip(streams, ways.subject.draws, results, strict=False))
        synchronize(ways.subject.device)
        begin = time.perf_counter()
        for _ in range(calls):
            for stream, x, mine in turn:
                with stream:
                    mine.append(module(x))
        synchronize(ways.subject.device)
        return time.perf_counter() - begin, [list(map(tensors_of, mine)) for mine in results]

    return run


def _module_threads(ways: Ways) -> Run:
    module, _ = ways.converted
    streams = _streams(ways.subject)

    def run(workers: int, calls: int) -> tuple[float, Outputs]:
        ready = threading.Barrier(workers + 1)

        def work(worker: int) -> list[Any]:
            x, results = ways.subject.draws[worker], []
            with torch.no_grad(), streams[worker]:
                ready.wait()
                for _ in range(calls):
                    results.append(module(x))
            return results

        synchronize(ways.subject.device)
        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(work, worker) for worker in range(workers)]
            ready.wait()
            begin = time.perf_counter()
            results = [future.result() for future in futures]
            synchronize(ways.subject.device)
            took = time.perf_counter() - begin
        return took, [list(map(tensors_of, mine)) for mine in results]

    return run


_RUNS: dict[str, Callable[[Ways], Run]] = {
    "engine_streams": _engine_streams,
    "module_streams": _module_streams,
    "module_threads": _module_threads,
}
