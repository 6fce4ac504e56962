"""Looking at converted modules: how far they are from PyTorch."""

from __future__ import annotations

from trtconv.inspect.comparison import Comparison, OutputComparison, compare, compare_tensors

__all__ = ["Comparison", "OutputComparison", "compare", "compare_tensors"]
