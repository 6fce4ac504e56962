"""A TensorRT engine: its serialized form, and running it on torch's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.dtypes import to_torch
from trtconv.errors import EngineError
from trtconv.logger import collect_messages, logger
from trtconv.signature import TensorSpec


class Engine:
    """A serialized TensorRT engine (a plan file), as C++ and trtexec take it.

    It is tied to the release of TensorRT that built it.
    """

    def __init__(self, plan: torch.Tensor) -> None:
        self._plan = plan

    def serialize(self) -> bytes:
        """The plan's bytes."""
        return bytes(self._plan.cpu().numpy())

    def save(self, path: str | Path) -> None:
        """Write the plan to a file; an existing file is replaced only when the new one is complete."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(self.serialize())
        partial.replace(path)

    def __len__(self) -> int:
        """The plan's size in bytes."""
        return self._plan.numel()

    def __repr__(self) -> str:
        return f"Engine({len(self)} bytes)"


class EngineRunner:
    """An engine loaded on one GPU.

    Args:
        plan: The serialized engine.
        device: The CUDA device to run on.

    Raises:
        EngineError: TensorRT doesn't load the engine here; with its own messages.
    """

    def __init__(self, plan: bytes, device: torch.device) -> None:
        self.device = device
        with torch.cuda.device(device), collect_messages() as messages:
            torch.cuda.current_stream(device)  # TensorRT needs torch's CUDA context to be there
            self._runtime = trt.Runtime(logger())
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            first: Any = None if self._engine is None else _create_context(self._engine)
            if first is None:
                said = "\n".join(f"  {text}" for text in messages.errors()) or "  (nothing)"
                raise EngineError(
                    f"{trt.load().__name__} {trt.load().__version__} doesn't load this engine on "
                    f"{torch.cuda.get_device_name(device)}. It says:\n{said}\nAn engine runs only under the release "
                    "of TensorRT that built it and on the GPUs that it was built for."
                )
        self._contexts: dict[int, Any] = {0: first}
        self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._spare = torch.empty(256, dtype=torch.uint8, device=device)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self.inputs = [self._spec(name) for name in names if self._is_input(name)]
        self.outputs = [self._spec(name) for name in names if not self._is_input(name)]
        self._profiles = self._read_profiles()

    def _is_input(self, name: str) -> bool:
        return bool(self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT)

    def _spec(self, name: str) -> TensorSpec:
        # Which range a dynamic size of an engine file has is the engine's business: "?" shows that there is one.
        built = self._engine.get_tensor_shape(name)
        shape: tuple[int | str, ...] = tuple("?" if size == -1 else size for size in built)
        return TensorSpec(name, to_torch(self._engine.get_tensor_dtype(name)), shape)

    def _read_profiles(self) -> list[list[tuple[Sequence[int], Sequence[int]]]]:
        """For each optimization profile the least and the largest shape of each input; [] if there is only one."""
        count = self._engine.num_optimization_profiles
        return [
            [self._engine.get_tensor_profile_shape(spec.name, number)[::2] for spec in self.inputs]
            for number in range(count if count > 1 else 0)
        ]

    def _context_for(self, tensors: Sequence[torch.Tensor], stream: Any) -> Any:
        """The execution context of the first profile that has the shapes of these inputs; each has one of its own."""
        number = 0
        if self._profiles:
            number = next((i for i, limits in enumerate(self._profiles) if _fit(tensors, limits)), -1)
            if number < 0:
                shapes = ", ".join(f"{s.name} {list(t.shape)}" for s, t in zip(self.inputs, tensors, strict=True))
                raise EngineError(f"none of the engine's {len(self._profiles)} optimization profiles takes {shapes}")
        if number not in self._contexts:
            context = _create_context(self._engine)
            if context is None or not context.set_optimization_profile_async(number, stream.cuda_stream):
                raise EngineError(f"TensorRT refuses optimization profile {number}")
            self._contexts[number] = context
        return self._contexts[number]

    def run(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Run on CUDA tensors in the order of `inputs`; return new tensors in the order of `outputs`.

        The work is queued on torch's current stream, or on a stream beside it where that is the default
        stream, on which TensorRT would synchronize the whole device.
        """
        current = torch.cuda.current_stream(self.device)
        stream = self._stream if current == torch.cuda.default_stream(self.device) else current
        feeds = [tensor.contiguous() for tensor in tensors]
        context = self._context_for(feeds, stream)
        for spec, tensor in zip(self.inputs, feeds, strict=True):
            if not spec.is_static and not context.set_input_shape(spec.name, tuple(tensor.shape)):
                raise EngineError(f"TensorRT refuses shape {list(tensor.shape)} for input {spec.name!r}")
        # With several profiles an engine says of its outputs what holds for the first only (TensorRT-RTX 1.6.1).
        shapes: list[Any] = [
            spec.shape if spec.is_static and not self._profiles else tuple(context.get_tensor_shape(spec.name))
            for spec in self.outputs
        ]
        results = [
            torch.empty(shape, dtype=spec.dtype, device=self.device)
            for spec, shape in zip(self.outputs, shapes, strict=True)
        ]
        specs = [*self.inputs, *self.outputs]
        for spec, tensor in zip(specs, [*feeds, *results], strict=True):
            address = tensor.data_ptr() or self._spare.data_ptr()  # an empty tensor has none, TensorRT wants one
            if not context.set_tensor_address(spec.name, address):
                raise EngineError(f"TensorRT refuses the address of tensor {spec.name!r}")
        stream.wait_stream(current)
        with collect_messages() as messages:
            if not context.execute_async_v3(stream.cuda_stream):
                raise EngineError("the engine failed:\n" + "\n".join(f"  {text}" for text in messages.errors()))
        current.wait_stream(stream)
        for tensor in feeds:  # torch may reuse their memory only after the engine has read them
            tensor.record_stream(stream)
        return results


def _fit(tensors: Sequence[torch.Tensor], limits: Sequence[tuple[Sequence[int], Sequence[int]]]) -> bool:
    return all(
        low <= size <= high
        for tensor, (least, largest) in zip(tensors, limits, strict=True)
        for low, size, high in zip(least, tensor.shape, largest, strict=True)
    )


def _create_context(engine: Any) -> Any:
    """An execution context that runs kernels made for the shapes at hand from the first call on."""
    if not trt.is_rtx():
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    return engine.create_execution_context(config)
