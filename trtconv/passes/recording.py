"""Running torch's operators on the tensors of a trace, to put calls in the place of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch.utils._python_dispatch import TorchDispatchMode

from trtconv.capture.trace import Call, Origin, is_activation, tensors_in


@contextmanager
def recorded(calls: list[Call], origin: Origin, *activations: torch.Tensor) -> Iterator[None]:
    """A context in which torch's operators run on activations, of which some are given, and are added to `calls`."""
    mode: Any = next(filter(is_activation, activations)).fake_mode  # type: ignore[attr-defined]  # it is a FakeTensor
    with mode, mode.silenced, enable_python_dispatcher(), torch.no_grad(), _Recorder(calls, origin):
        yield


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    def __init__(self, calls: list[Call], origin: Origin) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self._calls, self._origin = calls, origin

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if tensors_in(output):
            self._calls.append(Call(func, args, kwargs or {}, output, self._origin))
        return output
