"""Whether engines that run side by side disturb one another on this GPU: results bit by bit, of trtconv and without it.

    python benchmarks/streams.py [--rounds 5]

A resnet18 in fp16 at batch 1, eight streams with an input each, and every result compared with what the same input
gives when nothing else runs. Writes benchmarks/results/streams.md, or $OUT/streams.md where that is set.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torchvision
from speed.engines import LoadedEngine
from torch import Tensor

import trtconv
from trtconv import tensorrt as trt

FOLDER = Path(os.environ.get("OUT", Path(__file__).resolve().parent / "results"))
STREAMS, CALLS = 8, 300

Call = Callable[[], Tensor]
"""Queues a run on the current stream and returns its result, a tensor of its own."""


def rounds_of(calls: Sequence[Call], rounds: int) -> tuple[list[int], float]:
    """How many results are wrong in each round, and the calls a second."""
    streams = [torch.cuda.Stream() for _ in calls]
    expected = []
    for call, stream in zip(calls, streams, strict=True):
        with torch.cuda.stream(stream):
            expected.append(call().clone())
        torch.cuda.synchronize()
    wrong, fastest = [], 0.0
    for _ in range(rounds):
        results: list[list[Tensor]] = [[] for _ in calls]
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(CALLS):
            for call, stream, mine in zip(calls, streams, results, strict=True):
                with torch.cuda.stream(stream):
                    mine.append(call())
        torch.cuda.synchronize()
        fastest = max(fastest, len(calls) * CALLS / (time.perf_counter() - began))
        differ = [
            (torch.stack(mine) != value).flatten(1).any(1).sum() for mine, value in zip(results, expected, strict=True)
        ]
        wrong.append(int(sum(differ)))
    return wrong, fastest


def of_engines(plan: bytes, inputs: Sequence[Tensor], alone: bool) -> list[Call]:
    """Contexts bound and captured without trtconv's runtime: of one engine, or each of one that is loaded `alone`."""
    shared = LoadedEngine(plan)

    def of(x: Tensor) -> Call:
        bound = (LoadedEngine(plan) if alone else shared).bind([x.clone()])
        graph = bound.capture()

        def call() -> Tensor:
            graph.replay()
            return bound.outputs[0].clone()

        return call

    return [of(x) for x in inputs]


def of_module(module: trtconv.TRTModule, inputs: Sequence[Tensor]) -> list[Call]:
    """Calls of one converted module."""

    def of(x: Tensor) -> Call:
        return lambda: module(x)

    return [of(x) for x in inputs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval().cuda().half()
    # Inputs of several sizes: those of a random model's results differ by much more than rounding.
    inputs = [
        torch.randn(1, 3, 224, 224, device="cuda", dtype=torch.float16) * (1 + number) for number in range(STREAMS)
    ]
    module = trtconv.convert(model, inputs[0], cuda_graphs=True)
    plan = module.engine.serialize()
    lines = [
        "# Engines side by side",
        "",
        f"Written by `python benchmarks/streams.py` on {torch.cuda.get_device_name()}, "
        f"{trt.release()}, torch {torch.__version__}.",
        "",
        f"Results of {STREAMS} streams that aren't, bit by bit, what their input gives alone; "
        f"{STREAMS * CALLS:,} calls a round.",
        "",
        "| what runs | wrong, by round | calls a second |",
        "| --- | --- | --- |",
    ]
    ways = {
        "trtconv: one module": lambda: of_module(module, inputs),
        "without trtconv: a context each of one engine": lambda: of_engines(plan, inputs, alone=False),
        "without trtconv: an engine each, loaded alone": lambda: of_engines(plan, inputs, alone=True),
    }
    for name, calls in ways.items():
        wrong, rate = rounds_of(calls(), rounds)
        lines.append(f"| {name} | {', '.join(map(str, wrong))} | {rate:,.0f} |")
        print(lines[-1], flush=True)
    (FOLDER / "streams.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
