"""What calls need of CUDA, in one place, so that tests can put a stand-in there."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trtconv.runtime.cuda_graph import Graph, copy, create_stream, destroy_stream, is_recording, unrestricted, wait_for
from trtconv.tensorrt.exclusion import free

__all__ = [
    "DEFAULT_STREAM",
    "Graph",
    "beside_default",
    "capability",
    "copy",
    "current_device",
    "current_stream",
    "is_capturing",
    "let_go",
    "name_of",
    "new_stream",
    "on_device",
    "unrestricted",
    "wait_for",
]

DEFAULT_STREAM = 0
"""The handle of the default stream, on which TensorRT would synchronize the whole device."""


def current_stream(device: torch.device) -> int:
    """The handle of torch's current stream on a device."""
    return int(torch._C._cuda_getCurrentRawStream(device.index))


def name_of(device: torch.device) -> str:
    """The name of a GPU."""
    return str(torch.cuda.get_device_name(device))


def capability(device: torch.device) -> str:
    """A GPU's compute capability, as "9.0"."""
    return "{}.{}".format(*torch.cuda.get_device_capability(device))


def current_device() -> int:
    """The number of the current device."""
    return int(torch._C._cuda_getDevice())


def is_capturing() -> bool:
    """Whether the current stream of the current device is being captured into a graph."""
    return bool(torch._C._cuda_isCurrentStreamCapturing())


def new_stream(device: torch.device) -> Any:
    """A stream that nothing else uses; torch's own come round again after 32."""
    with on_device(device):
        handle = create_stream()
    stream = torch.cuda.ExternalStream(handle, device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    weakref.finalize(stream, destroy_stream, handle).atexit = False
    return stream


def on_device(device: torch.device) -> Any:
    """A context in which a device is the current one."""
    return torch.cuda.device(device)


_waiting = threading.local()


def let_go(device: torch.device, *objects: Any) -> None:
    """Keep objects of TensorRT's until the work that uses them is done; called where nothing else holds them.

    While this thread captures a graph they wait for the next that goes: freeing them would break the capture.
    """
    kept: list[tuple[torch.device, Any]] = _waiting.__dict__.setdefault("kept", [])
    kept.append((device, objects))
    if sys.is_finalizing() or is_recording() or not _is_used() or is_capturing():
        return
    going, _waiting.kept = kept, []
    for each in {device for device, _ in going}:
        torch.cuda.synchronize(each)
    free(going)


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
