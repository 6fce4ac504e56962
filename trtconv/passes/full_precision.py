"""Compute fp32 products in fp32 on TensorRT-RTX, which has tensor core kernels only.

TensorRT-RTX 1.6.1 ignores that BuilderFlag.TF32 is cleared: fp32 convolutions and products of matrices
round their factors to 10 bits (relative error 3e-4 to 8e-4, H200). With NVIDIA_TF32_OVERRIDE=0 it splits
the factors, and sums up with an error that grows with the number of terms (4.7e-6 for 576). What it
computes in plain fp32: convolutions in groups of at most four channels, products and sums element by
element, and a single row times a matrix (1e-7 each). So this pass rewrites

- a convolution as one in groups of at most four channels, each of which gives its share of every
  output map, and the sum of the shares;
- a convolution of large patches that touch each other, as vision transformers begin with, as a matrix product:
  engines make one of it that they round;
- a matrix product as the products of all pairs of elements, and their sum.

It costs time and, for convolutions, memory for the shares; it is for `tf32=False`. What it leaves as it is, and
says so in a warning, because engines made of it give wrong numbers or crash, or round all the same (seen on
TensorRT-RTX 1.6.1): convolutions of dynamic heights and widths, transposed ones of any dynamic size, and those in
three dimensions.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

from trtconv import tensorrt as trt
from trtconv.errors import PrecisionWarning
from trtconv.network import Network
from trtconv.reference.weights import to_tensor

LARGEST_GROUP = 4
LARGE_PATCH = 64
"""Windows of 4x4 and 2x2 are computed in fp32 as convolutions, those of 16x16 and more are rounded (RTX 1.6.1)."""
MOST_MAPS = 1 << 15
"""Of a convolution that is made of shares. With more than 65,536 a 3x3 convolution gives wrong numbers (RTX 1.6.1)."""


def use_full_precision(network: Network) -> None:
    """Rewrite the fp32 products of a network in place."""
    definition = network.definition
    layers = [definition.get_layer(index) for index in range(definition.num_layers)]
    readers = _readers(layers)
    kept: list[str] = []
    for layer in layers:
        if layer.num_outputs == 0 or layer.get_output(0).dtype != trt.float32:
            continue
        output = layer.get_output(0)
        with network.attributed_to(layer):
            if layer.type == trt.LayerType.MATRIX_MULTIPLY:
                result = _multiply_elements(network, layer)
            elif layer.type in (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION):
                result = None
                if _is_safe(layer):
                    result = _multiply_patches(network, layer) or _split_convolution(network, layer)
                else:
                    kept.append(layer.name)
            else:
                continue
        if result is not None:
            _replace(network, output, result, readers.get(output.name, []))
    if kept and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0":
        shown = ", ".join(kept[:5]) + (f" and {len(kept) - 5} more" if len(kept) > 5 else "")
        warnings.warn(
            f"tf32=False has no effect on convolutions in three dimensions or of dynamic sizes, here {shown}: "
            "TensorRT-RTX has no other kernels for them. Set NVIDIA_TF32_OVERRIDE=0 in the environment before the "
            "process starts; then it makes up for the rounding, at a cost.",
            PrecisionWarning,
            stacklevel=4,
        )


def _is_safe(layer: Any) -> bool:
    """Tell whether a convolution can be split: see the head of this file."""
    shape = tuple(layer.get_output(0).shape)
    fixed = shape if layer.type == trt.LayerType.DECONVOLUTION else shape[2:]
    return len(shape) == 4 and -1 not in fixed


def _split_convolution(network: Network, layer: Any) -> Any:
    """Split the groups of a convolution; return the tensor that takes its output's place, or None."""
    transposed = layer.type == trt.LayerType.DECONVOLUTION
    x = layer.get_input(0)
    spatial = len(tuple(layer.get_output(0).shape)) - 2
    channels = tuple(x.shape)[1]
    layer.__class__ = trt.IDeconvolutionLayer if transposed else trt.IConvolutionLayer
    maps, groups = layer.num_output_maps, layer.num_groups
    parts = _parts(channels // groups, groups)
    kernel, bias = to_tensor(layer.kernel), to_tensor(layer.bias)
    if parts == 1 or not kernel.numel():  # small groups already, or a kernel that is computed in the network
        return None
    per_group = maps // groups
    pieces = -(-maps * parts // MOST_MAPS)
    # The maps of each group on an axis of their own: those of a deconvolution come after the channels.
    by_map = kernel.reshape((channels, per_group, -1) if transposed else (groups, per_group, parts, -1))
    kernels = by_map.chunk(pieces, 1)
    biases = bias.reshape(groups, -1).chunk(pieces, 1) if bias.numel() else [None] * len(kernels)
    layers = [layer, *(_another(network, layer, transposed) for _ in kernels[1:])]
    axes = [_Axis(2 + axis) for axis in range(spatial)]
    sums = []
    for each, part, given in zip(layers, kernels, biases, strict=True):
        count = part.shape[1]
        each.num_groups = groups * parts
        each.num_output_maps = groups * parts * count
        # [groups * maps, parts * share, ...] -> [groups * parts * maps, share, ...]
        each.kernel = network.weights(part if transposed else part.transpose(1, 2))
        if given is not None:  # one of the shares brings it along
            first = given.new_zeros(groups, parts, count)
            first[:, 0] = given
            each.bias = network.weights(first)
        shares = _reshape(network, each.get_output(0), [_Axis(0), groups, parts, count, *axes])
        sums.append(network.add_reduce(shares, trt.ReduceOperation.SUM, 1 << 2, False).get_output(0))
    summed = sums[0]
    if len(sums) > 1:
        joined = network.add_concatenation(sums)
        joined.axis = 2
        summed = joined.get_output(0)
    return _reshape(network, summed, [_Axis(0), maps, *(_Axis(3 + axis) for axis in range(spatial))])


def _multiply_patches(network: Network, layer: Any) -> Any:
    """A convolution whose window moves on by its own size, as products of the patches and the kernel, or None."""
    x = layer.get_input(0)
    shape = tuple(x.shape)
    if layer.type != trt.LayerType.CONVOLUTION or -1 in shape[1:]:
        return None
    layer.__class__ = trt.IConvolutionLayer
    (height, width), maps = tuple(layer.kernel_size_nd), layer.num_output_maps
    kernel, bias = to_tensor(layer.kernel), to_tensor(layer.bias)
    fits = (
        tuple(layer.stride_nd) == (height, width)
        and tuple(layer.dilation_nd) == (1, 1)
        and not any((*layer.pre_padding, *layer.post_padding))
        and layer.num_groups == 1
        and kernel.numel()
    )
    if not fits or height * width < LARGE_PATCH or shape[2] % height or shape[3] % width:
        return None
    channels, rows, columns = shape[1], shape[2] // height, shape[3] // width
    batch = _Axis(0)
    patches = _reshape(network, x, [batch, channels, rows, height, columns, width])
    turned = network.add_shuffle(patches)
    turned.first_transpose = (0, 2, 4, 1, 3, 5)
    flat = _reshape(network, turned.get_output(0), [batch, rows * columns, channels * height * width])
    weights = network.constant(kernel.reshape(1, maps, -1).mT)
    product = network.add_matrix_multiply(flat, trt.MatrixOperation.NONE, weights, trt.MatrixOperation.NONE)
    result = _multiply_elements(network, product) or product.get_output(0)
    if bias.numel():
        added = network.constant(bias.reshape(1, 1, maps))
        result = network.add_elementwise(result, added, trt.ElementWiseOperation.SUM).get_output(0)
    back = network.add_shuffle(result)
    back.first_transpose = (0, 2, 1)
    return _reshape(network, back.get_output(0), [batch, maps, rows, columns])


def _another(network: Network, layer: Any, transposed: bool) -> Any:
    """A convolution with the attributes of another, whose maps, groups and weights are still to be set."""
    add = network.add_deconvolution_nd if transposed else network.add_convolution_nd
    new = add(layer.get_input(0), layer.num_output_maps, layer.kernel_size_nd, trt.Weights(), trt.Weights())
    for name in ("stride_nd", "pre_padding", "post_padding", "padding_mode", "dilation_nd"):
        setattr(new, name, getattr(layer, name))
    return new


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
