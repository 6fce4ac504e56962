"""The models of tests/architectures.py, each with fixed sizes and with sizes that vary."""

from __future__ import annotations

import functools
import importlib.util
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from families import Draw, Example
from trtconv import Dim

_path = pathlib.Path(__file__).parents[2] / "tests" / "architectures.py"
_spec = importlib.util.spec_from_file_location("architectures", _path)
architectures: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(architectures)

_TOKENS = 1000
_ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)


def _number(least: int, most: int) -> int:
    return int(torch.randint(least, most + 1, ()))


def of_images(make: Callable[[], nn.Module], step: int, varying: bool) -> tuple[nn.Module, Draw]:
    """A model of images with sides that are multiples of `step`."""

    def draw() -> tuple[tuple[Any, ...], dict[str, Any]]:
        batch, height, width = (_number(1, 3), _number(64, 160), _number(64, 160)) if varying else (1, 128, 160)
        return (torch.randn(batch, 3, height // step * step, width // step * step),), {}

    return make().eval(), draw


def _image_rows(name: str, make: Callable[[], nn.Module], step: int = 1) -> Iterator[Example]:
    side = functools.partial(Dim, 64, 256, multiple_of=step)
    shapes = {"image": {0: Dim(1, 8), 2: side(), 3: side()}}
    yield Example("other architectures", name, functools.partial(of_images, make, step, False))
    yield Example(
        "other architectures", f"{name}, varying sizes", functools.partial(of_images, make, step, True), shapes
    )


def of_tokens(kind: type[nn.LSTM] | type[nn.GRU], with_state: bool, varying: bool) -> tuple[nn.Module, Draw]:
    """A language model, given the first tokens of sequences, or further ones and a state."""

    def draw() -> tuple[tuple[Any, ...], dict[str, Any]]:
        batch, length = (_number(1, 4), _number(1, 30)) if varying else (2, 12)
        tokens = torch.randint(_TOKENS, (batch, length))
        if not with_state:
            return (tokens,), {}
        state = tuple(torch.randn(2, batch, 64) for _ in range(2 if kind is nn.LSTM else 1))
        return (tokens, state if kind is nn.LSTM else state[0]), {}

    return architectures.RecurrentLanguageModel(kind, _TOKENS).eval(), draw


def _token_rows(kind: type[nn.LSTM] | type[nn.GRU]) -> Iterator[Example]:
    batch = Dim(1, 8)
    for with_state in (False, True):
        name = f"{kind.__name__} language model{', given a state' if with_state else ''}"
        shapes: dict[str, Any] = {"tokens": {0: batch, 1: Dim(1, 64)}}
        if with_state:
            shapes["state"] = ({1: batch}, {1: batch}) if kind is nn.LSTM else {1: batch}
        make = functools.partial(of_tokens, kind, with_state)
        yield Example("other architectures", name, functools.partial(make, False))
        yield Example("other architectures", f"{name}, varying sizes", functools.partial(make, True), shapes)


EXAMPLES = [
    *_image_rows("U-Net, transposed convolutions", functools.partial(architectures.UNet, 4)),
    *_image_rows("U-Net, bilinear", functools.partial(architectures.UNet, 4, bilinear=True)),
    *_image_rows("YOLO, anchor-free", functools.partial(architectures.YOLO, 10), 32),
    *_image_rows("YOLO, anchors", functools.partial(architectures.YOLO, 10, anchors=_ANCHORS), 32),
    *_image_rows("pose network", architectures.PoseNet),
    *_token_rows(nn.LSTM),
    *_token_rows(nn.GRU),
]
