"""torchvision's models, with random weights."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torchvision.models as models
from families import Draw, Example, images


def classifier(name: str) -> tuple[torch.nn.Module, Draw]:
    """A classification model, and an image of the size that it is made for."""
    arguments: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    size = 299 if name == "inception_v3" else 224
    return models.get_model(name, weights=None, **arguments).eval(), images(1, 3, size, size)


EXAMPLES = [
    Example("torchvision classification", name, functools.partial(classifier, name))
    for name in models.list_models(module=models)
]
