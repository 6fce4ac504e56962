"""The columns of the table: a model run in each of the ways that are compared."""

from __future__ import annotations

import copy
import dataclasses
import functools
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

import trtconv
from speed.clock import measure, reason
from speed.engines import Bound, LoadedEngine, Minimal, capture, engine_of_onnx, timed
from speed.models import Subject, tensors_of
from trtconv.inspect import compare_tensors


@dataclasses.dataclass
class Runner:
    """A model made ready to run in one way.

    Attributes:
        call: Issues one call.
        result: The result for the subject's first input.
        seconds: What it took to get there, by step.
        keep: What a captured graph reads, which has to live as long as it.
    """

    call: Callable[[], Any]
    result: Callable[[], Any]
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    keep: tuple[Any, ...] = ()


class Ways:
    """The ways to run one subject; what several of them need is made once.

    Each method named in `COLUMNS` makes a runner, or raises.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.first = subject.draws[0]
        self.open = ExitStack()
        """What has to be closed after the subject."""

    # -- torch ----------------------------------------------------------------------------------

    def eager(self) -> Runner:
        """torch as it is."""
        module = self.subject.module
        return Runner(self.subject.calling(module), lambda: module(self.first))

    def eager_graph(self) -> Runner:
        """torch's own kernels in a CUDA graph."""
        return _captured(self.subject.module, self.first)

    def eager_graph_last(self) -> Runner:
        """The same with channels last."""
        return _captured(*self._channels_last())

    def compile_graph(self) -> Runner:
        """torch.compile's kernels in a CUDA graph."""
        return _compiled(self.subject.module, self.first)

    def compile_graph_last(self) -> Runner:
        """The same with channels last."""
        return _compiled(*self._channels_last())

    def _channels_last(self) -> tuple[nn.Module, Tensor]:
        if not self.subject.of_images:
            raise NotApplicable("no images")
        layout = torch.channels_last
        return copy.deepcopy(self.subject.module).to(memory_format=layout), self.first.contiguous(memory_format=layout)

    # -- TensorRT by hand -----------------------------------------------------------------------

    @functools.cached_property
    def _onnx(self) -> tuple[Bound, dict[str, float]]:
        plan, converting = timed(lambda: engine_of_onnx(self.subject.module, [self.first]))
        bound, loading = timed(lambda: LoadedEngine(plan).bind([self.first]))
        _, calling = timed(lambda: bound.enqueue(torch.cuda.Stream()))
        return bound, {"convert_s": converting, "load_s": loading, "first_s": calling}

    def onnx_loop(self) -> Runner:
        """The parser's engine, issued kernel by kernel on a stream of its own."""
        (bound, seconds), stream = self._onnx, torch.cuda.Stream()
        return _of_bound(bound, lambda: bound.enqueue(stream), self.first, seconds)

    def onnx_graph(self) -> Runner:
        """The parser's engine in a CUDA graph."""
        bound, seconds = self._onnx
        return _of_bound(bound, bound.capture().replay, self.first, seconds)

    # -- trtconv --------------------------------------------------------------------------------

    @functools.cached_property
    def converted(self) -> tuple[trtconv.TRTModule, dict[str, float]]:
        """The converted module, with the seconds of its conversion and first call."""
        module, converting = timed(lambda: trtconv.convert(self.subject.module, [self.first]))
        _, calling = timed(lambda: module(self.first))
        for _ in range(2):
            module(self.first)
        return module, {"convert_s": converting, "first_s": calling}

    def trtconv(self) -> Runner:
        """The converted module as a user calls it."""
        module, seconds = self.converted
        return Runner(self.subject.calling(module), lambda: module(self.first), seconds)

    def trtconv_static(self) -> Runner:
        """The converted module's fixed buffers."""
        module, _ = self.converted
        io: Any = self.open.enter_context(module.static_io(self.first))

        def result() -> Any:
            io.inputs[0].copy_(self.first)
            io.run()
            return io.result

        return Runner(io.run, result)

    def trtconv_no_graph(self) -> Runner:
        """The converted module, loaded from its state, with CUDA graphs off."""
        state = self.converted[0].state_dict()
        module = trtconv.TRTModule()
        _, loading = timed(lambda: module.load_state_dict(state))
        _, calling = timed(lambda: module(self.first))
        module.cuda_graphs = False
        return Runner(self.subject.calling(module), lambda: module(self.first), {"load_s": loading, "first_s": calling})

    @functools.cached_property
    def engine(self) -> LoadedEngine:
        """The converted module's engine."""
        return LoadedEngine(self.converted[0].engine.serialize())

    @functools.cached_property
    def _floor(self) -> tuple[Bound, Any]:
        bound = self.engine.bind([self.first.clone()])
        return bound, bound.capture()

    def engine_graph(self) -> Runner:
        """The converted module's engine alone in a CUDA graph: the bare replay."""
        bound, graph = self._floor
        return _of_bound(bound, graph.replay, self.first)

    def minimal(self) -> Runner:
        """The same engine in the least that a module can be: copy, replay, clone."""
        module = Minimal(*self._floor)
        return Runner(self.subject.calling(module), lambda: module(self.first))


