"""The models of the coverage table, one file for each library that they come from."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

SOURCES = ("torchvision", "timm", "transformers", "own")
"""The files: `families.<source>_models`, each with a list `EXAMPLES`."""
VARYING = ("varying",)
"""Those of the table of sizes that vary."""

Draw = Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]
"""Gives new (args, kwargs) each time; some take the sizes that these have."""


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
        draws: On how many inputs it is compared at least; they differ in their sizes.
    """

    family: str
    name: str
    make: Callable[[], tuple[torch.nn.Module, Draw]]
    dynamic_shapes: Mapping[str, Any] | None = None
    excluded: str = ""
    pretrained: bool = False
    gib: float = 4.0
    draws: int = 1


def examples(source: str) -> list[Example]:
    """All models of one source."""
    found: list[Example] = importlib.import_module(f"families.{source}_models").EXAMPLES
    return found


def images(*shape: int) -> Draw:
    """Draws one batch of images with normally distributed pixels; of batch, height and width where these are given."""
    return lambda *size: ((torch.randn(size[0], shape[1], *size[1:]) if size else torch.randn(shape),), {})


def randomize(module: torch.nn.Module) -> None:
    """Give values to what initialization leaves alike: zero heads and biases, tiny scales.

    With those, whole branches of a model wouldn't show in its result.
    """
    with torch.no_grad():
        for value in module.parameters():
            if value.is_floating_point() and value.numel() > 1 and bool((value == value.flatten()[0]).all()):
                scale, offset = (0.1, 1.0) if abs(float(value.flatten()[0])) > 0.01 else (0.05, 0.0)
                value.normal_(offset, scale)


def set_moments(module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Scale batch norms by what they get for some inputs.

    Otherwise activations fade or grow from layer to layer until the result no longer depends on the inputs.
    """

    def set_of(norm: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0]
        per_channel = x.numel() // x.shape[1] >= 16  # a mean of few numbers would say nothing of other inputs
        axes = [axis for axis in range(x.dim()) if axis != 1 or not per_channel]
        square = x.double().square().mean(axes)
        square = square.clamp(min=0.1 * float(square.mean())).expand(norm.running_var.shape)
        norm.running_var.copy_(square * (0.8 + 0.4 * torch.rand_like(square)))
        if getattr(norm, "running_mean", None) is not None:
            norm.running_mean.copy_(0.1 * square.sqrt() * torch.randn_like(square))

    norms = [child for child in module.modules() if isinstance(getattr(child, "running_var", None), torch.Tensor)]
    hooks = [norm.register_forward_pre_hook(set_of) for norm in norms]
    with torch.no_grad():
        module(*args, **kwargs)
    for hook in hooks:
        hook.remove()
