"""Building small networks for tests."""

from __future__ import annotations

import functools

import numpy
import torch

from trtconv import tensorrt as trt

DTYPES = {
    torch.float32: "FLOAT",
    torch.float16: "HALF",
    torch.bfloat16: "BF16",
    torch.int8: "INT8",
    torch.int32: "INT32",
    torch.int64: "INT64",
    torch.bool: "BOOL",
    torch.uint8: "UINT8",
    torch.float8_e4m3fn: "FP8",
}


def trt_type(dtype):
    return getattr(trt.DataType, DTYPES[dtype])


@functools.cache
def builder():
    logger = trt.Logger(trt.Logger.ERROR)
    return trt.Builder(logger)


class Net:
    """A network under construction; keeps alive the arrays that TensorRT refers to."""

    def __init__(self, dtype=torch.float32):
        self.network = builder().create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self.dtype = dtype
        self._alive = []

    @property
    def type(self):
        """The case's dtype as TensorRT has it."""
        return trt_type(self.dtype)

    def __getattr__(self, name):
        return getattr(self.network, name)

    def weights(self, values, dtype=None):
        """trt.Weights of a tensor or numbers, in the case's dtype unless integers or told otherwise."""
        values = torch.as_tensor(values)
        if dtype is not None or values.is_floating_point():
            values = values.to(dtype or self.dtype)
        values = values.contiguous()
        self._alive.append(values)
        return trt.Weights(trt_type(values.dtype), values.data_ptr(), values.numel())

    def four_bit(self, values, name):
        """A constant of INT4 or FP4 from its 4-bit patterns."""
        patterns = torch.as_tensor(values).reshape(-1).to(torch.uint8) & 15
        packed = (patterns[0::2] | patterns[1::2] << 4).contiguous()
        self._alive.append(packed)
        weights = trt.Weights(getattr(trt.DataType, name), packed.data_ptr(), patterns.numel())
        return self.network.add_constant(tuple(torch.as_tensor(values).shape), weights).get_output(0)

    def constant(self, values, dtype=None):
        """A constant's output."""
        shape = tuple(torch.as_tensor(values).shape)
        return self.network.add_constant(shape, self.weights(values, dtype)).get_output(0)

    def empty(self):
        """Weights that are not there, of the case's dtype."""
        return trt.Weights(trt_type(self.dtype))

    def input(self, name, value, dynamic=False):
        shape = [-1 if dynamic and i == 0 else size for i, size in enumerate(value.shape)]
        return self.network.add_input(name, trt_type(value.dtype), tuple(shape))

    def mark(self, tensor, name):
        if tensor.is_network_output:
            tensor = self.network.add_identity(tensor).get_output(0)
        tensor.name = name
        self.network.mark_output(tensor)


def numpy_of(tensor):
    return numpy.ascontiguousarray(tensor.numpy())
