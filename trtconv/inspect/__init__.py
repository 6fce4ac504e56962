"""Looking at converted modules, and at what would be converted: pictures, profiles, reports, comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtconv.lazy import lazily

if TYPE_CHECKING:  # what `lazily` finds, for type checkers and editors
    from trtconv.inspect.bisection import Bisection, bisect
    from trtconv.inspect.calls import CallComparison
    from trtconv.inspect.checking import Check, CheckedCall, check
    from trtconv.inspect.comparison import Comparison, compare, join
    from trtconv.inspect.drawing import draw, trt_network_to_dot_graph
    from trtconv.inspect.oracle import Distance, Measure, OutputComparison, Slices, compare_tensors
    from trtconv.inspect.part import Part
    from trtconv.shown.precision import LayerPrecision, PrecisionReport
    from trtconv.shown.profile import Profile, TimedLayer
    from trtconv.shown.report import Report
    from trtconv.shown.table import Table

if not TYPE_CHECKING:  # a module that only runs takes none of them
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "trtconv.inspect.bisection": ("Bisection", "bisect"),
            "trtconv.inspect.calls": ("CallComparison",),
            "trtconv.inspect.checking": ("Check", "CheckedCall", "check"),
            "trtconv.inspect.comparison": ("Comparison", "compare", "join"),
            "trtconv.inspect.drawing": ("draw", "trt_network_to_dot_graph"),
            "trtconv.inspect.oracle": ("Distance", "Measure", "OutputComparison", "Slices", "compare_tensors"),
            "trtconv.inspect.part": ("Part",),
            "trtconv.shown.precision": ("LayerPrecision", "PrecisionReport"),
            "trtconv.shown.profile": ("Profile", "TimedLayer"),
            "trtconv.shown.report": ("Report",),
            "trtconv.shown.table": ("Table",),
        },
    )

__all__ = [
    "Bisection",
    "CallComparison",
    "Check",
    "CheckedCall",
    "Comparison",
    "Distance",
    "LayerPrecision",
    "Measure",
    "OutputComparison",
    "Part",
    "PrecisionReport",
    "Profile",
    "Report",
    "Slices",
    "Table",
    "TimedLayer",
    "bisect",
    "check",
    "compare",
    "compare_tensors",
    "draw",
    "join",
    "trt_network_to_dot_graph",
]
