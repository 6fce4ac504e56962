"""Calls of a plan, each prepared at the first of its kind: the same shapes, dtypes, device and stream."""

from __future__ import annotations

import functools
import itertools
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

import torch

from trtconv.calling.signature import Signature
from trtconv.dtypes import from_engine, to_engine
from trtconv.errors import EngineError
from trtconv.places import warn
from trtconv.runtime import cuda
from trtconv.runtime.backend import Bound, in_order
from trtconv.runtime.forms import TENSORS
from trtconv.runtime.lane import Lane
from trtconv.runtime.session import Session
from trtconv.runtime.state import State

CudaGraphs = Literal["auto", True, False]
Tensors = Sequence[torch.Tensor]

_REPAID = 100
"""After about how many calls a graph has saved the time that it takes to capture it."""


def key_of(tensors: Tensors) -> Hashable:
    """What two calls have in common that run alike; None for tensors of other classes than torch's own."""
    parts: list[Any] = []
    for tensor in tensors:
        if type(tensor) not in TENSORS:
            return None
        parts += (tensor.dtype, tensor.shape, tensor.device)
    if parts and tensor.is_cuda:
        parts.append(cuda.current_stream(parts[-1]))
    return tuple(parts)


class FixedCall:
    """A call whose engine reads and writes fixed tensors, as a CUDA graph that copies into them and out of them.

    Args:
        session: What runs it.
        tensors: Such as calls come with, in the engine's form.
        lane: Whose memory for activations it uses: its launches come one after the other.
        copies: Whether the graph copies; else what is in `feeds` is read, and `results` are the results.
        captured: Whether there is a graph; else, without copies, the work is queued anew each time.
        state: Buffers, the last of `tensors`, which the engine reads where they are, and the work writes to at its end.

    Attributes:
        feeds: What the engine reads, in the order of the plan's inputs; without the state.
        results: What it writes, in the order of the plan's outputs; without the state's new contents.
        written: The buffers that are written to, in the order of their new contents in the plan's outputs.
        launch: Queue a run on a stream, with addresses as `cuda.Graph.launch` takes them.

    Raises:
        EngineError: it can't be bound or captured.
    """

    launch: Callable[..., None]

    def __init__(
        self,
        session: Session,
        tensors: Tensors,
        lane: Lane,
        *,
        copies: bool = True,
        captured: bool = True,
        state: Tensors = (),
    ) -> None:
        self.lane = lane
        tensors = tensors[: len(tensors) - len(state)]
        self.written = session.written_state(state)
        with torch.inference_mode(False), torch.no_grad(), lane.lock:
            self.feeds = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]
            self._bound, results = session.bind([*self.feeds, *state], lane)
            count = len(results) - len(self.written)
            self.results = results[:count]
            # TensorRT allocates and compiles in the first run; a graph is recorded of a later one.
            for feed, tensor in zip(self.feeds, tensors, strict=True):
                feed.copy_(tensor)
            with lane.working_stream() as stream:
                _queue(self._bound, (), stream)
            queue = functools.partial(_queue, self._bound, list(zip(self.written, results[count:], strict=True)))
            self._graph = None
            if captured:
                ends = (self.feeds, self.results) if copies else ()
                self._graph = cuda.Graph(queue, lane.beside, *ends)
        self.launch = queue if self._graph is None else self._graph.launch
        used = (self._graph, self._bound, self.feeds, results, state, lane)
        weakref.finalize(self, cuda.let_go, lane.device, *used)

    def __call__(self, tensors: Tensors) -> list[torch.Tensor]:
        """Run on these tensors; return new ones."""
        tensors = [in_order(tensor) for tensor in tensors]
        results = list(map(torch.empty_like, self.results))
        with self.lane.lock:
            self.launch(self.lane.stream, [tensor.data_ptr() for tensor in (*tensors, *results)])
        return results

    def memory(self) -> int:
        """The bytes of its fixed tensors."""
        return sum(tensor.nbytes for tensor in (*self.feeds, *self.results))


class StatefulFixedCall(FixedCall):
    """A fixed call with state. What it returns in the place of new contents of buffers are these, which have them."""

    def __call__(self, tensors: Tensors) -> list[torch.Tensor]:
        return [*super().__call__(tensors[: len(self.feeds)]), *self.written]


def _queue(all_bound: Sequence[Bound], copies: Sequence[tuple[torch.Tensor, torch.Tensor]], stream: int) -> None:
    for bound in all_bound:
        bound.queue(stream)
    for target, source in copies:
        cuda.copy(target, source, stream)


