"""Whole models of the common kinds, converted for sizes that vary."""

import functools

import pytest
import torch
from architectures import YOLO, PoseNet, RecurrentLanguageModel, UNet
from cases import compare_draws
from torch import nn

import trtconv
from trtconv import Dim


def convert_and_check(module, draw, sizes, dynamic_shapes):
    """Convert for the first sizes and compare at all of them."""
    for child in module.eval().modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_mean.normal_(0, 0.1)
            child.running_var.uniform_(0.8, 1.2)
    converted = trtconv.convert(module, draw(*sizes[0]), dynamic_shapes=dynamic_shapes)
    compare_draws(module, converted, lambda number: draw(*sizes[number % len(sizes)]), len(sizes))


@pytest.mark.parametrize(
    ("make", "step"),
    [
        pytest.param(functools.partial(UNet, 3, (4, 8, 12)), 1, id="unet-transposed"),
        pytest.param(functools.partial(UNet, 3, (4, 8, 12), bilinear=True), 1, id="unet-bilinear"),
        pytest.param(functools.partial(YOLO, 3, 4), 32, id="yolo-anchor-free"),
        pytest.param(functools.partial(PoseNet, 4, 3, 8), 1, id="pose"),
    ],
)
def test_images(make, step):
    side = functools.partial(Dim, 32, 256, multiple_of=step)
    sizes = [tuple(n // step * step for n in pair) for pair in ((64, 96), (33, 40), (101, 64))]
    convert_and_check(
        make(),
        lambda batch, height, width: (torch.randn(batch, 3, height, width),),
        [(batch, *size) for batch, size in zip((2, 1, 3), sizes, strict=True)],
        {"image": {0: Dim(1, 4), 2: side(), 3: side()}},
    )


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_language_models(kind):
    """The state that a call returns is that of the next."""
    batch = Dim(1, 5)

    def draw(count, length):
        states = tuple(torch.randn(2, count, 16) for _ in range(2))
        return torch.randint(50, (count, length)), states if kind is nn.LSTM else states[0]

    state = {1: batch}
    shapes = {"tokens": {0: batch, 1: Dim(1, 20)}, "state": (state, state) if kind is nn.LSTM else state}
    convert_and_check(RecurrentLanguageModel(kind, 50, 16), draw, [(2, 7), (1, 1), (3, 20)], shapes)
