"""Drawing a comparison with matplotlib, which is installed for it only: ``pip install trtconv[plot]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trtconv.places import place

if TYPE_CHECKING:
    from trtconv.inspect.comparison import Comparison


def plot_calls(comparison: Comparison, axes: Any = None) -> Any:
    """`trtconv.inspect.Comparison.plot`."""
    if not comparison.calls:
        raise ValueError("there are no calls to draw: compare with trtconv.inspect.compare(..., layers=True)")
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("drawing a comparison takes matplotlib: pip install trtconv[plot]") from error
    if axes is None:
        _, axes = pyplot.subplots(figsize=(10, 4), layout="constrained")
    for label, name in (("converted", "distance"), ("PyTorch", "torch_distance")):
        errors = [max(getattr(output, name).relative for output in call.outputs) for call in comparison.calls]
        axes.plot(range(len(errors)), errors, label=label, marker=".")
    axes.set(yscale="log", xlabel="call of the module's code", ylabel="relative error against float64")
    begins = comparison.begins
    if begins is not None:
        origin = begins.origin
        line = place(*(origin.caller or (origin.file, origin.line)))
        text = f"{origin.function}\n{line}" + (f"\nmodule {origin.module}" if origin.module else "")
        number = comparison.calls.index(begins)
        axes.axvline(number, color="red", linestyle=":", label=f"begins at call {number}")
        axes.annotate(text, (number, 0.02), xycoords=("data", "axes fraction"), fontsize="small", color="red")
    axes.legend()
    return axes
