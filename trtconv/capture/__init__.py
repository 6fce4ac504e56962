"""Step 1: run a module once on fake tensors and write down its calls."""

from __future__ import annotations

from trtconv.capture.forward import Captured, capture
from trtconv.capture.trace import Call, Origin, Trace

__all__ = ["Call", "Captured", "Origin", "Trace", "capture"]
