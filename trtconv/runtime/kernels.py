"""The kernels that TensorRT-RTX compiles of an engine for the GPU at hand, which takes it seconds."""

from __future__ import annotations

import functools
import hashlib

import torch

from trtconv import tensorrt as trt
from trtconv.plan import Segment
from trtconv.runtime import cuda
from trtconv.runtime.cache import Store


class Kernels:
    """Where what TensorRT-RTX compiled of a segment's engine for a GPU is kept: with the segment, and in a store.

    Args:
        segment: It gets the kernels of the GPU that it last ran on.
        device: The GPU.
        store: A folder for all modules and processes; None keeps them with the segment only.
    """

    def __init__(self, segment: Segment, device: torch.device, store: Store | None) -> None:
        self._segment = segment
        self._store = store
        self._of = f"{trt.release()} on {cuda.name_of(device)}"

    @functools.cached_property
    def _key(self) -> str:
        engine = hashlib.sha256(self._segment.engine.cpu().numpy().data).hexdigest()
        return f"{self._of} {engine}"

    def load(self) -> bytes | None:
        """What is kept for this engine, TensorRT and GPU."""
        if self._segment.kernels is not None and self._segment.kernels_of == self._of:
            return bytes(self._segment.kernels.cpu().numpy())
        return None if self._store is None else self._store.load("kernels", self._key)

    def keep(self, content: bytes) -> None:
        """Keep what has been compiled by now."""
        if not content:
            return
        self._segment.kernels = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        self._segment.kernels_of = self._of
        if self._store is not None:
            self._store.keep("kernels", self._key, content)