class PreparedCall:
    """How calls of one kind are run.

    Attributes:
        used: When it was last called: a number that grows from call to call.
        must_be_checked: Whether a call of this kind may still not fit: where inputs that are written to share memory.
        fixed: Its CUDA graph, if it has one.
    """

    def __init__(self, signature: Signature, session: Session, lane: Lane | None, graphs: Graphs) -> None:
        self._signature = signature
        self._session = session
        self._lane = lane
        self._graphs = graphs
        self._count = 0
        self._index = -1 if lane is None else lane.device.index
        self.must_be_checked = signature.writes_to_arguments
        self.fixed: FixedCall | None = None
        self.used = 0

    def __call__(self, tensors: Tensors) -> Any:
        """Run on tensors of this kind; return what the module returns."""
        signature = self._signature
        outputs = self.run(tensors)
        signature.write_back(tensors, outputs)
        return outputs[0] if signature.returns_one_tensor else signature.result.fill(outputs)

    def run(self, tensors: Tensors) -> Sequence[torch.Tensor]:
        """The plan's outputs for tensors of this kind, of the dtypes that the module has."""
        self.used = next(_clock)
        if not self._signature.is_cast:
            return self._on_device(tensors)
        outputs = self._on_device(list(map(to_engine, tensors)))
        return [from_engine(value, spec.dtype) for value, spec in zip(outputs, self._signature.outputs, strict=True)]

    def _on_device(self, tensors: Tensors) -> Sequence[torch.Tensor]:
        if self._lane is None:
            return self._session.run(tensors, None)
        if cuda.current_device() != self._index:
            with cuda.on_device(self._lane.device):
                return self._on_gpu(tensors)
        return self._on_gpu(tensors)

    def _on_gpu(self, tensors: Tensors) -> Sequence[torch.Tensor]:
        if cuda.is_capturing():
            return self._session.run_captured(tensors)
        fixed = self.fixed
        if fixed is not None:
            return fixed(tensors)
        self._count += 1
        if self._graphs.wants(self._count):
            assert self._lane is not None
            with self._lane.lock:
                self.fixed = self.fixed or self._graphs.capture(functools.partial(self._fix, tensors, self._lane))
            if self.fixed is not None:
                self._session.keep_kernels(0.0)
                return self.fixed(tensors)
        if self._count > 1:
            return self._session.run(tensors, self._lane)
        started = time.perf_counter()
        results = self._session.run(tensors, self._lane)
        self._session.keep_kernels(time.perf_counter() - started)
        return results

    def _fix(self, tensors: Tensors, lane: Lane) -> FixedCall:
        return FixedCall(self._session, tensors, lane)


class StatefulCall(PreparedCall):
    """How calls of one kind are run that read and write a module's buffers."""

    def __init__(self, signature: Signature, session: Session, lane: Lane | None, graphs: Graphs, state: State) -> None:
        super().__init__(signature, session, lane, graphs)
        self._state = state
        self._version = -1

    def __call__(self, tensors: Tensors) -> Any:
        state = self._state
        with state.lock:
            held = state.take(self._session.device, None if self._lane is None else self._lane.stream)
            if state.version != self._version:  # a graph reads the buffers where they were
                self._version, self.fixed, self._count = state.version, None, 0
            return super().__call__((*tensors, *held))

    def _fix(self, tensors: Tensors, lane: Lane) -> FixedCall:
        if not self._state.is_held:
            return super()._fix(tensors, lane)
        return StatefulFixedCall(self._session, tensors, lane, state=tensors[len(self._signature.inputs) :])


_clock = itertools.count(1)


class Graphs:
    """Which calls of a module are captured.

    Args:
        mode: "auto" captures a graph where a call comes a second time, True at once, False never.
        limit: After how many captures "auto" waits until a call has come often enough to repay one.
    """

    def __init__(self, mode: CudaGraphs, limit: int) -> None:
        self._mode = mode
        self._limit = limit
        self._captured = 0

    def wants(self, count: int) -> bool:
        """Whether a call that comes for this many times without a graph is to have one."""
        if self._mode == "auto":
            return count > 1 and (self._captured < self._limit or count > _REPAID)
        return self._mode

    def capture(self, fix: Callable[[], FixedCall]) -> FixedCall | None:
        """A call with a CUDA graph; None where it can't be captured, which is said once."""
        try:
            fixed = fix()
        except (EngineError, torch.OutOfMemoryError) as error:
            self._mode = False
            warn(f"calls run without a CUDA graph: {error}")
            return None
        self._captured += 1
        return fixed


class Calls:
    """The prepared calls of a plan.

    Args:
        signature: How the plan is called.
        cuda_graphs: As for `Graphs`.
        limit: How many calls are kept, those used last.
        state: What calls read and write.

    Attributes:
        find: The call of a kind, by its key; None if it isn't prepared.
    """

    def __init__(self, signature: Signature, cuda_graphs: CudaGraphs, limit: int, state: State | None = None) -> None:
        self._signature = signature
        self._state = state
        self._graphs = Graphs(cuda_graphs, limit)
        self._limit = limit
        self._changing = threading.Lock()
        self._prepared: dict[Hashable, PreparedCall] = {}
        self.find = self._prepared.get

    def prepare(self, key: Hashable, session: Session, *, is_flat: bool = False) -> PreparedCall:
        """The call of a kind; its tensors have been checked, and are on the session's device.

        A flat one is given the state among its tensors.
        """
        with self._changing:
            found = self._prepared.get(key)
            if found is not None:
                return found
            lane = session.lane(cuda.current_stream(session.device)) if session.on_gpu else None
            given = self._signature, session, lane, self._graphs
            call = PreparedCall(*given) if is_flat or self._state is None else StatefulCall(*given, self._state)
            call.used = next(_clock)
            if key is not None:
                while len(self._prepared) >= self._limit:
                    del self._prepared[min(self._prepared, key=lambda each: self._prepared[each].used)]
                self._prepared[key] = call
            return call

    def memory(self) -> int:
        """The bytes of the tensors of all graphs."""
        fixed = [call.fixed for call in list(self._prepared.values())]
        return sum(each.memory() for each in fixed if each is not None)
