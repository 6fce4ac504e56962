"""CUDA graphs through CUDA's runtime library, with inputs and outputs that may be elsewhere at each launch.

`torch.cuda.CUDAGraph` isn't used for two reasons. It registers torch's generator, so that a random number on any other
thread raises while it records. And it replays with the addresses that it was recorded with, so that tensors are copied
by kernels of their own, which cost the host more than the graph; here copies are a part of the graph.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from trtconv.errors import EngineError

_THREAD_LOCAL, _RELAXED = 1, 2  # members of cudaStreamCaptureMode
_NON_BLOCKING = 1  # cudaStreamNonBlocking
_NO_TIMING = 2  # cudaEventDisableTiming
_DEVICE_TO_DEVICE = 3  # a member of cudaMemcpyKind
_this_thread = threading.local()


class Graph:
    """Work on a GPU that was recorded, to be launched as one on any stream.

    Args:
        record: Queues the work on a stream of this handle. Nothing runs meanwhile.
        stream: The stream to record on, which nothing else uses.
        reads: Tensors that a launch fills from elsewhere before the work.
        writes: Tensors that a launch copies elsewhere after the work.

    Raises:
        EngineError: the work can't be recorded.
    """

    def __init__(
        self,
        record: Callable[[int], None],
        stream: Any,
        reads: Sequence[torch.Tensor] = (),
        writes: Sequence[torch.Tensor] = (),
    ) -> None:
        self._made: list[tuple[str, Any]] = []  # how to destroy what, the last first
        work = self._own("cudaGraphDestroy", _recorded(record, int(stream.cuda_stream)))
        whole = self._own("cudaGraphDestroy", _made("cudaGraphCreate", 0))
        before = [_Copy(whole, (), tensor, _Copy.INTO) for tensor in reads]
        nodes = [copy.node for copy in before if copy.node]
        child = _made("cudaGraphAddChildGraphNode", whole, *_dependencies(nodes), work)
        after = [_Copy(whole, (child,), tensor, _Copy.OUT_OF) for tensor in writes]
        graph = self._own("cudaGraphExecDestroy", _made("cudaGraphInstantiate", whole, ctypes.c_ulonglong(0)))
        self._copies = before + after  # their nodes are those of `whole`, which has to stay for that
        self._start = _library().cudaGraphLaunch
        self._handle: int = graph.value

    def _own(self, destroy: str, handle: Any) -> Any:
        self._made.append((destroy, handle))
        return handle

    def launch(self, stream: int, addresses: Sequence[int] = ()) -> None:
        """Queue the work on a stream.

        Args:
            stream: The handle of a stream of the current device.
            addresses: Where each of `reads` is filled from and each of `writes` goes to, in order.
        """
        for copy, address in zip(self._copies, addresses, strict=True):
            if address != copy.address:
                copy.move(self._handle, address)
        if status := self._start(self._handle, stream):
            _raise_for("cudaGraphLaunch", status)

    def __del__(self) -> None:
        if not sys.is_finalizing():
            for destroy, handle in reversed(self._made):
                getattr(_library(), destroy)(handle)


class _Copy:
    """A node that copies a tensor from or to an address, which may change from launch to launch."""

    INTO, OUT_OF = 0, 1

    def __init__(self, graph: Any, after: Sequence[Any], tensor: torch.Tensor, direction: int) -> None:
        self._tensor = tensor
        self._direction = direction
        self._address, self._size = tensor.data_ptr(), tensor.nbytes
        self._set = _library(holds_lock=True).cudaGraphExecMemcpyNodeSetParams1D
        self.address = 0
        self.node = None
        if self._size:
            elsewhere = torch.empty_like(tensor)  # until the first launch, for an address of the right kind
            ends = self._ends(elsewhere.data_ptr())
            self.node = _made("cudaGraphAddMemcpyNode1D", graph, *_dependencies(after), *ends)
            self._handle = self.node.value

    def _ends(self, address: int) -> tuple[int, int, int, int]:
        """Where to, where from, how many bytes, and between what."""
        if self._direction == self.INTO:
            return self._address, address, self._size, _DEVICE_TO_DEVICE
        return address, self._address, self._size, _DEVICE_TO_DEVICE

    def move(self, graph: int, address: int) -> None:
        """Read from, or write to, another address from the next launch on."""
        if self.node is not None and (status := self._set(graph, self._handle, *self._ends(address))):
            _raise_for("cudaGraphExecMemcpyNodeSetParams1D", status)
        self.address = address


def _recorded(record: Callable[[int], None], handle: int) -> Any:
    """The graph of what `record` queues on the stream of this handle."""
    _check("cudaStreamBeginCapture", ctypes.c_void_p(handle), _THREAD_LOCAL)
    graph = ctypes.c_void_p()
    _this_thread.is_recording = True
    try:
        record(handle)
    except BaseException:
        _library().cudaStreamEndCapture(ctypes.c_void_p(handle), ctypes.byref(graph))
        _library().cudaGetLastError()
        raise
    finally:
        _this_thread.is_recording = False
    _check("cudaStreamEndCapture", ctypes.c_void_p(handle), ctypes.byref(graph))
    return graph


def is_recording() -> bool:
    """Whether a graph is being recorded on this thread."""
    return getattr(_this_thread, "is_recording", False)


@contextmanager
def unrestricted() -> Iterator[None]:
    """A context in which this thread may allocate and load kernels although a stream is being captured."""
    mode = ctypes.c_int(_RELAXED)
    _check("cudaThreadExchangeStreamCaptureMode", ctypes.byref(mode))
    try:
        yield
    finally:
        _check("cudaThreadExchangeStreamCaptureMode", ctypes.byref(mode))


def create_stream() -> int:
    """The handle of a new stream on the current device, which doesn't wait for the default one."""
    stream = ctypes.c_void_p()
    _check("cudaStreamCreateWithFlags", ctypes.byref(stream), _NON_BLOCKING)
    assert stream.value is not None
    return stream.value


