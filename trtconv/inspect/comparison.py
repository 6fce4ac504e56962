"""Comparing a converted module with the module it came from: its results, and call by call where an error begins."""

from __future__ import annotations

import copy
import dataclasses
import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from trtconv.calling.structure import map_leaves, take_apart
from trtconv.dtypes import name_of
from trtconv.inspect.oracle import LUCK, OutputComparison, compare_tensors, join_outputs
from trtconv.shown.table import Table

if TYPE_CHECKING:  # a comparison of outputs alone doesn't take what captures forward passes
    from trtconv.inspect.calls import CallComparison, Calls


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All output tensors of one call of a module, and with `layers=True` the calls of its own code.

    It prints as tables, in notebooks too; `plot` draws where an error begins.

    Attributes:
        outputs: The output tensors, in order.
        calls: The calls of torch functions in the module's code, in order.
        missing: How many calls the network has of which PyTorch made none when it was compared.
    """

    outputs: tuple[OutputComparison, ...]
    calls: tuple[CallComparison, ...] = ()
    missing: int = 0

    @property
    def correct(self) -> bool:
        """Whether all outputs are."""
        return all(output.correct for output in self.outputs)

    @property
    def begins(self) -> CallComparison | None:
        """The call where an error begins: the first that is wrong. None if there is none.

        Of hundreds of calls one may be a little beyond what is allowed by chance. That isn't where an error begins that
        others are far beyond, and isn't an error where the outputs are correct.
        """
        worst = max((call.share for call in self.calls), default=0.0)
        least = LUCK if self.correct else max(1.0, min(LUCK, math.sqrt(worst)))
        return next((call for call in self.calls if call.share > least), None)

    def table(self) -> Table:
        """Each output's distance from float64, and below it PyTorch's."""
        rows = [
            row
            for place, output in enumerate(self.outputs)
            for row in (_row(f"output {place}", output), _row_of_torch(output))
        ]
        wrong = frozenset(2 * place for place, output in enumerate(self.outputs) if not output.correct)
        return Table(_HEADERS, rows, wrong)

    def call_table(self) -> Table:
        """Each call's largest error, beside PyTorch's."""
        pairs = [(place, call, output) for place, call in enumerate(self.calls) for output in call.outputs]
        wrong = frozenset(row for row, (_, _, output) in enumerate(pairs) if output.share > LUCK)
        return Table(_CALL_HEADERS, [_call_row(*each) for each in pairs], wrong)

    def _remarks(self) -> list[str]:
        if not self.calls:
            return []
        begins, worst = self.begins, max(call.share for call in self.calls)
        if begins is not None:
            found = f"The error begins at {begins}."
        elif not self.correct:
            found = "No call is wrong; the error comes after them, or in what lies between them."
        elif worst > 1:
            found = f"The outputs are correct; by chance a call reaches {worst:.2g} times what is allowed."
        else:
            found = "Every call is correct."
        lost = f"{self.missing} calls of the network weren't made when it was compared, and aren't in the table."
        return [found, lost] if self.missing else [found]

    def __str__(self) -> str:
        tables = [self.table(), self.call_table()] if self.calls else [self.table()]
        return "\n\n".join([*map(str, tables), *self._remarks()])

    def _repr_html_(self) -> str:
        tables = [self.table(), self.call_table()] if self.calls else [self.table()]
        remarks = (f"<p>{html.escape(each)}</p>" for each in self._remarks())
        return "".join([*(each._repr_html_() for each in tables), *remarks])

    def plot(self, axes: Any = None) -> Any:
        """Draw the relative error of each call, the converted module's and PyTorch's, and where the error begins.

        Args:
            axes: The matplotlib axes to draw on; by default those of a new figure.

        Returns: The axes.

        Raises:
            ImportError: matplotlib isn't installed.
            ValueError: no calls were compared.
        """
        from trtconv.inspect.plot import plot_calls

        return plot_calls(self, axes)


_HEADERS = ("", "tensor", "largest error", "mean", "relative", "1 - cosine", "units", "verdict")
_CALL_HEADERS = ("call", "function", "module", "line", "tensor", "error", "PyTorch's", "of allowed", "verdict")


def _row(name: str, output: OutputComparison) -> list[str]:
    return [name, _tensor(output), *_numbers(output, output.distance), _verdict(output)]


def _row_of_torch(output: OutputComparison) -> list[str]:
    dtype = name_of(output.torch_dtype or output.dtype)
    return ["", f"PyTorch's {dtype}", *_numbers(output, output.torch_distance), ""]


def _numbers(output: OutputComparison, distance: Any) -> list[str]:
    if not output.slices and not output.whole.unit:
        return [""] * 5  # integers, or another shape
    values = (distance.largest, distance.mean, distance.relative, max(0.0, 1 - distance.cosine))
    return [*(f"{value:.2g}" for value in values), f"{distance.largest / output.whole.unit:.1f}"]


def _verdict(output: OutputComparison) -> str:
    if output.problem:
        return f"WRONG: {output.problem}"
    share = f"{output.share:.2g} of what is allowed"
    if output.correct:
        return f"correct: {share}"
    axis = output.worst_axis
    return f"WRONG: {share}" + ("" if axis is None else f", of a slice's largest, along axis {axis}")


def _tensor(output: OutputComparison) -> str:
    return f"{name_of(output.dtype)}{list(output.shape)}"


def _call_row(place: int, call: CallComparison, output: OutputComparison) -> list[str]:
    file, line = call.origin.caller or (call.origin.file, call.origin.line)
    numbers = [f"{value:.2g}" for value in (output.error, output.torch_error, output.share)]
    where = f"{file.rpartition('/')[2]}:{line}"
    verdict = "" if output.correct else output.problem or ("WRONG" if output.share > LUCK else "beyond")
    return [str(place), call.origin.function, call.origin.module, where, _tensor(output), *numbers, verdict]


def join(comparisons: Sequence[Comparison]) -> Comparison:
    """Several calls of one module as one: of each output the largest errors of each side, and the first problem.

    On few numbers PyTorch's own error may be small by chance; on the largest of several calls it is a fair measure.

    Raises:
        ValueError: there are none, or they have different numbers of outputs.
    """
    if not comparisons:
        raise ValueError("there are no comparisons to join")
    calls = zip(*(each.calls for each in comparisons), strict=True)
    return Comparison(
        _joined(comparisons),
        tuple(dataclasses.replace(same[0], outputs=_joined(same)) for same in calls),
        max(each.missing for each in comparisons),
    )


def _joined(several: Sequence[Comparison | CallComparison]) -> tuple[OutputComparison, ...]:
    return tuple(map(join_outputs, zip(*(each.outputs for each in several), strict=True)))


def compare(
    module: torch.nn.Module,
    converted: Callable[..., Any],
    args: tuple[Any, ...] | list[Any] | torch.Tensor,
    kwargs: Mapping[str, Any] | None = None,
    *,
    layers: bool = False,
    dtype: torch.dtype | None = None,
) -> Comparison:
    """Run a module in float64, as it is, and converted, on the same inputs, and compare.

    Args:
        module: The module that was converted, in eval mode. It is copied for float64.
        converted: What `trtconv.convert` returned for it.
        args, kwargs: The inputs; a single tensor may stand for a tuple of one. Use others than those of the
            conversion.
        layers: Compare the result of each call of a torch function in the module's code too, with what the network
            has there. Where an engine runs, a second one is built that gives all of them; it merges fewer layers
            than the first, so that an error may be in one of them only: `bisect` looks at the engine as it is. All
            results are held in memory, in each dtype.
        dtype: A lower dtype whose error in PyTorch counts as PyTorch's own. By default that which the module was
            converted to compute in by `precision=`; the module's own dtype where that is "fp32" or wasn't given.

    Raises:
        ValueError: the results are nested differently, or the network doesn't say which calls it comes from (an ONNX
            model, or `keep_network=False`).
    """
    args = (args,) if isinstance(args, torch.Tensor) else tuple(args)
    kwargs = dict(kwargs or {})
    dtype = dtype or _computes_in(converted)
    calls = _calls_of(converted) if layers else None
    precise = _Run.of(copy.deepcopy(module).double(), _cast((args, kwargs), torch.float64), calls)
    lower = _Run.of(copy.deepcopy(module).to(dtype), _cast((args, kwargs), dtype), calls) if dtype else None
    own = _Run.of(module, _copies((args, kwargs)), calls)
    with torch.no_grad():
        result = converted(*_copies(args), **_copies(kwargs))
    leaves, nesting = take_apart(result)
    if nesting != own.nesting:
        raise ValueError(f"the converted module returns {nesting}, the module {own.nesting}")
    rows = zip(precise.leaves, own.leaves, leaves, lower.leaves if lower else [None] * len(leaves), strict=True)
    outputs = tuple(compare_tensors(*row) for row in rows if isinstance(row[1], torch.Tensor))
    if calls is None:
        return Comparison(outputs)
    runs = [run and run.sites for run in (precise, own, lower)]
    return Comparison(outputs, *calls.compared(*_copies((args, kwargs)), *runs))


def _calls_of(converted: Any) -> Calls:
    from trtconv.inspect.calls import Calls

    return Calls(converted)


@dataclasses.dataclass
class _Run:
    """What a module gave: the leaves of its result, their nesting, and where they are asked for, its code's calls."""

    leaves: list[Any]
    nesting: Any
    sites: Any

    @staticmethod
    def of(module: torch.nn.Module, call: tuple[tuple[Any, ...], dict[str, Any]], calls: Calls | None) -> _Run:
        args, kwargs = call
        sites = None if calls is None else calls.recorded(module)
        with torch.no_grad():
            result = module(*args, **kwargs) if sites is None else sites.run(args, kwargs)
        return _Run(*take_apart(result), sites)


