"""How rows of transformers' models are written, and wrappers around them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
import transformers
from transformers.integrations.executorch import register_dynamic_cache_export_support

from families import Draw, Example, randomize
from trtconv import Dim

BATCH = Dim(min=1, max=8, name="batch")
LENGTH = Dim(min=1, max=64, name="length")
IMAGES = {"pixel_values": {0: BATCH}}
TOKENS = {name: {0: BATCH, 1: LENGTH} for name in ("input_ids", "attention_mask")}
"""The dynamic sizes of tokens and their mask."""

Wrapper = Callable[[torch.nn.Module], torch.nn.Module]


def row(
    name: str,
    cls: str,
    draw: Draw,
    config: str = "",
    *,
    part: str = "",
    wrapper: Wrapper | None = None,
    dynamic: Mapping[str, Any] | None = None,
    measured: bool = False,
    **options: Any,
) -> Example:
    """A row.

    Args:
        cls, config: Names of the model's class and its configuration's; the latter follows from the former in most.
        part: The path of the submodule that is converted instead of the whole.
        wrapper: What is put around it.
        dynamic: Its dynamic shapes.
        measured: Give its batch norms the statistics of their own inputs, and scales near 1; of some models' images
            nothing arrives at the end without.
        options: What the configuration has other than by default.
    """
    config = config or f"{cls.removesuffix('Model').removesuffix('ForCausalLM')}Config"
    make = functools.partial(_make_measured if measured else _make, cls, config, draw, part, wrapper, options)
    return Example("transformers", name, make, dynamic, pretrained=measured)


def _make(
    cls: str, config: str, draw: Draw, part: str, wrapper: Wrapper | None, options: Mapping[str, Any]
) -> tuple[torch.nn.Module, Draw]:
    model = getattr(transformers, cls)(getattr(transformers, config)(**options)).eval()
    module = model.get_submodule(part)
    return wrapper(module) if wrapper else module, draw


def _make_measured(*arguments: Any) -> tuple[torch.nn.Module, Draw]:
    module, draw = _make(*arguments)
    randomize(module)
    for child in module.modules():
        if isinstance(child, torch.nn.modules.batchnorm._BatchNorm):
            child.momentum = 1.0
            child.weight.data.normal_(1, 0.1)
    draws = [draw()[1] for _ in range(8)]
    with torch.no_grad():
        module.train()(**{name: torch.cat([kwargs[name] for kwargs in draws]) for name in draws[0]})
    return module.eval(), draw


def with_cache(model: torch.nn.Module) -> torch.nn.Module:
    """The model itself, whose result holds a cache: a container, once transformers has told torch so."""
    register_dynamic_cache_export_support()
    return model


class NextToken(torch.nn.Module):
    """A decoder that takes the keys and values of the tokens before, and returns them with its own."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, past: list[tuple[torch.Tensor, torch.Tensor]]) -> Any:
        cache = transformers.DynamicCache()
        for index, (keys, values) in enumerate(past):
            cache.update(keys, values, index)
        result = self.model(input_ids=input_ids, past_key_values=cache, use_cache=True)
        return result.logits, [(layer.keys, layer.values) for layer in result.past_key_values.layers]


class InDoubleToo(torch.nn.Module):
    """A model with experts, of which torch has no products in float64, with which results are compared."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: torch.Tensor) -> Any:
        is_double = next(self.parameters()).dtype is torch.float64
        self.model.set_experts_implementation("batched_mm" if is_double else "grouped_mm")
        return self.model(**inputs)
