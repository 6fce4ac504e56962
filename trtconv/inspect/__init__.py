"""Looking at converted modules: how far they are from PyTorch."""

from __future__ import annotations

from trtconv.inspect.comparison import Comparison, compare, join
from trtconv.inspect.oracle import Distance, Measure, OutputComparison, Slices, compare_tensors

__all__ = ["Comparison", "Distance", "Measure", "OutputComparison", "Slices", "compare", "compare_tensors", "join"]
