"""Models whose sizes vary: batch and length of tokens; batch, height and width of images."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torchvision.models as vision

from families import Draw, Example, images, own_models, transformers_text, transformers_vision
from families.transformers_inputs import pixels
from families.transformers_rows import BATCH, LENGTH, TOKENS, row
from trtconv import Dim

TOKEN_SIZES = ((2, 12), (1, 1), (8, 64), (3, 7), (5, 33))
"""Batch and length: those that it is converted with, the least, the largest, and two odd ones."""
OTHERS = ("decoder_input_ids", "decoder_attention_mask")


def varying(example: Example, family: str, shapes: Mapping[str, Any], sizes: Sequence[tuple[int, ...]]) -> Example:
    """A model of another table with sizes that vary."""
    make = functools.partial(_with_sizes, example.make, sizes)
    return dataclasses.replace(example, family=family, make=make, dynamic_shapes=shapes, draws=len(sizes))


def _with_sizes(
    make: Callable[[], tuple[torch.nn.Module, Draw]], sizes: Sequence[tuple[int, ...]]
) -> tuple[torch.nn.Module, Draw]:
    module, draw = make()
    turns = itertools.cycle(sizes)
    return module, lambda: draw(*next(turns))


def _text() -> Iterator[Example]:
    pair = {**TOKENS, **{name: {0: BATCH, 1: LENGTH} for name in OTHERS}}
    states = {**TOKENS, **{f"encoder_{name}": {0: BATCH, 1: LENGTH} for name in ("hidden_states", "attention_mask")}}
    kinds = {"t5": pair, "bart": pair, "marian": pair, "pegasus": pair, "t5-decoder": states, "bart-decoder": states}
    left_out = (
        "layoutlm",
        "whisper-",
        "llama-next-token",
        "bert-dynamic",
        "gpt2-dynamic",
        "llama-dynamic",
        "t5-encoder-d",
    )
    for example in transformers_text.EXAMPLES:
        if not example.name.startswith(left_out):
            yield varying(example, "tokens", kinds.get(example.name, TOKENS), TOKEN_SIZES)


def _sides(least: int, most: int, step: int = 1) -> dict[int, Dim]:
    return {
        0: Dim(1, 4, name="batch"),
        2: Dim(least, most, name="height", multiple_of=step),
        3: Dim(least, most, name="width", multiple_of=step),
    }


def _image_sizes(least: int, most: int, step: int = 1) -> list[tuple[int, int, int]]:
    """Batch, height and width: at first near the middle, then the least, the largest, and two odd ones."""
    low, high = least // step, most // step
    middle, odd = (low + high) // 2, low + (high - low) // 3
    scaled = [(2, middle, odd), (1, low, low), (4, high, high), (3, odd, high), (1, high, low)]
    return [(batch, height * step, width * step) for batch, height, width in scaled]


def _of_pixels(example: Example, least: int, most: int, step: int = 1, *, masked: bool = False) -> Example:
    sides = _sides(least, most, step)
    shapes = {"pixel_values": sides, **({"pixel_mask": {0: sides[0], 1: sides[2], 2: sides[3]}} if masked else {})}
    return varying(example, "images", shapes, _image_sizes(least, most, step))


FEW = {"num_hidden_layers": 3}


def _transformers() -> Iterator[Example]:
    known = {example.name: example for example in transformers_vision.EXAMPLES}
    for name, least, most, step in (
        *(("dinov2", 56, 168, 14), ("dinov2-registers", 56, 168, 14), ("dinov3", 64, 160, 16)),
        *(("swin", 224, 288, 1), ("swinv2", 256, 288, 1), ("convnext", 64, 160, 1), ("convnextv2", 64, 160, 1)),
        *(("segformer", 64, 160, 1), ("upernet", 64, 160, 32), ("glpn", 64, 160, 32), ("resnet", 33, 129, 1)),
        *(("regnet", 33, 129, 1), ("mobilenet-v2", 33, 129, 1), ("poolformer", 64, 160, 1), ("focalnet", 64, 160, 32)),
        *(("yolos", 64, 160, 16), ("mobilevit", 64, 128, 32), ("rt-detr", 96, 192, 32)),
    ):
        yield _of_pixels(known[name], least, most, step)
    for name in ("detr", "conditional-detr", "table-transformer"):
        yield _of_pixels(known[name], 64, 160, masked=True)
    yield _of_pixels(
        row("vit, positions interpolated", "ViTModel", pixels(), **FEW, wrapper=InterpolatedPositions), 48, 160, 16
    )


class InterpolatedPositions(torch.nn.Module):
    """A vision transformer that takes images of any size."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> Any:
        return self.model(pixel_values, interpolate_pos_encoding=True)


def _torchvision() -> Iterator[Example]:
    for name, least, most in (
        *(("resnet18", 33, 129), ("mobilenet_v3_small", 33, 129), ("efficientnet_b0", 33, 129), ("vgg11", 64, 160)),
        *(("convnext_tiny", 64, 160), ("swin_t", 64, 160), ("densenet121", 33, 129), ("fcn_resnet50", 64, 160)),
        *(("deeplabv3_mobilenet_v3_large", 64, 160), ("lraspp_mobilenet_v3_large", 64, 160)),
    ):
        shapes = {"input" if name.startswith("lraspp") else "x": _sides(least, most)}
        example = Example("", f"torchvision {name}", functools.partial(_torchvision_model, name))
        yield varying(example, "images", shapes, _image_sizes(least, most))


def _torchvision_model(name: str) -> tuple[torch.nn.Module, Draw]:
    parts = {"weights_backbone": None} if name.startswith(("fcn", "deeplab", "lraspp")) else {}
    return vision.get_model(name, weights=None, **parts).eval(), images(1, 3, 64, 64)


def _own() -> Iterator[Example]:
    for example in own_models.EXAMPLES:
        if example.dynamic_shapes is not None:
            yield dataclasses.replace(example, draws=5)


EXAMPLES = [*_text(), *_transformers(), *_torchvision(), *_own()]
