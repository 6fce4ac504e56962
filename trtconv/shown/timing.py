"""Timing the layers of a converted module: those of its engine on a GPU, those of its network elsewhere."""

from __future__ import annotations

import functools
import itertools
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.dtypes import from_engine, to_engine
from trtconv.graph.data import Graph, Layer
from trtconv.graph.metadata import names_in
from trtconv.places import Origin
from trtconv.plan import Plan
from trtconv.reference import Interpreter
from trtconv.runtime import Session, cuda
from trtconv.runtime.backend import Backend, EngineBackend
from trtconv.shown.profile import Profile, TimedLayer
from trtconv.shown.text import dtype_name, shape_text


class Times:
    """What layers took, by their names, run by run, in milliseconds. TensorRT's profilers report to it too."""

    def __init__(self) -> None:
        self.runs: list[dict[str, float]] = []

    def begin_run(self) -> None:
        """What is reported from now on belongs to a new run."""
        self.runs.append({})

    def add(self, name: str, milliseconds: float) -> None:
        """Add to what a layer took; one inside a loop comes several times a run."""
        run = self.runs[-1]
        run[name] = run.get(name, 0.0) + milliseconds

    def medians(self, warm_up: int) -> dict[str, float]:
        """The median of each layer, in the order of the last run; the first runs don't count."""
        counted = self.runs[warm_up:]
        return {name: statistics.median(run.get(name, 0.0) for run in counted) for name in self.runs[-1]}


