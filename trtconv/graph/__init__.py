"""The network as plain data: read from TensorRT's definitions, edited by passes, and written to definitions again."""

from __future__ import annotations

from trtconv.graph.check import check
from trtconv.graph.data import DataType, Graph, Layer, TensorType
from trtconv.graph.digest import digest
from trtconv.graph.order import in_order
from trtconv.graph.reader import read
from trtconv.graph.serialize import from_state, to_state
from trtconv.graph.writer import Written, write

__all__ = [
    "DataType",
    "Graph",
    "Layer",
    "TensorType",
    "Written",
    "check",
    "digest",
    "from_state",
    "in_order",
    "read",
    "to_state",
    "write",
]
