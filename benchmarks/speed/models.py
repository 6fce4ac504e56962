"""The models that are measured, and one of them made ready: a subject."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from families import randomize, set_moments
from torch import Tensor, nn

DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
DRAWS = 8
"""Inputs of each subject; a worker of eight has one of its own."""
TOKENS, VOCABULARY = 128, 30522


@dataclasses.dataclass(frozen=True)
class Model:
    """A model of the suite.

    Attributes:
        make: Gives the module in eval mode, fp32, on the CPU.
        draw: Gives the inputs of one call for a batch.
        of_images: Whether the input is [N, C, H, W], so that a memory layout can be chosen.
    """

    make: Callable[[], nn.Module]
    draw: Callable[[int], Tensor]
    of_images: bool = True


class OneTensor(nn.Module):
    """A model of transformers with one tensor as its result: the mean over the tokens, or the last hidden state."""

    def __init__(self, model: nn.Module, pooled: bool) -> None:
        super().__init__()
        self.model, self.pooled = model, pooled

    def forward(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = self.model(input_ids=tokens).last_hidden_state
        return hidden.mean(1) if self.pooled else hidden


def _of_torchvision(name: str, side: int = 224, **options: Any) -> Model:
    def make() -> nn.Module:
        model: nn.Module = importlib.import_module("torchvision").models.get_model(name, weights=None, **options)
        return model

    return Model(make, lambda batch: torch.randn(batch, 3, side, side))


def _of_bert(pooled: bool, **sizes: int) -> Model:
    def make() -> nn.Module:
        transformers = importlib.import_module("transformers")
        model = transformers.BertModel(transformers.BertConfig(vocab_size=VOCABULARY, **sizes), add_pooling_layer=False)
        return OneTensor(model, pooled)

    return Model(make, lambda batch: torch.randint(VOCABULARY, (batch, TOKENS)), of_images=False)


def _unet() -> nn.Module:
    architectures = importlib.import_module("families.own_models").architectures
    model: nn.Module = architectures.UNet(21, widths=(32, 64, 128, 256))
    return model


def _tiny() -> nn.Module:
    layers = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(8, 5))


MODELS: dict[str, Model] = {
    "resnet18": _of_torchvision("resnet18"),
    "resnet50": _of_torchvision("resnet50"),
    "googlenet": _of_torchvision("googlenet", init_weights=False),
    "densenet121": _of_torchvision("densenet121"),
    "mobilenet_v2": _of_torchvision("mobilenet_v2"),
    "efficientnet_b0": _of_torchvision("efficientnet_b0"),
    "convnext_tiny": _of_torchvision("convnext_tiny"),
    "vit_b_16": _of_torchvision("vit_b_16"),
    "swin_t": _of_torchvision("swin_t"),
    "deeplabv3_resnet50": _of_torchvision("deeplabv3_resnet50", side=256, weights_backbone=None),
    "bert_base": _of_bert(pooled=False),
    "minilm": _of_bert(
        pooled=True, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    ),
    "unet_256": Model(_unet, lambda batch: torch.randn(batch, 3, 256, 256)),
    "lstm": Model(
        lambda: nn.LSTM(256, 512, num_layers=2, batch_first=True),
        lambda batch: torch.randn(batch, TOKENS, 256),
        of_images=False,
    ),
}
"""The suite, and beside it a model that costs nothing, for trying the benchmark itself."""
TINY = {"tiny": Model(_tiny, lambda batch: torch.randn(batch, 3, 16, 16))}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model in one dtype and batch on a device.

    Attributes:
        draws: `DRAWS` inputs, each its own memory.
    """

    name: str
    dtype: str
    batch: int
    device: torch.device
    module: nn.Module
    draws: list[Tensor]
    of_images: bool

    @property
    def key(self) -> dict[str, Any]:
        """What its rows begin with."""
        return {"model": self.name, "dtype": self.dtype, "batch": self.batch}

    def calling(self, function: Callable[[Tensor], Any]) -> Callable[[], Any]:
        """A call of the function, each with the next of the inputs: addresses move from call to call."""
        turn: Iterator[Tensor] = itertools.cycle(self.draws)
        return lambda: function(next(turn))


def make_subject(name: str, dtype: str, batch: int, device: torch.device) -> Subject:
    """Make a model with weights and moments under which its result depends on its input."""
    model = {**MODELS, **TINY}[name]
    torch.manual_seed(0)
    module = model.make().eval()
    randomize(module)
    module = module.to(device)
    set_moments(module, (model.draw(2).to(device),), {})
    draws = [model.draw(batch).to(device) for _ in range(DRAWS)]
    draws = [x.to(DTYPES[dtype]) if x.is_floating_point() else x for x in draws]
    return Subject(name, dtype, batch, device, module.to(DTYPES[dtype]), draws, model.of_images)


def tensors_of(result: Any) -> list[Tensor]:
    """The tensors of a model's result, in order, whatever holds them."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
