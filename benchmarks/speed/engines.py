"""TensorRT used by hand: the ONNX route, and an engine whose tensors are bound once."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trtconv import tensorrt as trt
from trtconv.dtypes import to_torch
from trtconv.tensorrt.logger import logger

OPSET = 17


def engine_of_onnx(module: nn.Module, inputs: Sequence[Tensor]) -> bytes:
    """The engine that TensorRT's own parser makes of torch's ONNX export."""
    content = io.BytesIO()
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # ONNX has no operator for it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, tuple(inputs), content, dynamo=False, opset_version=OPSET)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    builder = trt.Builder(logger())
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger())
    if not parser.parse(content.getvalue()):
        raise RuntimeError("; ".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    if plan is None:
        raise RuntimeError("TensorRT builds no engine of this ONNX file")
    return bytes(plan)


class LoadedEngine:
    """An engine on the current GPU; its contexts share what TensorRT compiles for the first of them."""

    def __init__(self, plan: bytes) -> None:
        self._runtime = trt.Runtime(logger())
        self.engine = self._runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise RuntimeError("TensorRT doesn't load the engine")
        self._config: Any = None
        if trt.is_rtx():
            self._config = self.engine.create_runtime_config()
            self._cache = self._config.create_runtime_cache()
            self._config.set_runtime_cache(self._cache)

    def bind(self, inputs: Sequence[Tensor]) -> Bound:
        """A context of its own, reading these inputs."""
        arguments = () if self._config is None else (self._config,)
        return Bound(self, self.engine.create_execution_context(*arguments), inputs)


class Bound:
    """A context whose inputs and outputs are bound once."""

    def __init__(self, loaded: LoadedEngine, context: Any, inputs: Sequence[Tensor]) -> None:
        if not all(tensor.is_cuda for tensor in inputs):
            raise ValueError("an engine reads tensors on a GPU")
        self._loaded, self.context = loaded, context
        self.inputs, self.outputs = list(inputs), list[Tensor]()
        engine, left = loaded.engine, list(inputs)
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            dtype = to_torch(engine.get_tensor_dtype(name))
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                tensor = left.pop(0)
                if tensor.dtype != dtype:
                    raise ValueError(f"the engine takes {dtype} for {name}, not {tensor.dtype}")
            else:
                tensor = torch.empty(tuple(engine.get_tensor_shape(name)), dtype=dtype, device=inputs[0].device)
                self.outputs.append(tensor)
            if not context.set_tensor_address(name, tensor.data_ptr()):
                raise RuntimeError(f"TensorRT refuses the address of {name}")

    def enqueue(self, stream: Any) -> None:
        """Issue the engine on a stream."""
        if not self.context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError("the engine failed")

    def capture(self) -> Any:
        """The engine alone as a CUDA graph."""
        return capture(lambda: self.enqueue(torch.cuda.current_stream()))[0]


def capture(function: Callable[[], Any]) -> tuple[Any, Any]:
    """A CUDA graph of a function that was warmed up, and what it returned, which each replay writes anew."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        result = function()
    return graph, result


class Minimal(nn.Module):
    """The least that a call can be: inputs copied in, the graph replayed, the outputs cloned."""

    def __init__(self, bound: Bound, graph: Any) -> None:
        super().__init__()
        (self.input,), self.outputs, self.graph = bound.inputs, bound.outputs, graph

    def forward(self, x: Tensor) -> list[Tensor]:
        fixed = self.input
        if x.shape != fixed.shape or x.dtype != fixed.dtype or x.device != fixed.device:
            raise ValueError
        fixed.copy_(x)
        self.graph.replay()
        return [output.clone() for output in self.outputs]


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """What a function returns, and the seconds until the GPU was done with it."""
    begin = time.perf_counter()
    result = function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - begin