def profiled(
    session: Session, plan: Plan, tensors: Sequence[torch.Tensor], runs: int, warm_up: int
) -> tuple[list[torch.Tensor], Profile]:
    """Run a plan several times and time its layers.

    Args:
        session: The plan's, on the tensors' device.
        tensors: In the order of the plan's inputs.
        warm_up: How many runs come before those that count.

    Returns: what the last run returns, in the order of the plan's outputs, and the times.
    """
    segments = iter(plan.segments)
    layers: list[TimedLayer] = []

    def step(backend: Backend, feeds: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        segment, times = next(segments), Times()
        if isinstance(backend, EngineBackend):
            results = _time_engine(session, backend, feeds, runs + warm_up, times)
            described = _engine_layers(backend.engine.layer_information(), segment.graph)
        else:
            assert segment.graph is not None  # the interpreter runs it
            results = _time_network(segment.graph, segment.inputs, feeds, runs + warm_up, times)
            described = _network_layers(segment.graph)
        for name, milliseconds in times.medians(warm_up).items():
            about = described.get(name) or _by_name(name, segment.graph)
            layers.append(TimedLayer(name, *about, milliseconds))
        return results

    outputs = _through(session, plan, tensors, step)
    backend = "tensorrt" if session.on_gpu else "reference"
    device = cuda.name_of(session.device) if session.device.type == "cuda" else str(session.device)
    return outputs, Profile(tuple(layers), runs, backend, device)


def _time_engine(
    session: Session, backend: EngineBackend, feeds: Sequence[torch.Tensor], count: int, times: Times
) -> Sequence[torch.Tensor]:
    lane = session.lane(cuda.current_stream(session.device))
    return backend.run_profiled(feeds, lane, _profiler_type()(times.add), count, times.begin_run)


@functools.cache
def _profiler_type() -> Any:
    class Profiler(trt.load().IProfiler):  # type: ignore[misc]  # the base is known at run time only
        """Passes on what TensorRT reports."""

        def __init__(self, add: Callable[[str, float], None]) -> None:
            super().__init__()
            self._add = add

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self._add(layer_name, ms)

    return Profiler


def _time_network(
    graph: Graph, names: Sequence[str], feeds: Sequence[torch.Tensor], count: int, times: Times
) -> Sequence[torch.Tensor]:
    device = next((feed.device for feed in feeds if feed.is_cuda), None)

    @contextmanager
    def timed(layer: Layer) -> Iterator[None]:
        began = _now(device)
        yield
        times.add(layer.name, 1000 * (_now(device) - began))

    interpreter = Interpreter(graph, around=timed)
    for _ in range(count):
        times.begin_run()
        results = interpreter.run(dict(zip(names, feeds, strict=True)))
    return tuple(results.values())


def annotated() -> Callable[[Session, Plan, Sequence[torch.Tensor]], list[torch.Tensor]]:
    """What runs plans in a range of NVTX, with ranges for the layers in it: TensorRT makes those of an engine's."""
    interpreters: dict[int, Interpreter] = {}

    def run(session: Session, plan: Plan, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        segments = iter(plan.segments)

        def step(backend: Backend, feeds: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
            segment = next(segments)
            if isinstance(backend, EngineBackend):
                return backend.run(feeds, session.lane(cuda.current_stream(session.device)))
            if id(segment) not in interpreters:
                interpreters[id(segment)] = Interpreter(segment.graph, around=lambda layer: _range(layer.name))
            return tuple(interpreters[id(segment)].run(dict(zip(segment.inputs, feeds, strict=True))).values())

        with _range(f"TRTModule {plan.provenance.get('module', '')}".strip()):
            return _through(session, plan, tensors, step)

    return run


@contextmanager
def _range(name: str) -> Iterator[None]:
    torch.cuda.nvtx.range_push(name)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    try:
        yield
    finally:
        torch.cuda.nvtx.range_pop()  # type: ignore[no-untyped-call]  # as above


Step = Callable[[Backend, Sequence[torch.Tensor]], Sequence[torch.Tensor]]


def _through(session: Session, plan: Plan, tensors: Sequence[torch.Tensor], step: Step) -> list[torch.Tensor]:
    """The plan's outputs, of the dtypes that the module has, where `step` runs each segment."""
    outputs = session.through(list(map(to_engine, tensors)), step)
    return [from_engine(value, spec.dtype) for value, spec in zip(outputs, plan.signature.outputs, strict=True)]


def _now(device: torch.device | None) -> float:
    """Seconds; all work on a GPU is done by then."""
    if device is not None:
        torch.cuda.synchronize(device)
    return time.perf_counter()


About = tuple[tuple[Origin, ...], str, str]
"""Of a layer its origins, its dtype and its shapes."""


def _network_layers(graph: Graph) -> dict[str, About]:
    """What is known of the layers of a network."""
    return {
        layer.name: (
            (layer.origin,) if layer.origin else (),
            ", ".join(dict.fromkeys(dtype_name(graph.tensors[name].dtype) for name in layer.outputs)),
            ", ".join(shape_text(graph, name) for name in layer.outputs),
        )
        for layer in graph.layers
    }


def _engine_layers(information: str, graph: Graph | None) -> dict[str, About]:
    """What is known of the layers of an engine, by what its inspector says of them, which is JSON.

    Those of an engine that was built without details are names alone, of which nothing is said here.
    """
    known = _origins(graph)
    return {
        layer["Name"]: (
            _found(names_in(str(layer.get("Metadata", ""))), known) or _by_name(layer["Name"], graph)[0],
            ", ".join(dict.fromkeys(_dtype_of(output) for output in layer.get("Outputs", ()))),
            ", ".join(str(output.get("Dimensions", "")) for output in layer.get("Outputs", ())),
        )
        for layer in json.loads(information or "{}").get("Layers", ())
        if isinstance(layer, dict)
    }


def _by_name(name: str, graph: Graph | None) -> About:
    """What follows from a layer's name, as TensorRT makes it of those of fused layers: "a + b", "PWN(a, b)"."""
    return _found(re.split(r" \+ |, |[(){}\[\]]|\.\.\.", name), _origins(graph)), "", ""


def _origins(graph: Graph | None) -> dict[str, Origin]:
    return {layer.name: layer.origin for layer in graph.layers if layer.origin} if graph else {}


def _found(names: Sequence[str], known: Mapping[str, Origin]) -> tuple[Origin, ...]:
    """The origins of layers by their names; a pass names what it adds after the layer that it stands for."""
    found: dict[Origin, None] = {}
    for name in names:
        ancestors = itertools.accumulate(range(name.count(".")), lambda rest, _: rest.rpartition(".")[0], initial=name)
        origin = next((known[each] for each in ancestors if each in known), None)
        if origin is not None:
            found[origin] = None
    return tuple(found)


_DTYPES = {"float": "float32", "fp32": "float32", "half": "float16", "fp16": "float16", "bf16": "bfloat16"}


def _dtype_of(tensor: Mapping[str, Any]) -> str:
    """A tensor's dtype by torch's name: the release says "Float", or "Row major linear FP32"."""
    said = str(tensor.get("Datatype") or tensor.get("Format/Datatype", "")).rpartition(" ")[2].lower()
    return _DTYPES.get(said, said)
