"""What a new process pays for a model that was converted before, with the caches that the first one left."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import trtconv
from speed.clock import reason
from speed.engines import timed
from speed.models import make_subject

CACHE = "TRTCONV_CACHE"


def measure_loads(name: str, dtype: str, batch: int, device: str, in_new_process: Callable[..., Any]) -> dict[str, Any]:
    """A row: seconds of a first and a second conversion and of a load, each in a new process, to the first result.

    Args:
        in_new_process: Calls a function of this module with arguments; a test may call it here.
    """
    row: dict[str, Any] = {"kind": "load", "model": name, "dtype": dtype, "batch": batch}
    with tempfile.TemporaryDirectory() as folder:
        for step, function in (("first", convert), ("second", convert), ("load", load)):
            try:
                found = in_new_process(function, folder, name, dtype, batch, device)
            except Exception as error:  # a line of the table, not the end of the run
                return {**row, "failed": f"{step}: {reason(error)}"}
            row.update({f"{step}_{key}": value for key, value in found.items()})
        row["state_bytes"] = (Path(folder) / "state.pt").stat().st_size
    return row


def convert(folder: str, name: str, dtype: str, batch: int, device: str) -> dict[str, float]:
    """Seconds to convert and to call once; the state is saved in the folder."""
    subject = make_subject(name, dtype, batch, torch.device(device))
    x = subject.draws[0]
    with torch.no_grad():
        ready = get_ready(device)
        timed(lambda: subject.module(x))
        module, converting = timed(lambda: trtconv.convert(subject.module, [x]))
        _, calling = timed(lambda: module(x))
        module(x)
    torch.save(module.state_dict(), Path(folder) / "state.pt")
    return {"ready_s": ready, "convert_s": converting, "call_s": calling, "s": converting + calling}


def load(folder: str, name: str, dtype: str, batch: int, device: str) -> dict[str, float]:
    """Seconds to read the file, to load the state and to call once."""
    subject = make_subject(name, dtype, batch, torch.device(device))
    x = subject.draws[0]
    with torch.no_grad():
        ready = get_ready(device)
        timed(lambda: subject.module(x))
        begin = time.perf_counter()
        state = torch.load(Path(folder) / "state.pt", weights_only=True)
        reading = time.perf_counter() - begin
        module = trtconv.TRTModule()
        _, loading = timed(lambda: module.load_state_dict(state))
        _, calling = timed(lambda: module(x))
        _, again = timed(lambda: module(x))
    seconds = {"ready_s": ready, "read_s": reading, "state_s": loading, "call_s": calling, "again_s": again}
    return {**seconds, "s": reading + loading + calling}


def get_ready(device: str) -> float:
    """Pay beforehand for what any model pays once in a process: imports, TensorRT's libraries, its compiler.

    Returns: the seconds that it took.
    """
    x = torch.ones(1, 2, device=device)
    _, seconds = timed(lambda: trtconv.convert(torch.nn.Linear(2, 2).to(device), [x])(x))
    return seconds


def in_new_process(function: Callable[..., Any], folder: str, *args: Any) -> Any:
    """Call a function in a process of its own, whose caches lie in the folder."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, _set_cache, (folder,)) as pool:
        return pool.apply(function, (folder, *args))


def _set_cache(folder: str) -> None:
    os.environ[CACHE] = str(Path(folder) / "cache")
