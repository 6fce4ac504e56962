"""What a conversion costs: seconds by number of calls, and memory on top of the model.

    python benchmarks/conversion_cost.py

Writes benchmarks/results/conversion_cost.md. Times are the best of several conversions in one process; memory is the
resident size of a process of its own, sampled while it converts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pathlib
import platform
import time
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from conversion_cost_against import Peak
from report import table
from torch import nn

import trtconv
from trtconv.capture import capture
from trtconv.emit import registry
from trtconv.emit.emitter import emit
from trtconv.passes import run_trace_passes
from trtconv.tensorrt.logger import collect_messages

RESULT = pathlib.Path(__file__).parent / "results" / "conversion_cost.md"
REPEATS = 3
CALLS = (250, 500, 1000, 2000)
MODELS = ("resnet50", "densenet121", "efficientnet_b0", "vit_b_16", "swin_t")
LARGE_MODELS = ("resnet18", "resnet50", "alexnet", "vgg16", "wide_resnet101_2", "convnext_large", "vit_l_16")

ABOUT_MEMORY = """\
TensorRT-RTX itself holds the weights twice, and a buffer of 64 MiB while it writes the engine (seen by its
allocations, RTX 1.7.1); that buffer is what makes more than 2.5 of models below 130 MiB.
"""


class Block(nn.Module):
    """A transformer's block of 20 calls."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.project = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, 4, width // 4).permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((q * 0.5) @ k.transpose(-1, -2)).softmax(-1)
        x = x + self.project((weights @ v).transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(x)


def linear() -> nn.Module:
    """A block of 2 calls."""
    return nn.Sequential(nn.Linear(16, 16), nn.ReLU())


def convolution() -> nn.Module:
    """A block of 3 calls."""
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())


BLOCKS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor, int]] = {
    "transformer blocks": (lambda: Block(16), torch.randn(2, 8, 16), 20),
    "linear, ReLU": (linear, torch.randn(2, 16), 2),
    "convolution, batch norm, ReLU": (convolution, torch.randn(2, 4, 8, 8), 3),
}


def seconds(model: nn.Module, x: torch.Tensor) -> tuple[int, float, float]:
    """The number of calls, and the least seconds of capture and of emit."""
    runs = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        found = capture(model, (x,), {}, takes=registry.takes).trace
        trace = run_trace_passes(found)
        captured = time.perf_counter()
        with collect_messages() as messages:
            emit(trace, ["x"], ["y"], messages)
        runs.append((captured - begin, time.perf_counter() - captured))
    return len(found.calls), *(min(step) for step in zip(*runs, strict=True))


def by_depth() -> list[tuple[Any, ...]]:
    """Rows for stacks of a block, of several kinds and depths."""
    rows = []
    for name, (block, x, calls_each) in BLOCKS.items():
        for number in CALLS:
            model = nn.Sequential(*(block() for _ in range(number // calls_each))).eval()
            calls, captured, emitted = seconds(model, x)
            total = captured + emitted
            per_call = f"{total / calls * 1e3:.2f}"
            rows.append((name, calls, f"{captured:.2f}", f"{emitted:.2f}", f"{total:.2f}", per_call))
    return rows


def by_model() -> list[tuple[Any, ...]]:
    """Rows for models of torchvision."""
    rows = []
    for name in MODELS:
        model = torchvision.models.get_model(name, weights=None).eval()
        runs = [trtconv.convert(model, [torch.randn(1, 3, 224, 224)]).plan.provenance for _ in range(REPEATS)]
        calls, each = runs[0]["calls"], {step: min(r["seconds"][step] for r in runs) for step in runs[0]["seconds"]}
        columns = (each["capture"], each["emit"], each["capture"] + each["emit"], each["build"])
        rows.append((name, calls, *(f"{value:.2f}" for value in columns)))
    return rows


def memory(name: str) -> tuple[Any, ...]:
    """A row: the memory that a conversion takes on top of the model, in times of its weights."""
    trtconv.convert(nn.Linear(2, 2), [torch.ones(1, 2)])  # what is loaded once
    model = torchvision.models.get_model(name, weights=None).eval()
    weights = sum(value.nbytes for value in model.state_dict().values())
    before = Peak.now()
    with Peak() as peak:
        converted = trtconv.convert(model, [torch.randn(1, 3, 224, 224)])
    after = Peak.now()
    assert converted.plan.segments
    return name, f"{weights / 2**20:.0f}", *(f"{(size - before) / weights:.2f}" for size in (peak.largest, after))


def by_size() -> list[tuple[Any, ...]]:
    """Rows for large models, each found in a process of its own."""
    context = multiprocessing.get_context("spawn")
    rows = []
    for name in LARGE_MODELS:
        with context.Pool(1) as pool:
            rows.append(pool.apply(memory, (name,)))
    return rows


def main() -> None:
    """Run the command line."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sections: list[tuple[str, tuple[str, ...], Callable[[], list[tuple[Any, ...]]]]] = [
        (
            "Seconds by number of calls",
            ("stack of", "calls", "capture", "emit", "capture + emit", "ms a call"),
            by_depth,
        ),
        ("Seconds of whole models", ("model", "calls", "capture", "emit", "capture + emit", "build"), by_model),
        (
            "Memory on top of the model, in times of its weights",
            ("model", "weights, MiB", "peak", "afterwards: engine and network"),
            by_size,
        ),
    ]
    version = f"torch {torch.__version__}, {trtconv.tensorrt.load().__name__} {trtconv.tensorrt.load().__version__}"
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {version}"
    parts = [f"# What a conversion costs\n\n{machine}, no GPU. Best of {REPEATS}.\n"]
    for heading, columns, rows in sections:
        parts.append(f"## {heading}\n\n{table(columns, rows())}")
        print(parts[-1], flush=True)
    parts.append(ABOUT_MEMORY)
    RESULT.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
