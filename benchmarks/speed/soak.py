"""Memory over many calls with changing shapes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch import nn

import trtconv
from speed.clock import reason, synchronize
from speed.engines import timed
from speed.models import DTYPES, MODELS, TINY

BATCHES, SIDES = range(1, 9), (64, 96, 128, 160, 192, 224)
ALL_SHAPES = len(BATCHES) * len(SIDES)
"""More than the calls that a module keeps ready."""
SHAPES = 24
SAMPLES = 20


def soak(calls: int, name: str, dtype: str, device: torch.device, number: int = SHAPES) -> dict[str, Any]:
    """A row: memory of the host and the device after each twentieth of the calls, of shapes in random order.

    What grows in the first half may be caches that fill up; the second half has to stand still.

    Args:
        name: A model that takes images [N, 3, H, W] of any size.
        number: How many shapes are called, of `ALL_SHAPES`.
    """
    module = OfImages({**MODELS, **TINY}[name].make()).eval().to(device, DTYPES[dtype])
    side = (min(SIDES), SIDES[len(SIDES) // 2], max(SIDES))
    shapes = {"x": {0: (min(BATCHES), 2, max(BATCHES)), 2: side, 3: side}}
    sizes = [(batch, 3, side, side) for batch in BATCHES for side in SIDES]
    inputs = [torch.randn(size, device=device).to(DTYPES[dtype]) for size in random.Random(0).sample(sizes, number)]
    row: dict[str, Any] = {"kind": "soak", "model": name, "dtype": dtype, "batch": f"{min(BATCHES)} to {max(BATCHES)}"}
    try:
        converted = trtconv.convert(module, [inputs[0]], dynamic_shapes=shapes)
        samples, seconds = timed(lambda: _sampled(converted, inputs, calls, device))
    except Exception as error:  # a line of the report, not the end of the run
        return {**row, "failed": reason(error)}
    return {**row, "calls": calls, "shapes": len(inputs), "seconds": seconds, "host": samples[0], "device": samples[1]}


class OfImages(nn.Module):
    """A model whose input has a name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.model(x)
        return result


def _sampled(module: Any, inputs: list[torch.Tensor], calls: int, device: torch.device) -> tuple[list[int], list[int]]:
    chance = random.Random(0)
    host, gpu = [], []
    for index in range(calls):
        module(chance.choice(inputs))
        if (index + 1) * SAMPLES // calls > index * SAMPLES // calls:
            synchronize(device)
            host.append(_resident())
            gpu.append(_used(device))
    return host, gpu


def _resident() -> int:
    """Bytes of this process in the host's memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _used(device: torch.device) -> int:
    """Bytes of the device in use by anyone: TensorRT's own are not torch's."""
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return int(total - free)


def growth(samples: list[int]) -> int:
    """Bytes from the middle sample to the last."""
    return samples[-1] - samples[len(samples) // 2 - 1]
