"""Looking at converted modules: how far they are from PyTorch."""

from __future__ import annotations

from trtconv.inspect.comparison import Comparison, Measure, OutputComparison, Slices, compare, compare_tensors, join

__all__ = ["Comparison", "Measure", "OutputComparison", "Slices", "compare", "compare_tensors", "join"]
