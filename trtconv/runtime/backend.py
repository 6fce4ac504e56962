"""What can run a segment of a plan: a TensorRT engine, or the reference interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from trtconv.errors import EngineError
from trtconv.plan import Segment
from trtconv.reference import Graph, Interpreter
from trtconv.runtime import cuda
from trtconv.runtime.engine import LoadedEngine, Shapes
from trtconv.runtime.kernels import Kernels
from trtconv.runtime.lane import Context, Lane

_COMPILES = 0.05
"""After how many seconds of a first run for some shapes it is taken that kernels were compiled for them."""


class Bound(Protocol):
    """A segment with fixed tensors to read and to write, for a graph."""

    results: Sequence[torch.Tensor]

    def queue(self, stream: int) -> None:
        """Queue a run on the stream of this handle."""
        ...


class Backend(Protocol):
    """A segment made ready for one device.

    Attributes:
        name: What `TRTModule.backend` says.
        inputs, outputs: The names of the tensors that it reads and writes, in order.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, tensors: Sequence[torch.Tensor], lane: Lane | None) -> Sequence[torch.Tensor]:
        """Run on tensors in the order of `inputs`; return new tensors in the order of `outputs`.

        On a GPU the work is queued in the order of the lane's stream.
        """
        ...

    def bind(self, feeds: Sequence[torch.Tensor], lane: Lane) -> Bound | None:
        """Bind these tensors for a graph that is launched in the order of the lane; None if that can't be."""
        ...

    def run_captured(self, tensors: Sequence[torch.Tensor], lanes: Sequence[Lane]) -> Sequence[torch.Tensor]:
        """`run` on the current stream while the caller captures it into a graph, which may run at any time later.

        What it needs and a lane has ready is taken from there.
        """
        ...


class InterpreterBackend:
    """The reference interpreter runs the segment's network, on any device of torch's."""

    name = "reference"

    def __init__(self, segment: Segment, network: Graph) -> None:
        self.inputs, self.outputs = segment.inputs, tuple(network.outputs)
        self._interpreter = Interpreter(network)

    def run(self, tensors: Sequence[torch.Tensor], lane: Lane | None) -> Sequence[torch.Tensor]:
        return tuple(self._interpreter.run(dict(zip(self.inputs, tensors, strict=True))).values())

    def bind(self, feeds: Sequence[torch.Tensor], lane: Lane) -> Bound | None:
        return None

    def run_captured(self, tensors: Sequence[torch.Tensor], lanes: Sequence[Lane]) -> Sequence[torch.Tensor]:
        return self.run(tensors, None)


class EngineBackend:
    """TensorRT runs the segment's engine on one GPU."""

    name = "tensorrt"

    def __init__(self, engine: LoadedEngine, kernels: Kernels | None = None) -> None:
        self.engine = engine
        self._kernels = kernels
        self._has_new_kernels = not engine.kernels_fit
        self.inputs = tuple(spec.name for spec in engine.inputs)
        self.outputs = tuple(spec.name for spec in engine.outputs)
        self._captured: list[tuple[Context, Sequence[torch.Tensor]]] = []

    def run(self, tensors: Sequence[torch.Tensor], lane: Lane | None) -> Sequence[torch.Tensor]:
        assert lane is not None
        feeds = [in_order(tensor) for tensor in tensors]
        shapes = _shapes(feeds)
        with lane.lock:
            return self._run(lane.context(self.engine, self.engine.profile_of(shapes)), feeds, shapes, lane)

    def run_profiled(
        self, tensors: Sequence[torch.Tensor], lane: Lane, profiler: Any, count: int, begin_run: Callable[[], None]
    ) -> Sequence[torch.Tensor]:
        """`run` so many times in a context of its own, which reports the times of layers to a `trt.IProfiler`.

        `begin_run` is called before each run.
        """
        feeds = [in_order(tensor) for tensor in tensors]
        shapes = _shapes(feeds)
        with lane.lock:
            context = Context(self.engine, self.engine.profile_of(shapes), lane.stream)
            context.report_to(profiler)
            for _ in range(count):
                begin_run()
                results = self._run(context, feeds, shapes, lane)
        return results

    def _run(self, context: Context, feeds: Sequence[torch.Tensor], shapes: Shapes, lane: Lane) -> list[torch.Tensor]:
        context.set_shapes(shapes)
        context.set_workspace(lane.workspace(context.needs))
        results = self._new_results(context)
        context.set_tensors(feeds, results)
        with lane.working_stream() as stream:
            context.run(stream)
        return [context.allocated(i) if result is None else result for i, result in enumerate(results)]

    def keep_kernels(self, seconds: float) -> None:
        """Keep the compiled kernels for later processes, unless they are known: a run of new shapes was quick then."""
        if self._kernels is not None and (self._has_new_kernels or seconds > _COMPILES):
            self._kernels.keep(self.engine.kernels() or b"")
            self._has_new_kernels = False

    def bind(self, feeds: Sequence[torch.Tensor], lane: Lane) -> Bound | None:
        shapes = _shapes(feeds)
        context = Context(self.engine, self.engine.profile_of(shapes), lane.stream)
        context.set_shapes(shapes)
        if not context.can_be_captured_on(int(lane.beside.cuda_stream)):
            return None
        return _BoundEngine(context, feeds, self._new_results(context), lane.workspace(context.needs))

    def run_captured(self, tensors: Sequence[torch.Tensor], lanes: Sequence[Lane]) -> Sequence[torch.Tensor]:
        feeds = [in_order(tensor) for tensor in tensors]
        shapes = _shapes(feeds)
        profile = self.engine.profile_of(shapes)
        stream = cuda.current_stream(self.engine.device)
        with cuda.unrestricted():
            ready = (lane.take_context(self.engine, profile) for lane in lanes)
            context = next(filter(None, ready), None) or Context(self.engine, profile, stream)
            context.set_shapes(shapes)
            if not context.can_be_captured_on(stream):
                raise EngineError(
                    "TensorRT doesn't let this engine be captured into a CUDA graph: the sizes of its outputs, or what "
                    "it runs, depend on the values that come. Call the converted module outside of the capture"
                )
            # The caller's graph has memory of its own: what is allocated now stays as long as that graph.
            workspace = torch.empty(context.needs, dtype=torch.uint8, device=self.engine.device)
            bound = _BoundEngine(context, feeds, self._new_results(context), workspace)
        bound.queue(stream)
        self._captured.append((context, (*feeds, workspace)))
        return bound.results

    def _new_results(self, context: Context) -> list[torch.Tensor]:
        return [
            None if shape is None else torch.empty(shape, dtype=spec.dtype, device=self.engine.device)  # type: ignore[misc]
            for spec, shape in zip(self.engine.outputs, context.results, strict=True)
        ]


class _BoundEngine:
    """A context of its own with fixed addresses."""

    def __init__(
        self,
        context: Context,
        feeds: Sequence[torch.Tensor],
        results: Sequence[torch.Tensor],
        workspace: torch.Tensor,
    ) -> None:
        self.results = results
        self._context = context
        self._kept = (feeds, workspace)
        context.set_workspace(workspace)
        context.set_tensors(feeds, results)

    def queue(self, stream: int) -> None:
        self._context.run(stream)


def in_order(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor whose numbers lie in memory as they are and in order: itself where it does."""
    if tensor.is_contiguous() and not tensor.is_neg():
        return tensor
    return tensor.resolve_neg().contiguous()


def _shapes(tensors: Sequence[torch.Tensor]) -> Shapes:
    return tuple(tuple(tensor.shape) for tensor in tensors)
