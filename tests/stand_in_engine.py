"""A stand-in for a GPU and an engine on it, which computes on the CPU and records what is asked of it."""

import contextlib
import ctypes
import threading
import time
from types import SimpleNamespace

import numpy as np
import torch

from trtconv.calling.signature import TensorSpec
from trtconv.runtime import EngineBackend, backend, calls, cuda, kernels, lane, session, state, static_io, turns
from trtconv.runtime.kernels import Kernels
from trtconv.shown import timing


class Gpu:
    """What `trtconv.runtime.cuda` has, for streams that are numbers.

    Attributes:
        stream: The current stream, of each thread.
        capturing: Whether the caller captures it.
    """

    DEFAULT_STREAM = 0

    def __init__(self):
        self._of_thread = threading.local()
        self.capturing = False
        self.compute_capability, self.waits = "8.6", []

    @property
    def stream(self):
        return getattr(self._of_thread, "stream", 0)

    @stream.setter
    def stream(self, number):
        self._of_thread.stream = number

    @property
    def recorded(self):
        """What the work of a capture on this thread is added to; None outside of one."""
        return getattr(self._of_thread, "recorded", None)

    def current_stream(self, device):
        return self.stream

    def name_of(self, device):
        return "a stand-in"

    def capability(self, device):
        return self.compute_capability

    def wait_for(self, stream, other):
        self.waits.append((stream, other))

    def copy(self, target, source, stream):
        work = [] if self.recorded is None else self.recorded
        work.append(lambda: target.copy_(source))
        if self.recorded is None:
            work[0]()

    def current_device(self):
        return None

    def is_capturing(self):
        return self.capturing

    def new_stream(self, device):
        return SimpleNamespace(cuda_stream=1000)

    def on_device(self, device):
        return contextlib.nullcontext()

    def let_go(self, device, *objects):
        pass

    def beside_default(self, stream, device):
        return contextlib.nullcontext(stream.cuda_stream)

    def unrestricted(self):
        return contextlib.nullcontext()

    def Graph(self, record, stream, reads=(), writes=()):  # a class in trtconv.runtime.cuda
        self._of_thread.recorded = recorded = []
        try:
            record(stream.cuda_stream)
        finally:
            self._of_thread.recorded = None

        def launch(stream, addresses=()):
            sources, targets = addresses[: len(reads)], addresses[len(reads) :]
            for tensor, address in zip(reads, sources, strict=True):
                ctypes.memmove(tensor.data_ptr(), address, tensor.nbytes)
            for work in recorded:
                work()
            for tensor, address in zip(writes, targets, strict=True):
                ctypes.memmove(address, tensor.data_ptr(), tensor.nbytes)

        return SimpleNamespace(launch=launch)


class Context:
    """An execution context whose output is twice the input and one more."""

    def __init__(self, engine):
        self.engine = engine
        self.shape = engine.inputs[0].shape
        self.addresses, self.allocators = {}, {}
        self.profiler = None
        self._used = threading.Lock()

    def _log(self, *what):
        self.engine.log.append(what)

    def set_input_shape(self, name, shape):
        self._log("shape", shape)
        self.shape = shape
        return max(shape) < 100

    def get_tensor_shape(self, name):
        return (-1,) if self.engine.data_dependent else self.shape

    def update_device_memory_size_for_shapes(self):
        return 4 * int(np.prod(self.shape))

    def set_device_memory(self, address, size):
        self._log("memory", size)

    def set_tensor_address(self, name, address):
        self._log("address", name)
        self.addresses[name] = address
        return True

    def set_output_allocator(self, name, allocator):
        self.allocators[name] = allocator
        return True

    def is_stream_capturable(self, stream):
        return self.engine.capturable

    def execute_async_v3(self, stream):
        assert self._used.acquire(blocking=False), "two calls at once in one context"
        try:
            self._log("run", stream)
            time.sleep(self.engine.seconds)
            if self.engine.gpu.recorded is not None:
                addresses, shape = dict(self.addresses), self.shape
                self.engine.gpu.recorded.append(lambda: self._compute(addresses, shape))
            else:
                self._compute(self.addresses, self.shape)
            for name, milliseconds in self.engine.times if self.profiler else ():
                self.profiler.report_layer_time(name, milliseconds)
            return not self.engine.fails
        finally:
            self._used.release()

    def _compute(self, addresses, shape):
        x = _at(addresses["x"], shape)
        if self.allocators:
            x = x[x > 0]
            allocator = self.allocators["y"]
            addresses = {"y": allocator.reallocate_output_async("y", 0, x.nbytes, 256, 0)}
            allocator.notify_shape("y", x.shape)
        _at(addresses["y"], x.shape)[...] = x * 2 + 1


def _at(address, shape):
    """The float32 numbers at an address."""
    count = int(np.prod(shape))
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (max(count, 1),))[
        :count
    ].reshape(shape)


class Engine:
    """A loaded engine; its `log` has what was asked of its contexts, in order.

    Attributes:
        times: What profilers are told in each run: names of layers, and milliseconds.
        information: What its inspector says of its layers.
    """

    device = torch.device("cpu")
    is_static = False
    kernels_fit = False

    def __init__(self, gpu):
        self.gpu = gpu
        self.inputs = [TensorSpec("x", torch.float32, ("?", "?"))]
        self.outputs = [TensorSpec("y", torch.float32, ("?", "?"))]
        self.log, self.contexts, self.seconds = [], 0, 0.0
        self.fails = self.data_dependent = False
        self.capturable = True
        self.times, self.information = [], ""

    def layer_information(self):
        return self.information

    def new_context(self, profile, stream):
        self.contexts += 1
        return Context(self)

    def profile_of(self, shapes):
        return 0

    def kernels(self):
        return b"kernels of %d" % self.contexts

    def weights(self):
        return 10

    def taken_log(self):
        """What was asked since it was last taken."""
        log, self.log = self.log, []
        return log


def install(monkeypatch):
    """Put a stand-in in the place of GPUs and engines; return the engine that all modules get."""
    gpu = Gpu()
    turns._takes_turns.cache_clear()
    turns._turns.cache_clear()
    engine = Engine(gpu)
    for module in (backend, calls, kernels, lane, state, static_io, timing, turns):
        monkeypatch.setattr(module, "cuda", gpu)
    monkeypatch.setattr(
        session, "_backend", lambda segment, device, store: EngineBackend(engine, Kernels(segment, device, store))
    )
    real = calls.key_of

    def key_of(tensors):
        key = real(tensors)
        return None if key is None else (*key, gpu.stream)

    monkeypatch.setattr("trtconv.module.key_of", key_of)
    assert cuda.DEFAULT_STREAM == gpu.DEFAULT_STREAM
    return engine
