"""Timing of several calls that do the same work, in turns, so that what disturbs one disturbs all."""

from __future__ import annotations

import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

ROUNDS = 10
BURST = 5
"""Calls issued before the host waits: so few that the queue of kernels, of 1,024 places, never fills."""
LONGER, BLOCK_SECONDS = 5, 0.02
"""Calls in a row: so many times those of a round, or for so long, that how a block begins and ends hardly counts."""
WARM = 3


@dataclasses.dataclass
class Samples:
    """What was seen of one call.

    Attributes:
        issuing: Seconds that the host took to issue each call, the queue never full.
        alone: Seconds from each call to its result, nothing else queued.
        in_a_row: Seconds a call of blocks of calls issued one after the other: the GPU's time where the
            host is faster than it.
    """

    issuing: list[float] = dataclasses.field(default_factory=list)
    alone: list[float] = dataclasses.field(default_factory=list)
    in_a_row: list[float] = dataclasses.field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Medians, 99th percentiles and spreads (interquartile range over median) of each."""
        return {
            "host_us": statistics.median(self.issuing) * 1e6,
            "host_p99_us": quantile(self.issuing, 0.99) * 1e6,
            "alone_ms": statistics.median(self.alone) * 1e3,
            "alone_p99_ms": quantile(self.alone, 0.99) * 1e3,
            "alone_spread": spread(self.alone),
            "ms": statistics.median(self.in_a_row) * 1e3,
            "ms_spread": spread(self.in_a_row),
            "calls": len(self.alone),
        }


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of the values doesn't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def spread(values: list[float]) -> float:
    """The interquartile range over the median."""
    return (quantile(values, 0.75) - quantile(values, 0.25)) / statistics.median(values)


def synchronize(device: torch.device) -> None:
    """Wait for the device; the CPU is never behind."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(
    calls: Mapping[str, Callable[[], Any]], number: int, device: torch.device
) -> tuple[dict[str, Samples], dict[str, str]]:
    """Time each call `number` times in each of three ways, in turns.

    Returns: the samples by name; and of what failed, why.
    """
    samples = {name: Samples() for name in calls}
    failed: dict[str, str] = {}
    each = max(1, -(-number // ROUNDS))
    with _without_collection():
        for turn in range(ROUNDS):
            order = list(calls)
            order = order[turn % len(order) :] + order[: turn % len(order)]  # nothing always follows the same
            for name in order:
                if name not in failed:
                    try:
                        _one_round(calls[name], samples[name], each, device)
                    except Exception as error:  # a cell of the table, not the end of the run
                        failed[name] = reason(error)
    return {name: found for name, found in samples.items() if name not in failed}, failed


def _one_round(call: Callable[[], Any], samples: Samples, each: int, device: torch.device) -> None:
    for _ in range(WARM):
        call()
    for start in range(0, each, BURST):
        synchronize(device)
        for _ in range(min(BURST, each - start)):
            begin = time.perf_counter()
            call()
            samples.issuing.append(time.perf_counter() - begin)
    for _ in range(each):
        synchronize(device)
        begin = time.perf_counter()
        call()
        synchronize(device)
        samples.alone.append(time.perf_counter() - begin)
    number = max(each, min(LONGER * each, int(BLOCK_SECONDS / statistics.median(samples.alone))))
    begin = time.perf_counter()
    for _ in range(number):
        call()
    synchronize(device)
    samples.in_a_row.append((time.perf_counter() - begin) / number)


@contextmanager
def _without_collection() -> Iterator[None]:
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def reason(error: BaseException) -> str:
    """An error in one line of a table."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]
