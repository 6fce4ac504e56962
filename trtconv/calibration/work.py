"""The work of a network, counted: what it would cost where nothing can be measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from trtconv.calibration.observing import Observer, State, observe
from trtconv.graph.data import DataType, Graph, Layer

RATES = {DataType.FLOAT: 495e12, DataType.HALF: 989e12, DataType.BF16: 989e12, DataType.FP8: 1979e12}
"""Operations a second of dense products on an H100 SXM by its data sheet; float32 as TensorFloat-32, the default."""
RATE = 67e12
"""Operations a second of everything else there."""
BANDWIDTH = 3.35e12
"""Bytes a second there."""

_FREE = ("CONSTANT", "IDENTITY", "SHAPE", "SQUEEZE", "UNSQUEEZE")
_FUSED = ("ACTIVATION", "CAST", "ELEMENTWISE", "PARAMETRIC_RELU", "SCALE", "SELECT", "UNARY")
_BYTES = {"HALF": 2.0, "BF16": 2.0, "INT64": 8.0, "BOOL": 1.0, "UINT8": 1.0, "INT8": 1.0, "FP8": 1.0, "INT4": 0.5}


def work(graph: Graph, sample: Sequence[Tensor], state: State | None = None) -> Mapping[str, float]:
    """For each layer by name the seconds that its work on a sample takes at least, on a GPU of the rates above.

    That is the larger of the time for its operations and the time for its bytes: what it reads and writes, weights
    included. Operations are two for each product of a sum, and one for each number of any other result. Casts, and what
    computes element by element, count as done in the kernel before them: only further operands are read.
    """
    counter = _Counter(graph)
    observe(graph, [sample], [counter], state)
    return counter.seconds


class _Counter(Observer):
    def __init__(self, graph: Graph) -> None:
        self.seconds: dict[str, float] = {}
        self._types = graph.tensors

    def see_layer(self, layer: Layer, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> None:
        if layer.type in _FREE or not outputs:
            return
        read = [self._bytes(name, x) for name, x in zip(layer.inputs, inputs, strict=True) if x is not None]
        dtype = self._types[layer.outputs[0]].dtype
        read += [x.numel() * _size(dtype) for x in layer.attributes.values() if isinstance(x, Tensor)]
        if layer.type in _FUSED:
            moved = sum(read) - max(read, default=0.0)
        else:
            moved = sum(read) + sum(self._bytes(name, x) for name, x in zip(layer.outputs, outputs, strict=True))
        products = products_of(layer, inputs, outputs)
        rate = RATES.get(dtype, RATE) if products else RATE
        operations = 2 * products or sum(x.numel() for x in outputs)
        seconds = max(operations / rate, moved / BANDWIDTH)
        self.seconds[layer.name] = self.seconds.get(layer.name, 0.0) + seconds

    def _bytes(self, name: str | None, x: Tensor) -> float:
        return x.numel() * _size(self._types[str(name)].dtype)


def _size(dtype: DataType) -> float:
    return _BYTES.get(dtype.name, 4.0)


def products_of(layer: Layer, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> float:
    """How many products a layer computes; 0 for layers that aren't sums of products."""
    given = [x for x in inputs if x is not None]
    if layer.type == "ATTENTION_INPUT":
        query, key = given[:2]
        return 2.0 * query.numel() * key.shape[-2 if key.dim() == 4 else 0]
    return terms_of(layer, given, outputs) * outputs[0].numel() if layer.type in _SUMS else 0.0


def terms_of(layer: Layer, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> float:
    """How many products are added up for a number of the result of a layer that is a sum of products."""
    return max(_SUMS[layer.type](layer, inputs), 1.0)


def _of_matrices(layer: Layer, inputs: Sequence[Tensor]) -> float:
    return float(inputs[0].shape[-2 if layer.attributes["op0"] == "TRANSPOSE" else -1])


def _of_einsum(layer: Layer, inputs: Sequence[Tensor]) -> float:
    terms, _, kept = layer.attributes["equation"].replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for term, x in zip(terms.split(","), inputs, strict=True):
        sizes |= zip(term, x.shape, strict=True)
    return float(math.prod(size for label, size in sizes.items() if label not in kept))


def _kernel(layer: Layer, inputs: Sequence[Tensor]) -> Tensor:
    weights: Tensor | None = layer.attributes.get("kernel")
    return inputs[1] if weights is None else weights


def _of_convolution(layer: Layer, inputs: Sequence[Tensor]) -> float:
    kernel = _kernel(layer, inputs)
    return kernel.numel() / max(kernel.shape[0], 1)


def _of_deconvolution(layer: Layer, inputs: Sequence[Tensor]) -> float:
    """[C, K / groups, ...]: each number gets C / groups kernels, of which the strides leave a part."""
    kernel, groups = _kernel(layer, inputs), layer.attributes["num_groups"]
    return float(kernel.numel() / max(kernel.shape[1], 1) / groups / math.prod(layer.attributes["stride_nd"]))


_SUMS: Mapping[str, Callable[[Layer, Sequence[Tensor]], float]] = {
    "MATRIX_MULTIPLY": _of_matrices,
    "EINSUM": _of_einsum,
    "CONVOLUTION": _of_convolution,
    "DECONVOLUTION": _of_deconvolution,
}
