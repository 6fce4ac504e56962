"""Seconds that capture, emit and build take for whole models, the best of several runs.

    python benchmarks/capture_speed.py [MODEL...]

MODEL is a name of torchvision.models; by default resnet50, densenet121 and efficientnet_b0.
"""

from __future__ import annotations

import argparse

import torch
import torchvision

import trtconv

WIDTH = 13
DEFAULT = ("resnet50", "densenet121", "efficientnet_b0")


def measure(name: str, repeats: int) -> dict[str, float]:
    """The least seconds of each step over the repeats, the first of which also warms up torch."""
    model = getattr(torchvision.models, name)(weights=None).eval()
    x = torch.randn(1, 3, 224, 224)
    runs = [trtconv.convert(model, [x]).plan.provenance for _ in range(repeats)]
    best = {step: min(run["seconds"][step] for run in runs) for step in runs[0]["seconds"]}
    return {"first capture": runs[0]["seconds"]["capture"], **best, "calls": runs[0]["calls"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=DEFAULT, metavar="MODEL")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    columns = ("calls", "first capture", "capture", "emit", "build", "capture+emit")
    print(f"{'model':20} " + " ".join(f"{column:>{WIDTH}}" for column in columns))
    for name in options.models:
        seconds = measure(name, options.repeats)
        both = seconds["capture"] + seconds["emit"]
        row = [seconds[column] for column in columns[1:-1]] + [both]
        print(f"{name:20} {seconds['calls']:{WIDTH}} " + " ".join(f"{value:{WIDTH}.3f}" for value in row))


if __name__ == "__main__":
    main()