def _computes_in(converted: Any) -> torch.dtype | None:
    """The lowest dtype that `precision=` made a network compute in; None for a module's own."""
    plan = getattr(converted, "plan", None)
    if plan is None or plan.provenance.get("precision") is None:
        return None
    graphs = [segment.graph for segment in plan.segments if segment.graph is not None]
    types = {kind.dtype.carrier for graph in graphs for kind in graph.tensors.values()}
    return next((dtype for dtype in (torch.bfloat16, torch.float16) if dtype in types), None)


def _cast(structure: Any, dtype: torch.dtype) -> Any:
    """Copies of the tensors, floats in another dtype and complex numbers in that of two such parts."""
    complex_dtype = dtype.to_complex() if dtype is not torch.bfloat16 else torch.complex64

    def cast(tensor: torch.Tensor) -> torch.Tensor:
        kind = complex_dtype if tensor.is_complex() else dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(kind, copy=True)

    return _map_tensors(cast, structure)


def _copies(structure: Any) -> Any:
    return _map_tensors(torch.clone, structure)


def _map_tensors(function: Callable[[torch.Tensor], torch.Tensor], structure: Any) -> Any:
    return map_leaves(lambda leaf: function(leaf) if isinstance(leaf, torch.Tensor) else leaf, structure)
