"""How long pictures of large networks take, with each layer a box and folded.

    python benchmarks/drawing.py

Prints a table. It takes graphviz with its program `dot`, and torchvision.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torchvision

import trtconv

ALL = 99


def models() -> dict[str, tuple[Callable[[], torch.nn.Module], torch.Tensor]]:
    """Models by name, with inputs."""

    def encoder(layers: int) -> torch.nn.Module:
        layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        return torch.nn.TransformerEncoder(layer, layers)

    return {
        "resnet152": (torchvision.models.resnet152, torch.randn(1, 3, 64, 64)),
        "densenet201": (torchvision.models.densenet201, torch.randn(1, 3, 64, 64)),
        "36 layers of a transformer": (lambda: encoder(36), torch.randn(1, 16, 32)),
    }


def seconds(function: Callable[[], Any]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    print(f"{'model':28}{'layers':>8}{'dot source':>12}{'SVG':>8}{'folded SVG':>12}  (seconds)")
    for name, (make, x) in models().items():
        converted = trtconv.convert(make().eval(), [x])
        source = seconds(lambda: trtconv.draw(converted, depth=ALL))  # noqa: B023  # it is called at once
        whole = seconds(lambda: trtconv.draw(converted, depth=ALL).pipe(format="svg"))  # noqa: B023  # as above
        folded = seconds(lambda: trtconv.draw(converted).pipe(format="svg"))  # noqa: B023  # as above
        layers = len(converted.network.layers)
        print(f"{name:28}{layers:8}{source:12.2f}{whole:8.2f}{folded:12.2f}", flush=True)


if __name__ == "__main__":
    main()
