"""A plan made ready for one device."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.errors import EngineError
from trtconv.plan import Plan, Segment
from trtconv.runtime.backend import Backend, Bound, EngineBackend, InterpreterBackend
from trtconv.runtime.cache import Store
from trtconv.runtime.engine import LoadedEngine
from trtconv.runtime.kernels import Kernels
from trtconv.runtime.lane import Lane
from trtconv.runtime.refitting import refit


class Session:
    """The backends of a plan's segments on one device; loaded, unless they are given.

    Args:
        store: Where compiled kernels are kept for other modules and processes.

    Raises:
        EngineError: a segment can't run there.
    """

    def __init__(
        self, plan: Plan, device: torch.device, store: Store | None, backends: Sequence[Backend] | None = None
    ) -> None:
        self.device = device
        self.backends = backends or [_backend(segment, device, store) for segment in plan.segments]
        self.on_gpu = any(isinstance(backend, EngineBackend) for backend in self.backends)
        self._signature = plan.signature
        self._lanes: weakref.WeakValueDictionary[int, Lane] = weakref.WeakValueDictionary()
        self._changing = threading.Lock()

    @staticmethod
    def interpreted(plan: Plan, device: torch.device) -> Session:
        """A plan whose networks the interpreter runs, on any device.

        Raises:
            EngineError: a network wasn't kept.
        """
        return Session(plan, device, None, [_interpreter(segment, device) for segment in plan.segments])

    def lane(self, stream: int) -> Lane:
        """The lane of a stream. It stays as long as something holds it."""
        with self._changing:
            lane = self._lanes.get(stream)
            if lane is None:
                lane = self._lanes[stream] = Lane(self.device, stream)
            return lane

    def lanes(self) -> list[Lane]:
        """The lanes that there are."""
        with self._changing:
            return list(self._lanes.values())

    def run(self, tensors: Sequence[torch.Tensor], lane: Lane | None) -> list[torch.Tensor]:
        """Run on tensors in the order of what the plan takes; return new ones in the order of its outputs.

        All are as the engine has them (`trtconv.dtypes.to_engine`).
        """
        return self.through(tensors, lambda backend, feeds: backend.run(feeds, lane))

    def run_captured(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """`run` while the caller captures the current stream into a graph."""
        return self.through(tensors, lambda backend, feeds: backend.run_captured(feeds, self.lanes()))

    def written_state(self, state: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Of the plan's state those buffers that are written to."""
        first = len(self._signature.inputs)
        return [state[place - first] for place in self._signature.written_inputs if place >= first] if state else []

    def keep_kernels(self, seconds: float) -> None:
        """Keep what was compiled for a first run that took this long."""
        for backend in self.backends:
            if isinstance(backend, EngineBackend):
                backend.keep_kernels(seconds)

    def bind(self, feeds: Sequence[torch.Tensor], lane: Lane) -> tuple[list[Bound], list[torch.Tensor]]:
        """All segments with fixed tensors, and the plan's outputs among them.

        Raises:
            EngineError: a segment can't be in a graph.
        """
        all_bound = []

        def bind(backend: Backend, feeds: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
            bound = backend.bind(feeds, lane)
            if bound is None:
                raise EngineError(
                    "the sizes of an output, or what the engine runs, depend on the values that come"
                    if isinstance(backend, EngineBackend)
                    else "the reference interpreter runs a part of the plan"
                )
            all_bound.append(bound)
            return bound.results

        return all_bound, self.through(feeds, bind)

    def through(
        self,
        tensors: Sequence[torch.Tensor],
        step: Callable[[Backend, Sequence[torch.Tensor]], Sequence[torch.Tensor]],
    ) -> list[torch.Tensor]:
        """The plan's outputs, where `step` gives those of each backend for its inputs."""
        values = {spec.name: tensor for spec, tensor in zip(self._signature.taken, tensors, strict=True)}
        for backend in self.backends:
            results = step(backend, [values[name] for name in backend.inputs])
            values.update(zip(backend.outputs, results, strict=True))
        return [values[spec.name] for spec in self._signature.outputs]


def load_engine_of(segment: Segment, device: torch.device, store: Store | None) -> EngineBackend:
    """Load a segment's engine on a GPU, with the kernels that are kept for it.

    Raises:
        EngineError: TensorRT doesn't load it there.
    """
    kernels = Kernels(segment, device, store) if trt.is_rtx() else None
    content = segment.engine.cpu().numpy().data
    finish = functools.partial(_bring_up_to_date, segment)
    return EngineBackend(LoadedEngine(content, device, kernels.load() if kernels else None, finish), kernels)


def _bring_up_to_date(segment: Segment, engine: Any) -> None:
    """Give a loaded engine the weights that its network has got since it was built."""
    if segment.outdated is not None and segment.graph is not None:
        from trtconv.passes import for_engine

        refit(engine, for_engine(segment.graph, tf32=segment.outdated.tf32), segment.outdated.layers)


def _backend(segment: Segment, device: torch.device, store: Store | None) -> Backend:
    if device.type == "cuda" and trt.is_available():
        return load_engine_of(segment, device, store)
    return _interpreter(segment, device)


def _interpreter(segment: Segment, device: torch.device) -> Backend:
    if segment.graph is None:
        raise EngineError(f"the engine can't run on {device}, and the network wasn't kept for the interpreter")
    return InterpreterBackend(segment, segment.graph)
