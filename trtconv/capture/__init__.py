"""Step 1: run a module once on fake tensors and write down its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtconv.lazy import lazily

if TYPE_CHECKING:  # what `lazily` finds, for type checkers and editors
    from trtconv.capture.forward import Captured, capture
    from trtconv.capture.trace import Call, Origin, Trace

if not TYPE_CHECKING:  # converters take names and traces only, not what runs a capture
    __getattr__, __dir__ = lazily(
        __name__,
        {"trtconv.capture.forward": ("Captured", "capture"), "trtconv.capture.trace": ("Call", "Origin", "Trace")},
    )

__all__ = ["Call", "Captured", "Origin", "Trace", "capture"]
