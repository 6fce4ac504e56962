"""The models of the coverage table, one file for each library that they come from."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

SOURCES = ("torchvision", "timm", "transformers", "own")
"""The files: `families.<source>_models`, each with a list `EXAMPLES`."""

Draw = Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]
"""Gives new (args, kwargs) each time."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A model of the table.

    Attributes:
        family: The heading that it stands under.
        name: Its name there.
        make: Gives the module in eval mode, and what draws its inputs.
        dynamic_shapes: As for `trtconv.convert`; inputs are then drawn in several sizes.
        excluded: Why it isn't counted, if it isn't: what no engine can express.
        pretrained: Whether its weights mean something; others are made random wherever they are all alike.
        gib: The memory that it takes at most.
    """

    family: str
    name: str
    make: Callable[[], tuple[torch.nn.Module, Draw]]
    dynamic_shapes: Mapping[str, Any] | None = None
    excluded: str = ""
    pretrained: bool = False
    gib: float = 4.0


def examples(source: str) -> list[Example]:
    """All models of one source."""
    found: list[Example] = importlib.import_module(f"families.{source}_models").EXAMPLES
    return found


def images(*shape: int) -> Draw:
    """Draws one batch of images with normally distributed pixels."""
    return lambda: ((torch.randn(shape),), {})


def randomize(module: torch.nn.Module) -> None:
    """Give values to what initialization leaves alike: zero heads and biases, tiny scales, batch norms' moments.

    With those, whole branches of a model wouldn't show in its result.
    """
    with torch.no_grad():
        for value in module.parameters():
            if value.is_floating_point() and value.numel() > 1 and bool((value == value.flatten()[0]).all()):
                scale, offset = (0.1, 1.0) if abs(float(value.flatten()[0])) > 0.01 else (0.05, 0.0)
                value.normal_(offset, scale)
        for child in module.modules():
            if isinstance(child, torch.nn.modules.batchnorm._BatchNorm) and child.running_mean is not None:
                child.running_mean.normal_(0, 0.1)
                child.running_var.uniform_(0.8, 1.2)
