"""Inputs of transformers' models, as its tokenizers and processors give them.

What draws them takes their sizes: batch and length, or batch, height and width; without, it has sizes of its own.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

from families import Draw

SIZES = ((2, 12), (1, 1), (8, 64), (3, 7))
"""Batch and length of the inputs that models with dynamic sizes are converted with, then compared on."""


def tokens(*, vocabulary: int = 1000, pad: int = 0, left: bool = False, end: int = 0, dynamic: bool = False) -> Draw:
    """Draws input_ids, padded at one end in all rows but the first, and the attention_mask that says where.

    Args:
        pad, end: The token in the padding, and the last one before it.
        dynamic: Draw in the sizes of `SIZES`.
    """
    sizes = itertools.cycle(SIZES if dynamic else [(2, 16)])

    def draw(*size: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        batch, length = size or next(sizes)
        lengths = torch.randint(1, length + 1, (batch, 1))
        lengths[0] = length
        places = torch.arange(length)
        mask = places >= length - lengths if left else places < lengths
        ids = torch.randint(3, vocabulary, (batch, length))
        if end:
            ids = ids.where(places != lengths - 1, end)
        return (), {"input_ids": ids.where(mask, pad), "attention_mask": mask.long()}

    return draw


def next_token(layers: int, heads: int, width: int) -> Draw:
    """Draws one token for each row of a batch, and `past`: the keys and values of those before, in each layer."""
    sizes = itertools.cycle(SIZES)

    def draw() -> tuple[tuple[Any, ...], dict[str, Any]]:
        batch, length = next(sizes)
        past = [tuple(torch.randn(batch, heads, length, width) for _ in range(2)) for _ in range(layers)]
        return (), {"input_ids": torch.randint(3, 1000, (batch, 1)), "past": past}

    return draw


def numbers(name: str, *shape: int, batches: tuple[int, ...] = (1,)) -> Draw:
    """Draws normally distributed numbers for a parameter: images, the features of sounds."""
    turns = itertools.cycle(batches)

    def draw(*size: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        leading = size or (next(turns),)
        return (), {name: torch.randn(*leading, *shape[len(leading) - 1 :])}

    return draw


def pixels(height: int = 224, width: int = 0, batches: tuple[int, ...] = (1,)) -> Draw:
    """Draws images."""
    turns = itertools.cycle(batches)

    def draw(*size: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        batch, *sides = size or (next(turns), height, width or height)
        return (), {"pixel_values": torch.randn(batch, 3, *sides)}

    return draw


def padded_pixels(height: int, width: int) -> Draw:
    """Draws two images of different sizes in one batch, with the pixel_mask that says which pixels they have."""

    def draw(*size: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        batch, *sides = size or (2, height, width)
        mask = torch.ones(batch, *sides, dtype=torch.int64)
        rows, columns = (int(torch.randint(side // 2, side, ())) for side in sides)
        mask[1:, rows:] = 0
        mask[1:, :, columns:] = 0
        return (), {"pixel_values": torch.randn(batch, 3, *sides) * mask.unsqueeze(1), "pixel_mask": mask}

    return draw


def waves(length: int = 4000) -> Draw:
    """Draws sound waves, the second padded with zeros, and their attention_mask."""

    def draw() -> tuple[tuple[Any, ...], dict[str, Any]]:
        lengths = torch.tensor([[length], [int(torch.randint(length // 2, length, ()))]])
        mask = torch.arange(length) < lengths
        return (), {"input_values": torch.randn(2, length) * mask, "attention_mask": mask.long()}

    return draw


def together(*draws: Draw) -> Draw:
    """Draws the arguments of several."""

    def draw(*size: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        merged: dict[str, Any] = {}
        for each in draws:
            merged |= each(*size)[1]
        return (), merged

    return draw


def renamed(draw: Draw, **names: str) -> Draw:
    """Draws the same for parameters of other names, and only these: old name = new name."""
    return lambda *size: ((), {names[name]: value for name, value in draw(*size)[1].items() if name in names})


def constant(**arguments: Any) -> Draw:
    """Arguments that are the same each time."""
    return lambda: ((), dict(arguments))
