"""Running engines on the GPU."""

from __future__ import annotations

from trtconv.runtime.engine import Engine, EngineRunner

__all__ = ["Engine", "EngineRunner"]
