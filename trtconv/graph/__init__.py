"""The network as plain data: written to TensorRT's definitions, from which `trtconv.reference.read` reads it."""

from __future__ import annotations

from trtconv.graph.digest import digest
from trtconv.graph.order import in_order
from trtconv.graph.writer import Written, write

__all__ = ["Written", "digest", "in_order", "write"]
