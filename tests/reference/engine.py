"""Engines of cases: built with the installed TensorRT, run where there is a GPU."""

from __future__ import annotations

import torch

from trtconv import tensorrt as trt

from .network import builder

SPARE = 256  # bytes behind the address of an empty tensor, which must not be null


def build(network, feeds=None):
    """The serialized engine as bytes, or None where TensorRT refuses; its logger then says why.

    Dynamic inputs are built for the shapes, and those that hold shapes for the values, of their ``feeds``.
    """
    config = builder().create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if feeds is not None:
        config.add_optimization_profile(_profile(network, feeds))
    plan = builder().build_serialized_network(network, config)
    return None if plan is None else bytes(plan)


def _profile(network, feeds):
    profile = builder().create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        feed = feeds[tensor.name]
        if tensor.is_shape_tensor:
            profile.set_shape_input(tensor.name, *[feed.reshape(-1).tolist()] * 3)
        if -1 in tuple(tensor.shape):
            profile.set_shape(tensor.name, *[tuple(feed.shape)] * 3)
    return profile


def output_allocator():
    """A new allocator for an output whose shape is known only after the run."""

    class Allocator(trt.IOutputAllocator):
        def __init__(self):
            trt.IOutputAllocator.__init__(self)
            self.buffer = torch.empty(SPARE, dtype=torch.uint8, device="cuda")
            self.shape = None

        def reallocate_output(self, name, memory, size, alignment):
            if size > self.buffer.numel():
                self.buffer = torch.empty(size, dtype=torch.uint8, device="cuda")
            return self.buffer.data_ptr()

        def reallocate_output_async(self, name, memory, size, alignment, stream):
            return self.reallocate_output(name, memory, size, alignment)

        def notify_shape(self, name, shape):
            self.shape = tuple(shape)

    return Allocator()


class Engine:
    """A plan loaded for one run."""

    def __init__(self, plan, logger):
        torch.cuda.current_stream().synchronize()  # TensorRT needs torch's CUDA context to be there
        self.runtime = trt.Runtime(logger)
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise RuntimeError("TensorRT does not load the engine")
        config = self.engine.create_runtime_config()
        strategies = trt.DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        self.context = self.engine.create_execution_context(config)
        if self.context is None:
            raise RuntimeError("TensorRT makes no execution context")

    def run(self, feeds, types):
        """Outputs by name, on the CPU; ``types`` gives the dtype of each."""
        engine, context = self.engine, self.context
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        buffers, allocators = {}, {}
        for name in names:
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                on_host = engine.get_tensor_location(name) == trt.TensorLocation.HOST
                buffers[name] = feeds[name].contiguous() if on_host else feeds[name].contiguous().cuda()
                context.set_input_shape(name, tuple(feeds[name].shape))
                self._bind(name, buffers[name], on_host)
        for name in names:
            if engine.get_tensor_mode(name) != trt.TensorIOMode.OUTPUT:
                continue
            aliased = engine.get_aliased_input_tensor(name)
            shape = tuple(context.get_tensor_shape(name))
            if aliased:
                buffers[name] = buffers[aliased]
                self._bind(name, buffers[name], False)
            elif -1 in shape:
                allocators[name] = output_allocator()
                context.set_output_allocator(name, allocators[name])
            else:
                on_host = engine.get_tensor_location(name) == trt.TensorLocation.HOST
                buffers[name] = torch.empty(shape, dtype=types[name], device="cpu" if on_host else "cuda")
                self._bind(name, buffers[name], on_host)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        if not context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError("the engine failed")
        stream.synchronize()
        for name, allocator in allocators.items():
            count = torch.Size(allocator.shape).numel() * types[name].itemsize
            buffers[name] = allocator.buffer[:count].view(types[name]).reshape(allocator.shape)
        return {name: buffers[name].cpu() for name in types}

    def _bind(self, name, tensor, on_host):
        address = tensor.data_ptr()
        if not address:
            self.spare = torch.empty(SPARE, dtype=torch.uint8, device="cpu" if on_host else "cuda")
            address = self.spare.data_ptr()
        if not self.context.set_tensor_address(name, address):
            raise RuntimeError(f"TensorRT refuses the address of {name}")
