"""A TensorRT engine: its serialized form, and the engine loaded on a GPU."""

from __future__ import annotations

import atexit
import functools
import itertools
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from trtconv import tensorrt as trt
from trtconv.calling.signature import TensorSpec
from trtconv.dtypes import to_torch
from trtconv.errors import EngineError
from trtconv.runtime import cuda
from trtconv.tensorrt.exclusion import alone
from trtconv.tensorrt.logger import collect_messages, logger

Shapes = tuple[tuple[int, ...], ...]
"""Of each input, in order."""


class Engine:
    """A serialized TensorRT engine, as C++ and trtexec take it.

    It is tied to the release of TensorRT that built it.
    """

    def __init__(self, content: torch.Tensor) -> None:
        self._content = content

    def serialize(self) -> bytes:
        """Its bytes."""
        return bytes(self._content.cpu().numpy())

    def save(self, path: str | Path) -> None:
        """Write it to a file; an existing file is replaced only when the new one is complete."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        try:
            partial.write_bytes(self.serialize())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def __len__(self) -> int:
        """Its size in bytes."""
        return self._content.numel()

    def __repr__(self) -> str:
        return f"Engine({len(self)} bytes)"


class LoadedEngine:
    """An engine loaded on one GPU.

    Args:
        content: The serialized engine.
        device: The CUDA device to run on.
        kernels: What `kernels` gave earlier for the same engine, TensorRT and GPU; what doesn't fit is left aside.
        finish: What is done to the ``trt.ICudaEngine`` before it is used.

    Attributes:
        inputs, outputs: What it takes and returns, in order.
        kernels_fit: Whether TensorRT took the kernels that were given.

    Raises:
        EngineError: TensorRT doesn't load the engine here; with its own messages.
    """

    def __init__(
        self,
        content: bytes | memoryview,
        device: torch.device,
        kernels: bytes | None = None,
        finish: Callable[[Any], None] = lambda _: None,
    ) -> None:
        self.device = device
        self.kernels_fit = False
        with alone(), cuda.on_device(device), collect_messages() as messages:
            cuda.current_stream(device)  # TensorRT needs torch's CUDA context to be there
            self._runtime = trt.Runtime(logger())
            self._engine = self._runtime.deserialize_cuda_engine(content)
            self._config: Any = None
            self._cache: Any = None
            first = None
            if self._engine is not None:
                finish(self._engine)
                if trt.is_rtx():
                    self._configure(kernels)
                first = self._create_context()
            if first is None:
                raise EngineError(
                    f"{trt.release()} doesn't load this engine on {torch.cuda.get_device_name(device)}. "
                    f"{messages.words()}\nAn engine runs only under the release of TensorRT that built it and on the "
                    "GPUs that it was built for."
                )
        self._spare = [first]
        held = (self._spare, self._engine, self._config, self._cache, self._runtime)
        self._let_go = weakref.finalize(self, cuda.let_go, device, *held)
        close_at_exit(self)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self.inputs = [self._spec(name) for name in names if self._is_input(name)]
        self.outputs = [self._spec(name) for name in names if not self._is_input(name)]
        self._profiles = self._read_profiles()
        # What an engine with several profiles says of its outputs holds for the first.
        self.is_static = len(self._profiles) == 1 and all(spec.is_static for spec in (*self.inputs, *self.outputs))

    def close(self) -> None:
        """Let go of what it holds; it can't be used any more."""
        self._let_go()
        self._spare = []
        self._engine = self._cache = self._config = self._runtime = None

    def _configure(self, kernels: bytes | None) -> None:
        """TensorRT-RTX compiles its kernels where they run: those for the shapes at hand, kept in a cache."""
        self._config = self._engine.create_runtime_config()
        self._config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        self._config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        self._cache = self._config.create_runtime_cache()
        self.kernels_fit = bool(kernels) and bool(self._cache.deserialize(kernels))
        self._config.set_runtime_cache(self._cache)

    def _create_context(self) -> Any:
        how = trt.ExecutionContextAllocationStrategy.USER_MANAGED if self._config is None else self._config
        context = self._engine.create_execution_context(how)
        if context is not None:
            context.nvtx_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY  # engines are built with all details
        return context

    def new_context(self, profile: int, stream: int) -> Any:
        """An execution context of a profile, without memory for activations: the caller gives it.

        Raises:
            EngineError: TensorRT makes none, for want of memory as a rule.
        """
        with alone(), collect_messages() as messages:
            context = self._spare.pop() if self._spare else self._create_context()
            if context is None or (profile and not context.set_optimization_profile_async(profile, stream)):
                raise EngineError(
                    f"TensorRT makes no execution context of optimization profile {profile}. {messages.words()}"
                )
            return context

    def kernels(self) -> bytes | None:
        """The kernels that TensorRT-RTX compiled for this GPU so far; None where TensorRT keeps none."""
        return None if self._cache is None else bytes(self._cache.serialize())

    def profile_of(self, shapes: Shapes) -> int:
        """The first optimization profile that has these shapes.

        Raises:
            EngineError: none has.
        """
        if len(self._profiles) == 1:
            return 0
        for number, limits in enumerate(self._profiles):
            if all(_fits(shape, *pair) for shape, pair in zip(shapes, limits, strict=True)):
                return number
        came = ", ".join(f"{spec.name} {list(shape)}" for spec, shape in zip(self.inputs, shapes, strict=True))
        raise EngineError(f"none of the engine's {len(self._profiles)} optimization profiles takes {came}")

    def weights(self) -> int:
        """How many bytes of the GPU's memory its weights take; 0 where TensorRT doesn't tell."""
        stat = getattr(trt.load(), "EngineStat", None)
        return 0 if stat is None else max(0, int(self._engine.get_engine_stat(stat.TOTAL_WEIGHTS_SIZE)))

    def layer_information(self) -> str:
        """What TensorRT says of its layers, as JSON; "" where it says nothing."""
        with alone():
            inspector = self._engine.create_engine_inspector()
            return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON) or "")

    def _is_input(self, name: str) -> bool:
        return bool(self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT)

    def _spec(self, name: str) -> TensorSpec:
        # Which range a dynamic size of an engine file has is the engine's business: "?" shows that there is one.
        built = self._engine.get_tensor_shape(name)
        shape: tuple[int | str, ...] = tuple("?" if size == -1 else size for size in built)
        return TensorSpec(name, to_torch(self._engine.get_tensor_dtype(name)), shape)

    def _read_profiles(self) -> list[list[tuple[Sequence[int], Sequence[int]]]]:
        """For each optimization profile the least and the largest shape of each input."""
        return [
            [self._engine.get_tensor_profile_shape(spec.name, number)[::2] for spec in self.inputs]
            for number in range(self._engine.num_optimization_profiles)
        ]


class Closeable(Protocol):
    """What holds objects of TensorRT's."""

    def close(self) -> None:
        """Let go of them; it can't be used any more."""
        ...


def close_at_exit(holder: Closeable) -> None:
    """Close something before Python takes itself apart, which TensorRT doesn't survive: what was made last, first."""
    _open()[next(_numbers)] = holder


_numbers = itertools.count()


@functools.cache
def _open() -> weakref.WeakValueDictionary[int, Closeable]:
    holders: weakref.WeakValueDictionary[int, Closeable] = weakref.WeakValueDictionary()

    def close() -> None:
        for _, holder in sorted(holders.items(), reverse=True):
            holder.close()

    atexit.register(close)
    return holders


def _fits(shape: Sequence[int], least: Sequence[int], largest: Sequence[int]) -> bool:
    return all(low <= size <= high for low, size, high in zip(least, shape, largest, strict=True))
