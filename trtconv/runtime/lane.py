"""What the calls on one stream share: they run one after the other there."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from trtconv.errors import EngineError
from trtconv.runtime import cuda
from trtconv.runtime.engine import LoadedEngine, Shapes, close_at_exit
from trtconv.runtime.outputs import OutputAllocator, new_allocator
from trtconv.runtime.turns import turn_of
from trtconv.tensorrt.exclusion import alone
from trtconv.tensorrt.logger import collect_messages


class Lane:
    """The contexts and the memory for activations of the calls on one stream.

    Args:
        device: The GPU.
        stream: The handle of torch's stream that the calls come on.

    Attributes:
        lock: Held by a call while it queues its work: contexts belong to one call at a time.
        beside: A stream for what may not be queued on the default one.
    """

    def __init__(self, device: torch.device, stream: int) -> None:
        self.device = device
        self.stream = stream
        self.lock, self._guard = turn_of(device, stream)
        self.beside = cuda.new_stream(device)
        self._workspace = torch.empty(0, dtype=torch.uint8)
        self._contexts: dict[tuple[LoadedEngine, int], Context] = {}

    @contextmanager
    def working_stream(self) -> Iterator[int]:
        """The handle of a stream on which the lane's work comes in its turn, and which isn't the default one."""
        beside = self.stream == cuda.DEFAULT_STREAM
        with cuda.beside_default(self.beside, self.device) if beside else nullcontext(self.stream) as handle:
            yield handle

    def workspace(self, size: int) -> torch.Tensor:
        """Memory of at least this many bytes, which whatever runs on the lane may overwrite."""
        if self._workspace.numel() < size:
            with torch.inference_mode(False):
                self._workspace = torch.empty(size, dtype=torch.uint8, device=self.device)
        return self._workspace

    def context(self, engine: LoadedEngine, profile: int) -> Context:
        """The lane's context of a profile of an engine, made at the first use."""
        found = self._contexts.get((engine, profile))
        if found is None:
            found = self._contexts[engine, profile] = Context(engine, profile, self.stream)
        return found

    def take_context(self, engine: LoadedEngine, profile: int) -> Context | None:
        """The lane's context of a profile, which is the caller's from now on; None if there is none."""
        with self._guard:
            return self._contexts.pop((engine, profile), None)

    def memory(self) -> int:
        """The bytes of the memory for activations."""
        return self._workspace.numel()


class Context:
    """An execution context, and what it was last told."""

    def __init__(self, engine: LoadedEngine, profile: int, stream: int) -> None:
        self._engine = engine
        self._context = engine.new_context(profile, stream)
        self._let_go = weakref.finalize(self, cuda.let_go, engine.device, self._context, engine)
        close_at_exit(self)
        self._memory = (0, 0)
        self._has_run = False
        self._shapes: Shapes | None = None
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, OutputAllocator] = {}
        self.needs = 0
        self.results: list[tuple[int, ...] | None] = []

    def close(self) -> None:
        """Let go of the context; it can't be used any more."""
        self._let_go()
        self._context = None

    def set_shapes(self, shapes: Shapes) -> None:
        """Take inputs of these shapes from now on.

        Afterwards `needs` is how many bytes of memory a run takes, and `results` has the shape of each output;
        None where it depends on the values that come.

        Raises:
            EngineError: TensorRT refuses a shape.
        """
        if shapes == self._shapes:
            return
        self._shapes, self._has_run = None, False
        for spec, shape in zip(self._engine.inputs, shapes, strict=True):
            if not spec.is_static and not self._context.set_input_shape(spec.name, shape):
                raise EngineError(f"TensorRT refuses shape {list(shape)} for input {spec.name!r}")
        self.results = [
            spec.shape if self._engine.is_static else _known(self._context.get_tensor_shape(spec.name))  # type: ignore[misc]
            for spec in self._engine.outputs
        ]
        self.needs = int(self._context.update_device_memory_size_for_shapes())
        self._shapes = shapes

    @property
    def is_capturable(self) -> bool:
        """Whether all that a run needs is known before it."""
        return None not in self.results

    def set_workspace(self, memory: torch.Tensor) -> None:
        """Use this memory for activations from now on."""
        given = (memory.data_ptr(), memory.numel())
        if given != self._memory:
            self._context.set_device_memory(*given)
            self._memory = given

    def set_tensors(self, feeds: Sequence[torch.Tensor], results: Sequence[torch.Tensor | None]) -> None:
        """Read the inputs from these tensors and write the outputs to these; None is allocated during the run."""
        specs = (*self._engine.inputs, *self._engine.outputs)
        for spec, tensor in zip(specs, (*feeds, *results), strict=True):
            if tensor is None:
                self._allocate(spec.name)
                continue
            address = tensor.data_ptr() or _spare(tensor.device).data_ptr()
            if self._addresses.get(spec.name) != address:
                if not self._context.set_tensor_address(spec.name, address):
                    raise EngineError(f"TensorRT refuses the address of tensor {spec.name!r}")
                self._addresses[spec.name] = address

    def _allocate(self, name: str) -> None:
        if name not in self._allocators:
            allocator = self._allocators[name] = new_allocator(self._engine.device)
            if not self._context.set_output_allocator(name, allocator):
                raise EngineError(f"TensorRT takes no allocator for tensor {name!r}")

    def allocated(self, index: int) -> torch.Tensor:
        """The output of this number, which was allocated during the run."""
        spec = self._engine.outputs[index]
        return self._allocators[spec.name].result(spec.dtype)

    def can_be_captured_on(self, stream: int) -> bool:
        """Whether TensorRT lets this stream be recorded."""
        ask = getattr(self._context, "is_stream_capturable", None)
        return self.is_capturable and (ask is None or bool(ask(stream)))

    def report_to(self, profiler: Any) -> None:
        """Report the time of each layer of each run to a `trt.IProfiler`; a run ends before it returns then."""
        self._profiler = profiler  # TensorRT doesn't keep it alive
        self._context.profiler = profiler

    def run(self, stream: int) -> None:
        """Queue a run on a stream.

        Raises:
            EngineError: TensorRT queues none.
        """
        if self._has_run:
            if not self._context.execute_async_v3(stream):
                raise EngineError('the engine failed; what TensorRT says of it is in the log "trtconv.tensorrt"')
            return
        with alone(), collect_messages() as messages:
            if not self._context.execute_async_v3(stream):
                raise EngineError(f"the engine failed. {messages.words()}")
        self._has_run = True


def _known(shape: Sequence[int]) -> tuple[int, ...] | None:
    return None if -1 in shape else tuple(shape)


_SPARE: dict[torch.device, torch.Tensor] = {}


def _spare(device: torch.device) -> torch.Tensor:
    """Memory for empty tensors, which have no address: TensorRT wants one."""
    if device not in _SPARE:
        _SPARE[device] = torch.empty(256, dtype=torch.uint8, device=device)
    return _SPARE[device]