def destroy_stream(handle: int) -> None:
    """Destroy a stream of `create_stream` when its work is done."""
    _library().cudaStreamDestroy(ctypes.c_void_p(handle))


def wait_for(stream: int, other: int) -> None:
    """Let what a stream is given from now on wait for what another one has by now."""
    event = ctypes.c_void_p()
    _check("cudaEventCreateWithFlags", ctypes.byref(event), _NO_TIMING)
    try:
        _check("cudaEventRecord", event, ctypes.c_void_p(other))
        _check("cudaStreamWaitEvent", ctypes.c_void_p(stream), event, 0)
    finally:
        _library().cudaEventDestroy(event)


def copy(target: torch.Tensor, source: torch.Tensor, stream: int) -> None:
    """Queue a copy on the stream of this handle between tensors that are laid out alike."""
    ends = ctypes.c_void_p(target.data_ptr()), ctypes.c_void_p(source.data_ptr())
    _check("cudaMemcpyAsync", *ends, ctypes.c_size_t(target.nbytes), _DEVICE_TO_DEVICE, ctypes.c_void_p(stream))


def _dependencies(nodes: Sequence[Any]) -> tuple[Any, Any]:
    """Nodes as CUDA takes them: an array and its length."""
    values = [node.value for node in nodes]
    return (ctypes.c_void_p * len(values))(*values), ctypes.c_size_t(len(values))


@functools.cache
def _library(holds_lock: bool = False) -> Any:
    """CUDA's runtime library, which torch has loaded.

    A call lets other threads of Python's run meanwhile, unless it `holds_lock`: where it costs less than that.
    """
    major = str(torch.version.cuda).partition(".")[0]
    name = f"cudart64_{major}.dll" if sys.platform == "win32" else f"libcudart.so.{major}"
    library = ctypes.PyDLL(name) if holds_lock else ctypes.CDLL(name)
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    ends = (pointer, pointer, size, number)
    library.cudaGraphLaunch.argtypes = (pointer, pointer)
    library.cudaGraphAddMemcpyNode1D.argtypes = (pointer, pointer, pointer, size, *ends)
    library.cudaGraphExecMemcpyNodeSetParams1D.argtypes = (pointer, pointer, *ends)
    library.cudaGetErrorString.restype = ctypes.c_char_p
    return library


def _made(name: str, *args: Any) -> Any:
    """The handle that a function of CUDA's writes to its first argument."""
    handle = ctypes.c_void_p()
    _check(name, ctypes.byref(handle), *args)
    return handle


def _check(name: str, *args: Any) -> None:
    _raise_for(name, getattr(_library(), name)(*args))


def _raise_for(name: str, status: int) -> None:
    if status:
        _library().cudaGetLastError()  # or the next call of torch's would raise it
        raise EngineError(f"{name}: {_library().cudaGetErrorString(status).decode()}")
