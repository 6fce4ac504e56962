"""An interpreter of TensorRT networks on torch tensors.

    outputs = trtconv.reference.run(network, {"x": x})          # any INetworkDefinition
    interpreter = trtconv.reference.Interpreter(network)        # prepared once, run many times
    interpreter.run(feeds, observe=lambda name, value: ...)     # sees every tensor

It follows TensorRT's documentation of each layer, in strongly typed networks. It needs TensorRT only to
read a definition: a :class:`Graph` once read runs anywhere, on CPU and CUDA tensors.
"""

from __future__ import annotations

from trtconv.graph.data import DataType, Graph, Layer, TensorType
from trtconv.graph.reader import read
from trtconv.graph.serialize import from_state, to_state
from trtconv.reference.errors import LayerError
from trtconv.reference.interpreter import Interpreter, run
from trtconv.reference.layers.plugin import register_plugin
from trtconv.reference.layers.registry import supported_layers

__all__ = [
    "DataType",
    "Graph",
    "Interpreter",
    "Layer",
    "LayerError",
    "TensorType",
    "from_state",
    "read",
    "register_plugin",
    "run",
    "supported_layers",
    "to_state",
]
