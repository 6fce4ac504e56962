"""Compute fp32 products in fp32 on TensorRT-RTX, which has tensor core kernels only.

TensorRT-RTX 1.6.1 ignores that BuilderFlag.TF32 is cleared: fp32 convolutions and products of matrices
round their factors to 10 bits (relative error 3e-4 to 8e-4, H200). With NVIDIA_TF32_OVERRIDE=0 it splits
the factors, and sums up with an error that grows with the number of terms (4.7e-6 for 576). What it
computes in plain fp32: convolutions in groups of at most four channels, products and sums element by
element, and a single row times a matrix (1e-7 each). So this pass rewrites

- a convolution as one in groups of at most four channels, each of which gives its share of every
  output map, and the sum of the shares;
- a matrix product as the products of all pairs of elements, and their sum.

It costs time and, for convolutions, memory for the shares; it is for `tf32=False`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtconv import tensorrt as trt
from trtconv.network import Network
from trtconv.reference.weights import to_tensor

LARGEST_GROUP = 4


def use_full_precision(network: Network) -> None:
    """Rewrite the fp32 products of a network in place."""
    definition = network.definition
    layers = [definition.get_layer(index) for index in range(definition.num_layers)]
    readers = _readers(layers)
    for layer in layers:
        if layer.num_outputs == 0 or layer.get_output(0).dtype != trt.float32:
            continue
        output = layer.get_output(0)
        with network.attributed_to(layer):
            if layer.type == trt.LayerType.MATRIX_MULTIPLY:
                result = _multiply_elements(network, layer)
            elif layer.type in (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION):
                result = _split_convolution(network, layer)
            else:
                continue
        if result is not None:
            _replace(network, output, result, readers.get(output.name, []))


def _split_convolution(network: Network, layer: Any) -> Any:
    """Split the groups of a convolution; return the tensor that takes its output's place, or None."""
    transposed = layer.type == trt.LayerType.DECONVOLUTION
    spatial = len(tuple(layer.get_output(0).shape)) - 2
    channels = tuple(layer.get_input(0).shape)[1]
    layer.__class__ = trt.IDeconvolutionLayer if transposed else trt.IConvolutionLayer
    maps, groups = layer.num_output_maps, layer.num_groups
    parts = _parts(channels // groups, groups)
    kernel, bias = to_tensor(layer.kernel), to_tensor(layer.bias)
    if parts == 1 or not kernel.numel():  # small groups already, or a kernel that is computed in the network
        return None
    if not transposed:  # [groups * maps, parts * share, ...] -> [groups * parts * maps, share, ...]
        kernel = kernel.reshape(groups, maps // groups, parts, -1).transpose(1, 2)
    layer.num_groups = groups * parts
    layer.num_output_maps = maps * parts
    layer.kernel = network.weights(kernel)
    if bias.numel():  # one of the shares brings it along
        first = bias.new_zeros(groups, parts, maps // groups)
        first[:, 0] = bias.reshape(groups, -1)
        layer.bias = network.weights(first)
    axes = [_Axis(2 + axis) for axis in range(spatial)]
    shares = _reshape(network, layer.get_output(0), [_Axis(0), groups, parts, maps // groups, *axes])
    summed = network.add_reduce(shares, trt.ReduceOperation.SUM, 1 << 2, False).get_output(0)
    return _reshape(network, summed, [_Axis(0), maps, *(_Axis(3 + axis) for axis in range(spatial))])


def _parts(channels: int, groups: int) -> int:
    """Into how many equal parts of at most four channels to split each group, so that there are several groups."""
    shares = [share for share in range(LARGEST_GROUP, 0, -1) if channels % share == 0]
    return next((channels // share for share in shares if groups * (channels // share) > 1), 1)


def _multiply_elements(network: Network, layer: Any) -> Any:
    """[..., M, K, 1] times [..., 1, K, N], summed over K."""
    layer.__class__ = trt.IMatrixMultiplyLayer
    operations = (layer.op0, layer.op1)
    if trt.MatrixOperation.VECTOR in operations or tuple(layer.get_output(0).shape)[-2] == 1:
        return None  # kernels for vectors compute in fp32
    factors = []
    for index, operation in enumerate(operations):
        factor = layer.get_input(index)
        rank = len(tuple(factor.shape))
        if operation == trt.MatrixOperation.TRANSPOSE:
            shuffle = network.add_shuffle(factor)
            shuffle.first_transpose = (*range(rank - 2), rank - 1, rank - 2)
            factor = shuffle.get_output(0)
        axes: list[int | _Axis] = [_Axis(axis) for axis in range(rank)]
        axes.insert(rank if index == 0 else rank - 2, 1)
        factors.append(_reshape(network, factor, axes))
    products = network.add_elementwise(*factors, trt.ElementWiseOperation.PROD).get_output(0)
    return network.add_reduce(products, trt.ReduceOperation.SUM, 1 << (rank - 1), False).get_output(0)


class _Axis(int):
    """In a shape: the size of the reshaped tensor along this axis."""


def _reshape(network: Network, tensor: Any, dims: Sequence[int]) -> Any:
    """Reshape to sizes and axes of the tensor itself, any of which may be dynamic."""
    have = tuple(tensor.shape)
    layer = network.add_shuffle(tensor)
    layer.zero_is_placeholder = False
    sizes = [have[dim] if isinstance(dim, _Axis) else dim for dim in dims]
    if sizes.count(-1) <= (0 not in sizes):  # of an empty tensor no size follows from the others
        layer.reshape_dims = tuple(sizes)
        return layer.get_output(0)
    shape = network.known(network.add_shape(tensor).get_output(0), (len(have),))
    parts = [
        network.slice(shape, (dim,), (1,)) if isinstance(dim, _Axis) else network.size_tensor((dim,)) for dim in dims
    ]
    layer.set_input(1, network.concatenate(parts, 0))
    return layer.get_output(0)


def _readers(layers: Sequence[Any]) -> dict[str, list[tuple[Any, int]]]:
    """For each tensor, by name, the layers that read it and as which input."""
    readers: dict[str, list[tuple[Any, int]]] = {}
    for layer in layers:
        for index in range(layer.num_inputs):
            tensor = layer.get_input(index)
            if tensor is not None:
                readers.setdefault(tensor.name, []).append((layer, index))
    return readers


def _replace(network: Network, old: Any, new: Any, readers: Sequence[tuple[Any, int]]) -> None:
    """Have everything that reads a tensor read another, the network's outputs included."""
    for layer, index in readers:
        layer.set_input(index, new)
    if old.is_network_output:
        name = old.name
        network.definition.unmark_output(old)
        old.name = f"{name}.shares"
        new.name = name
        network.definition.mark_output(new)
