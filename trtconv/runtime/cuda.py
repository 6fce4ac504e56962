"""What calls need of CUDA, in one place, so that tests can put a stand-in there."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trtconv.errors import EngineError

DEFAULT_STREAM = 0
"""The handle of the default stream, on which TensorRT would synchronize the whole device."""
_THREAD_LOCAL, _RELAXED = 1, 2  # members of cudaStreamCaptureMode


def current_stream(device: torch.device) -> int:
    """The handle of torch's current stream on a device."""
    return int(torch._C._cuda_getCurrentRawStream(device.index))


def name_of(device: torch.device) -> str:
    """The name of a GPU."""
    return str(torch.cuda.get_device_name(device))


def current_device() -> int:
    """The number of the current device."""
    return int(torch._C._cuda_getDevice())


def is_capturing() -> bool:
    """Whether the current stream of the current device is being captured into a graph."""
    return bool(torch._C._cuda_isCurrentStreamCapturing())


def new_stream(device: torch.device) -> Any:
    """A stream beside the default one."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def on_device(device: torch.device) -> Any:
    """A context in which a device is the current one."""
    return torch.cuda.device(device)


def synchronize(device: torch.device) -> None:
    """Wait until all work on a device is done; not where that can't be asked for: in a capture, and at the very end."""
    if not sys.is_finalizing() and _is_used() and not is_capturing():
        torch.cuda.synchronize(device)


def _is_used() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch leaves it untyped


@contextmanager
def beside_default(stream: Any, device: torch.device) -> Iterator[int]:
    """The handle of a stream whose work is done after what the default stream has, and before what it gets later."""
    default = torch.cuda.default_stream(device)
    stream.wait_stream(default)
    try:
        yield int(stream.cuda_stream)
    finally:
        default.wait_stream(stream)


class Graph:
    """Work on a GPU that was recorded, to be launched as one on any stream.

    It isn't a `torch.cuda.CUDAGraph` since that one registers torch's generator: while it records, a random number
    on any other thread raises.

    Args:
        record: Queues the work on a stream of this handle. Nothing runs meanwhile.
        stream: The stream to record on, not the default one.

    Raises:
        EngineError: the work can't be recorded.
    """

    def __init__(self, record: Callable[[int], None], stream: Any) -> None:
        self._executable = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        handle = int(stream.cuda_stream)
        _check("cudaStreamBeginCapture", ctypes.c_void_p(handle), _THREAD_LOCAL)
        try:
            record(handle)
        except BaseException:
            _runtime().cudaStreamEndCapture(ctypes.c_void_p(handle), ctypes.byref(graph))
            _runtime().cudaGetLastError()
            raise
        _check("cudaStreamEndCapture", ctypes.c_void_p(handle), ctypes.byref(graph))
        try:
            _check("cudaGraphInstantiate", ctypes.byref(self._executable), graph, ctypes.c_ulonglong(0))
        finally:
            _check("cudaGraphDestroy", graph)
        self._launch = _runtime().cudaGraphLaunch
        self._handle = self._executable.value

    def launch(self, stream: int) -> None:
        """Queue the work on a stream, whose device has to be the current one."""
        if status := self._launch(self._handle, stream):
            _raise_for("cudaGraphLaunch", status)

    def __del__(self) -> None:
        if self._executable and not sys.is_finalizing():
            _runtime().cudaGraphExecDestroy(self._executable)


@contextmanager
def unrestricted() -> Iterator[None]:
    """A context in which this thread may allocate and load kernels although a stream is being captured."""
    mode = ctypes.c_int(_RELAXED)
    _check("cudaThreadExchangeStreamCaptureMode", ctypes.byref(mode))
    try:
        yield
    finally:
        _check("cudaThreadExchangeStreamCaptureMode", ctypes.byref(mode))


@functools.cache
def _runtime() -> Any:
    """CUDA's runtime library, which torch has loaded."""
    major = str(torch.version.cuda).partition(".")[0]
    library = ctypes.CDLL(f"cudart64_{major}.dll" if sys.platform == "win32" else f"libcudart.so.{major}")
    library.cudaGraphLaunch.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    library.cudaGetErrorString.restype = ctypes.c_char_p
    return library


def _check(name: str, *args: Any) -> None:
    _raise_for(name, getattr(_runtime(), name)(*args))


def _raise_for(name: str, status: int) -> None:
    if status:
        _runtime().cudaGetLastError()  # or the next call of torch's would raise it
        raise EngineError(f"{name}: {_runtime().cudaGetErrorString(status).decode()}")
