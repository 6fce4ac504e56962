"""Step 3: passes that change what is built without changing what is computed.

A pass on the trace runs before the network is emitted; it is a function Trace -> Trace in a file of
its own, and stands in `TRACE_PASSES`, which are run in order. A pass on the graph is a function
Graph -> Graph, so that it holds for the layers of users' converters and for ONNX files too.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trtconv import tensorrt as trt
from trtconv.capture.trace import Trace
from trtconv.graph import check
from trtconv.graph.data import Graph
from trtconv.passes.complex_numbers import use_real_numbers
from trtconv.passes.constants_on_cpu import take_constants_to_cpu
from trtconv.passes.decompositions import decompose
from trtconv.passes.empty_tensors import fold_empty_tensors
from trtconv.passes.fold_batch_norm import fold_batch_norm
from trtconv.passes.full_precision import use_full_precision
from trtconv.passes.precision import use_precision
from trtconv.passes.precision_choice import Choice
from trtconv.passes.rtx_1_6_constants import fold_integer_products
from trtconv.passes.rtx_1_6_reductions import reduce_by_one_axis
from trtconv.passes.rtx_1_7_elu import write_elu_as_selu
from trtconv.passes.short_integers import use_int32
from trtconv.passes.single_precision import use_single_precision
from trtconv.passes.small_heads import attend_with_small_heads
from trtconv.passes.transposed_convolutions import transpose_convolutions_with_kernels

TRACE_PASSES: tuple[Callable[[Trace], Trace], ...] = (
    take_constants_to_cpu,
    fold_empty_tensors,
    fold_batch_norm,
    use_real_numbers,
    decompose,
    use_single_precision,
    use_int32,
)


@dataclasses.dataclass(frozen=True)
class Effect:
    """What a pass did: how many calls of a trace, or layers of a graph, there were before and after, and new ones."""

    name: str
    before: int
    after: int
    new: int


Note = Callable[[Effect], None]
"""It is told of each pass that changes something."""


def _ignore(effect: Effect) -> None:
    pass


def run_trace_passes(trace: Trace, note: Note = _ignore) -> Trace:
    """Run all passes on a trace, in order."""
    for trace_pass in TRACE_PASSES:
        before, trace = trace.calls, trace_pass(trace)
        note_effect(trace_pass.__name__, before, trace.calls, note)
    return trace


def run_graph_passes(
    graph: Graph, choice: Choice | None = None, kept: Mapping[str, str] | None = None, note: Note = _ignore
) -> Graph:
    """Run the passes on the graph that every backend gets.

    Args:
        choice: In which types layers may compute; None for those that the graph says.
        kept: Names of layers that stay in float32 for reasons that the graph doesn't show, with these.

    Raises: as `use_precision`.
    """
    if choice is not None:
        graph = _run(graph, [functools.partial(use_precision, choice=choice, kept=kept)], note)
    return _run(graph, [attend_with_small_heads], note)


def for_engine(graph: Graph, *, tf32: bool, note: Note = _ignore) -> Graph:
    """A network as the TensorRT that is here builds it with these options: what the interpreter can do without."""
    passes = [transpose_convolutions_with_kernels]
    if trt.is_rtx():
        passes += [write_elu_as_selu, fold_integer_products]
        passes += [reduce_by_one_axis] if tf32 else [use_full_precision, reduce_by_one_axis]
    return _run(graph, passes, note)


def _run(graph: Graph, passes: Sequence[Callable[[Graph], Graph]], note: Note) -> Graph:
    for graph_pass in passes:
        before, graph = graph, graph_pass(graph)
        if graph is not before:
            check(graph)
            name = getattr(graph_pass, "func", graph_pass).__name__
            note_effect(name, before.layers, graph.layers, note)
    return graph


def note_effect(name: str, before: Sequence[Any], after: Sequence[Any], note: Note) -> None:
    """Tell what a pass did, if it did anything."""
    known = set(map(id, before))
    new = sum(id(each) not in known for each in after)
    if new or len(before) != len(after):
        note(Effect(name, len(before), len(after), new))
