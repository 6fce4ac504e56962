"""The buffers that a converted module's calls read and write."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from trtconv.calling.signature import TensorSpec
from trtconv.dtypes import engine_dtype, name_of
from trtconv.errors import InputError
from trtconv.runtime import cuda


class State:
    """Buffers of a module, under the names that they had in the converted one.

    Args:
        module: It gets buffers, and submodules to hold those whose names have dots.
        specs: The buffers.
        contents: What they hold, by their names; None for what they hold already.

    Attributes:
        lock: Held by a call: calls come one after the other, whatever threads they are made on.
        version: Grows when others are put into the places of the buffers.
    """

    def __init__(
        self, module: torch.nn.Module, specs: Sequence[TensorSpec], contents: Mapping[str, torch.Tensor] | None
    ) -> None:
        self.lock = threading.RLock()
        self.version = 0
        self._specs = specs
        self._places = [_place(module, spec.name) for spec in specs]
        self._known: list[torch.Tensor] = []
        self._device: torch.device | None = None
        self._stream: int | None = None
        if contents is not None:
            self.fill(contents)

    def remove_from(self, module: torch.nn.Module, but: Sequence[TensorSpec]) -> None:
        """Take buffers of other names than these from the module."""
        kept = {spec.name for spec in but}
        for spec, (buffers, key) in zip(self._specs, self._places, strict=True):
            if spec.name not in kept:
                buffers.pop(key)
                _remove_empty(module, spec.name.split(".")[:-1])

    def tensors(self) -> list[torch.Tensor]:
        """The buffers as they are now."""
        return [buffers[key] for buffers, key in self._places]

    def contents(self) -> dict[str, torch.Tensor]:
        """The buffers by their names."""
        return {spec.name: tensor for spec, tensor in zip(self._specs, self.tensors(), strict=True)}

    def fill(self, contents: Mapping[str, torch.Tensor]) -> None:
        """Write into the buffers, or make them on the CPU where there are none that fit."""
        with self._between_calls():
            for spec, (buffers, key) in zip(self._specs, self._places, strict=True):
                value, now = contents[spec.name], buffers.get(key)
                if now is None or _misfit(spec, now):
                    buffers[key] = torch.empty(value.shape, dtype=value.dtype, device="cpu").copy_(value)
                else:
                    now.copy_(value)

    def apply(self, function: Any) -> None:
        """Move the buffers as `torch.nn.Module._apply` would; dtypes stay."""
        with self._between_calls():
            for spec, (buffers, key) in zip(self._specs, self._places, strict=True):
                moved = function(buffers[key])
                fits = moved.dtype is spec.dtype
                buffers[key] = (moved if fits else buffers[key].to(moved.device)).contiguous()

    @property
    def is_held(self) -> bool:
        """Whether engines have all of it in the form that the buffers have."""
        return all(spec.dtype is engine_dtype(spec.dtype) for spec in self._specs)

    def take(self, device: torch.device, stream: int | None) -> list[torch.Tensor]:
        """The buffers, for a call on this device whose work is queued on the stream of this handle, if on one.

        Raises:
            InputError: something was put into the place of one that doesn't fit.
        """
        tensors = self.tensors()
        if device != self._device or any(map(_differ, tensors, self._known)):
            self._check(tensors, device)
            self._known, self._device, self._stream = tensors, device, None
            self.version += 1
        if stream is not None:
            self._follow(stream)
        return tensors

    @contextmanager
    def _between_calls(self) -> Iterator[None]:
        """A context in which no call runs, and torch's work on the current stream comes after the last one's."""
        with self.lock, torch.inference_mode(False), torch.no_grad():
            if self._stream is not None and self._device is not None:
                self._follow(cuda.current_stream(self._device))
            yield

    def _follow(self, stream: int) -> None:
        """Let a stream wait for what the last call does on another."""
        if stream == self._stream or cuda.is_capturing():
            return
        if self._stream is not None and self._device is not None:
            with cuda.on_device(self._device):
                cuda.wait_for(stream, self._stream)
        self._stream = stream

    def _check(self, tensors: Sequence[Any], device: torch.device) -> None:
        for spec, tensor in zip(self._specs, tensors, strict=True):
            if why := _misfit(spec, tensor):
                raise InputError(f"the buffer {spec.name!r} {why}; calls read and write {spec} there")
            if tensor.device != device:
                raise InputError(
                    f"the buffer {spec.name!r} is on {tensor.device}, the inputs on {device}: move the module "
                    f"(.to({str(device)!r})), or the inputs"
                )


def _differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is not other


def _misfit(spec: TensorSpec, tensor: Any) -> str:
    """Why a tensor can't be a buffer that calls write to; empty if it can."""
    if not spec.admits(tensor, {}):
        return f"is {name_of(tensor.dtype)}{list(tensor.shape)}" if isinstance(tensor, torch.Tensor) else "is no tensor"
    if not tensor.is_contiguous() or tensor.is_neg() or tensor.is_conj():
        return "isn't contiguous"
    return ""


def _remove_empty(module: torch.nn.Module, path: Sequence[str]) -> None:
    if path:
        child = module._modules[path[0]]
        assert child is not None
        _remove_empty(child, path[1:])
        if not child._buffers and not child._modules:
            del module._modules[path[0]]


def _place(module: torch.nn.Module, name: str) -> tuple[dict[str, Any], str]:
    """The dict of buffers that has the one of this name, and its key there.

    They are put there past `register_buffer`, which refuses names that the class has for something else: "memory".
    """
    *path, key = name.split(".")
    for part in path:
        module = module._modules.setdefault(part, torch.nn.Module())  # type: ignore[assignment]  # none is None
    return module._buffers, key
