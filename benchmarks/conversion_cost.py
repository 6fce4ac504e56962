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
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
import torchvision
from report import table
from torch import nn

import trtconv

RESULT = pathlib.Path(__file__).parent / "results" / "conversion_cost.md"
REPEATS = 3
DEPTHS = (6, 12, 25, 50, 100)
MODELS = ("resnet50", "densenet121", "efficientnet_b0", "vit_b_16", "swin_t")
LARGE_MODELS = ("alexnet", "vgg16", "wide_resnet101_2", "convnext_large", "vit_l_16")


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


def seconds(model: nn.Module, x: torch.Tensor, **options: Any) -> tuple[int, dict[str, float]]:
    """The number of calls, and the least seconds of each step."""
    runs = [trtconv.convert(model, [x], **options).plan.provenance for _ in range(REPEATS)]
    return runs[0]["calls"], {step: min(run["seconds"][step] for run in runs) for step in runs[0]["seconds"]}


def by_depth() -> list[tuple[Any, ...]]:
    """Rows for stacks of blocks, with fixed and with dynamic sizes."""
    rows = []
    x = torch.randn(2, 8, 16)
    dynamic = {"input": {0: trtconv.Dim(1, 8), 1: trtconv.Dim(2, 64)}}
    for depth in DEPTHS:
        model = nn.Sequential(*(Block(16) for _ in range(depth))).eval()
        calls, fixed = seconds(model, x)
        _, varying = seconds(model, x, dynamic_shapes=dynamic)
        both = [each["capture"] + each["emit"] for each in (fixed, varying)]
        rows.append((calls, *(f"{fixed[step]:.2f}" for step in ("capture", "emit")), *(f"{s:.2f}" for s in both)))
    return rows


def by_model() -> list[tuple[Any, ...]]:
    """Rows for models of torchvision."""
    rows = []
    for name in MODELS:
        model = torchvision.models.get_model(name, weights=None).eval()
        calls, each = seconds(model, torch.randn(1, 3, 224, 224))
        columns = (each["capture"], each["emit"], each["capture"] + each["emit"], each["build"])
        rows.append((name, calls, *(f"{value:.2f}" for value in columns)))
    return rows


class Peak:
    """The largest resident size of this process while it is open, in bytes."""

    def __enter__(self) -> Peak:
        self.largest = self._now()
        self._open = True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        self._thread.join()

    def _watch(self) -> None:
        while self._open:
            self.largest = max(self.largest, self._now())
            time.sleep(0.002)

    @staticmethod
    def _now() -> int:
        resident: int = psutil.Process().memory_info().rss
        return resident


def memory(name: str) -> tuple[Any, ...]:
    """A row: the memory that steps of a conversion take on top of the model, in times of its weights."""
    trtconv.convert(nn.Linear(2, 2), [torch.ones(1, 2)])  # what is loaded once
    model = torchvision.models.get_model(name, weights=None).eval()
    weights = sum(value.nbytes for value in model.state_dict().values())
    before = Peak._now()
    from trtconv import registry
    from trtconv.build import build
    from trtconv.capture import capture
    from trtconv.emit import emit
    from trtconv.logger import collect_messages
    from trtconv.passes import run_trace_passes

    x = torch.randn(1, 3, 224, 224)
    with Peak() as own, collect_messages() as messages:
        captured = capture(model, (x,), {}, takes=registry.takes)
        network = emit(run_trace_passes(captured.trace), ["x"], ["y"], messages)
    held = Peak._now()
    with Peak() as builder, collect_messages() as messages:
        engine = build(network, (), messages)
    del captured, network, engine
    with Peak() as whole:
        trtconv.convert(model, [x])
    ratios = (own.largest - before, builder.largest - held, whole.largest - before)
    return name, f"{weights / 2**20:.0f}", *(f"{max(0, size) / weights:.2f}" for size in ratios)


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
            "Seconds by number of calls (stacks of transformer blocks)",
            ("calls", "capture", "emit", "capture + emit", "the same, batch and length dynamic"),
            by_depth,
        ),
        ("Seconds of whole models", ("model", "calls", "capture", "emit", "capture + emit", "build"), by_model),
        (
            "Memory on top of the model, in times of its weights",
            ("model", "weights, MiB", "capture + emit", "TensorRT's builder alone", "the whole conversion"),
            by_size,
        ),
    ]
    version = f"torch {torch.__version__}, {trtconv.tensorrt.load().__name__} {trtconv.tensorrt.load().__version__}"
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {version}"
    parts = [f"# What a conversion costs\n\n{machine}, no GPU. Best of {REPEATS}.\n"]
    for heading, columns, rows in sections:
        parts.append(f"## {heading}\n\n{table(columns, rows())}")
        print(parts[-1], flush=True)
    RESULT.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
