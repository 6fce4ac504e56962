"""Sizes of tensors: their arithmetic, their ranges, the symbols that stand for them, and how they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtconv.lazy import lazily

if TYPE_CHECKING:  # what `lazily` finds below, for type checkers and editors
    from trtconv.sizes.arithmetic import (
        Size,
        Sizes,
        broadcast,
        expression,
        is_same,
        is_static,
        most,
        product,
        same,
        settled,
    )

if not TYPE_CHECKING:  # arithmetic takes sympy, which a program that only calls modules needn't import
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "trtconv.sizes.arithmetic": (
                "Size",
                "Sizes",
                "broadcast",
                "expression",
                "is_same",
                "is_static",
                "most",
                "product",
                "same",
                "settled",
            )
        },
    )

__all__ = ["Size", "Sizes", "broadcast", "expression", "is_same", "is_static", "most", "product", "same", "settled"]
