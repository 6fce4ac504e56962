"""What conversions cost at HEAD, beside another commit, with the PyTorch and the TensorRT that are here.

    python benchmarks/conversion_cost_against.py COMMIT [--rounds 3] [--models resnet50 vit_b_16]

Each conversion runs in a process of its own; the two commits take turns. Writes
benchmarks/results/conversion_cost_against.md: the least seconds of the processor that a conversion took, TensorRT's
builder included, how often as many as before, and the largest memory on top of the model, in times of its weights.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import psutil
import torch
import torchvision
from report import table

import trtconv

ROOT = pathlib.Path(__file__).parent.parent
RESULT = pathlib.Path(__file__).parent / "results" / "conversion_cost_against.md"
MODELS = ("resnet50", "densenet121", "efficientnet_b0", "vit_b_16", "swin_t", "vgg16", "wide_resnet101_2")


class Peak:
    """The largest resident size of this process while it is open, in bytes."""

    def __enter__(self) -> Peak:
        self.largest = self.now()
        self._open = True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        self._thread.join()

    def _watch(self) -> None:
        while self._open:
            self.largest = max(self.largest, self.now())
            time.sleep(0.002)

    @staticmethod
    def now() -> int:
        """The resident size at the moment."""
        resident: int = psutil.Process().memory_info().rss
        return resident


def one(name: str) -> dict[str, float]:
    """Convert a model of torchvision's twice with whatever trtconv is imported."""
    options = {"cache": False} if "cache" in inspect.signature(trtconv.convert).parameters else {}
    trtconv.convert(torch.nn.Linear(2, 2), [torch.ones(1, 2)])  # what is loaded once
    model = torchvision.models.get_model(name, weights=None).eval()
    weights = sum(value.nbytes for value in model.state_dict().values())
    x, before = torch.randn(1, 3, 224, 224), Peak.now()
    with Peak() as peak:
        trtconv.convert(model, [x], **options)
    began = time.process_time()
    steps = trtconv.convert(model, [x], **options).plan.provenance["seconds"]
    return {
        "whole": time.process_time() - began,
        "ours": steps["capture"] + steps["emit"],
        "peak": (peak.largest - before) / weights,
        "MiB": weights / 2**20,
    }


def measured(folder: pathlib.Path, name: str) -> dict[str, float]:
    """`one` in a process that imports trtconv from a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-W", "ignore", __file__, "--one", name]
    printed = subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(printed.splitlines()[-1])
    return result


def row(folders: tuple[pathlib.Path, pathlib.Path], name: str, rounds: int) -> tuple[Any, ...]:
    """A row of the table: a model, the other commit's figures and these."""
    runs: list[list[dict[str, float]]] = [[], []]
    for _ in range(rounds):
        for found, folder in zip(runs, folders, strict=True):
            found.append(measured(folder, name))
    then, now = ({what: min(run[what] for run in found) for what in found[0]} for found in runs)
    cells = [f"{then[what]:.2f} / {now[what]:.2f}" for what in ("whole", "ours", "peak")]
    return name, f"{now['MiB']:.0f}", cells[0], f"{now['whole'] / then['whole']:.2f}", *cells[1:]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", default="HEAD~1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return print(json.dumps(one(options.one)))

    def git(*args: str) -> str:
        return subprocess.run(["git", *args], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    with tempfile.TemporaryDirectory() as folder:
        folders = pathlib.Path(folder) / "then", pathlib.Path(folder) / "now"
        try:
            for each, commit in zip(folders, (options.commit, "HEAD"), strict=True):
                git("worktree", "add", "--detach", str(each), commit)
            rows = [row(folders, name, options.rounds) for name in options.models]
        finally:
            for each in folders:
                git("worktree", "remove", "--force", str(each))
    commits = f"{git('rev-parse', '--short', options.commit)} / {git('rev-parse', '--short', 'HEAD')}"
    columns = ("model", "weights, MiB", "seconds", "times", "capture + emit, by the clock", "peak on top of the model")
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    versions = f"torch {torch.__version__}, {trtconv.tensorrt.load().__name__} {trtconv.tensorrt.load().__version__}"
    text = f"# What a conversion costs, {commits}\n\n{machine}, {versions}. Least of {options.rounds}.\n\n"
    text += table(columns, rows)
    print(text)
    RESULT.write_text(text)


if __name__ == "__main__":
    main()
