"""The least time that a GPU needs by its measured bandwidth and matrix rate."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from speed.clock import reason, synchronize
from speed.models import DTYPES, Subject, tensors_of

REPEATS = 10


def measure_rates(device: torch.device, dtypes: list[str]) -> dict[str, float]:
    """Bytes a second of a large copy, and FLOPs a second of a large product in each dtype."""
    on_gpu = device.type == "cuda"
    source = torch.empty(2**30 if on_gpu else 2**22, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    rates = {"bytes_s": 2 * source.nbytes / _seconds(lambda: target.copy_(source), device)}
    size = 8192 if on_gpu else 128
    for name in dtypes:
        a, b = (torch.randn(size, size, device=device).to(DTYPES[name]) for _ in range(2))
        rates[f"{name}_flops_s"] = 2 * size**3 / _seconds(lambda a=a, b=b: a @ b, device)
    return rates


def _seconds(function: Any, device: torch.device) -> float:
    times = []
    for _ in range(REPEATS):
        synchronize(device)
        begin = time.perf_counter()
        function()
        synchronize(device)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure_roofline(subject: Subject, rates: dict[str, float]) -> dict[str, Any]:
    """A row: FLOPs and bytes of a call, and the milliseconds that the slower of both takes."""
    row = {"kind": "roofline", **subject.key}
    try:
        flops, moved = float(_flops(subject)), float(_bytes(subject))
    except Exception as error:  # a cell of the table, not the end of the run
        return {**row, "failed": reason(error)}
    seconds = max(flops / rates[f"{subject.dtype}_flops_s"], moved / rates["bytes_s"])
    return {**row, "flops": flops, "bytes": moved, "ms": seconds * 1e3}


def _flops(subject: Subject) -> int:
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # One kernel for a whole recurrent layer would hide its products from the counter.
        with torch.backends.cudnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            subject.module(subject.draws[0])
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return counter.get_total_flops()


def _bytes(subject: Subject) -> int:
    """What has to be read or written at least once: weights, input and outputs.

    Tables of embeddings aren't counted: a call reads a few of their rows.
    """
    tables = {id(layer.weight) for layer in subject.module.modules() if isinstance(layer, nn.Embedding)}
    weights = [value for value in subject.module.parameters() if id(value) not in tables]
    tensors = [*weights, *subject.module.buffers(), subject.draws[0], *tensors_of(subject.module(subject.draws[0]))]
    return sum(value.nbytes for value in tensors)