class NotApplicable(Exception):
    """This way doesn't exist for this model; the cell stays empty."""


COLUMNS: dict[str, str] = {
    "eager": "eager",
    "eager_graph": "eager, graph",
    "eager_graph_last": "eager, graph, channels last",
    "compile_graph": "compile, graph",
    "compile_graph_last": "compile, graph, channels last",
    "onnx_loop": "ONNX, loop",
    "onnx_graph": "ONNX, graph",
    "trtconv": "**trtconv**",
    "trtconv_static": "trtconv, static io",
    "trtconv_no_graph": "trtconv, graphs off",
    "engine_graph": "its engine, graph",
    "minimal": "minimal module",
}
"""By method of `Ways`, the heading."""


def measure_columns(ways: Ways, columns: list[str], calls: int) -> list[dict[str, Any]]:
    """Rows of one subject, one for each column: its times, or under "failed" why there are none."""
    rows: dict[str, dict[str, Any]] = {}
    runners: dict[str, Runner] = {}
    oracle = Oracle(ways.subject)
    for name in columns:
        rows[name] = {"kind": "call", **ways.subject.key, "column": name}
        try:
            runner: Runner = getattr(ways, name)()
            runner.call()
            rows[name].update({**runner.seconds, **oracle.judge(runner.result())})
        except NotApplicable as error:
            rows[name]["not_applicable"] = str(error)
        except Exception as error:  # a cell of the table, not the end of the run
            rows[name]["failed"] = reason(error)
        else:
            runners[name] = runner
    samples, failed = measure({name: each.call for name, each in runners.items()}, calls, ways.subject.device)
    for name, found in samples.items():
        rows[name].update(found.summary())
    for name, why in failed.items():
        rows[name]["failed"] = why
    return list(rows.values())


class Oracle:
    """Judges results by the same model in float64: a fast column that is wrong isn't fast."""

    def __init__(self, subject: Subject) -> None:
        x = subject.draws[0]
        reference = copy.deepcopy(subject.module).double()
        self._precise = tensors_of(reference(x.double() if x.is_floating_point() else x))
        self._own = tensors_of(subject.module(x))

    def judge(self, result: Any) -> dict[str, float]:
        """The error's share of what is allowed (see `trtconv.inspect.Measure`) for a row."""
        outputs = tensors_of(result)
        if len(outputs) != len(self._own):
            raise ValueError(f"{len(outputs)} outputs in place of {len(self._own)}")
        compared = list(map(compare_tensors, self._precise, self._own, outputs))
        for output in compared:
            if output.problem:
                raise ValueError(f"wrong: {output.problem}")
        return {"error_share": max(output.worst.share for output in compared)}


def _captured(function: Callable[[Tensor], Any], x: Tensor) -> Runner:
    graph, result = capture(lambda: function(x))

    def replayed() -> Any:
        graph.replay()
        return result

    return Runner(graph.replay, replayed, keep=(function, x))


def _compiled(module: nn.Module, x: Tensor) -> Runner:
    # Dynamo isn't reset here: that would free constants that the other layout's graph reads.
    function = torch.compile(module, dynamic=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, seconds = timed(lambda: function(x))
    runner = _captured(function, x)
    runner.seconds["convert_s"] = seconds
    return runner


def _of_bound(bound: Bound, call: Callable[[], Any], first: Tensor, seconds: dict[str, float] | None = None) -> Runner:
    def result() -> list[Tensor]:
        bound.inputs[0].copy_(first)
        torch.cuda.synchronize()  # the call may run on a stream of its own
        call()
        torch.cuda.synchronize()
        return bound.outputs

    return Runner(call, result, seconds or {})
