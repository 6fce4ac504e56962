"""Compute fp32 products in fp32 on TensorRT-RTX, which has tensor core kernels only.

TensorRT-RTX 1.6.1 ignores that BuilderFlag.TF32 is cleared: fp32 convolutions and products of matrices
round their factors to 10 bits (relative error 3e-4 to 8e-4, H200). With NVIDIA_TF32_OVERRIDE=0 it splits
the factors, and sums up with an error that grows with the number of terms (4.7e-6 for 576). What it
computes in plain fp32: products and sums element by element, and flat convolutions in groups of at most
four channels. So this pass rewrites

- a matrix product as the products of all pairs of elements, and their sum;
- a convolution as the product of its kernel and the patches that it covers, a transposed one as a
  convolution of the input with zeros between its elements.

It costs time, and memory for the patches; it is for `tf32=False`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.emit.network import Network
from trtconv.errors import PrecisionWarning
from trtconv.graph.data import DataType, Graph, Layer
from trtconv.graph.padding import same_padding, same_trimming
from trtconv.passes.edit import Edit
from trtconv.places import warn
from trtconv.sizes import Size, Sizes, is_static, product, same

LARGEST_GROUP = 4
"""Channels of a group that flat convolutions compute in fp32."""


def use_full_precision(graph: Graph) -> Graph:
    """Rewrite the fp32 products of a network.

    Warns:
        PrecisionWarning: there are products that can't be rewritten; which, and why.
    """
    kept: list[str] = []
    with Edit(graph) as edit:
        for layer in graph.layers:
            if layer.type not in _REWRITES or edit.type(layer.outputs[0]).dtype is not DataType.FLOAT:
                continue
            obstacle = _obstacle(edit, layer)
            if obstacle:
                kept.append(f"{layer.name}: {obstacle}")
                continue
            result = _REWRITES[layer.type](edit, layer)
            if result is not None:
                edit.replace(layer.outputs[0], result)
        if kept:
            listing = "\n".join(f"  {each}" for each in kept)
            warn(f"tf32=False has no effect on\n{listing}", PrecisionWarning)
        return edit.graph()


def _obstacle(edit: Edit, layer: Layer) -> str:
    """Why a product can't be rewritten, if it can't."""
    given = [edit.sizes(name) for name in layer.inputs if name is not None]
    if None in given or edit.sizes(layer.outputs[0]) is None:
        return "its shape is dynamic, and its converter has to say which it is: net.known(tensor, shape)"
    shape: Any = given[0]
    if layer.type == "MATRIX_MULTIPLY":
        axes = len(shape) + (layer.attributes["op0"] == "VECTOR")
        return "it has eight axes, to which TensorRT can't add another" if axes == 8 else ""
    moves = layer.attributes["padding_mode"].startswith("SAME") and not all(map(is_static, shape))
    return "its padding follows from sizes that vary; give it in numbers" if moves else ""


def _result_shape(edit: Edit, layer: Layer) -> Sizes:
    shape = edit.sizes(layer.outputs[0])
    assert shape is not None  # `_obstacle` has seen to it
    return shape


# -- products of matrices -------------------------------------------------------------------------


def _multiply_matrices(edit: Edit, layer: Layer) -> Any:
    """The tensor that takes the place of a matrix product."""
    network = edit.net
    left, right = map(edit.tensor, layer.inputs)
    operations = layer.attributes["op0"], layer.attributes["op1"]
    if operations[0] == "VECTOR":
        left = network.reshape(left, (*network.shape(left)[:-1], 1, network.shape(left)[-1]))
    elif operations[0] == "TRANSPOSE":
        left = _transposed(network, left)
    if operations[1] == "VECTOR":
        right = network.reshape(right, (*network.shape(right), 1))
    elif operations[1] == "TRANSPOSE":
        right = _transposed(network, right)
    return network.reshape(_multiply(network, left, right), _result_shape(edit, layer))


def _transposed(network: Network, x: Any) -> Any:
    rank = len(network.shape(x))
    return network.permute(x, (*range(rank - 2), rank - 1, rank - 2))


def _multiply(network: Network, left: Any, right: Any) -> Any:
    """[..., M, K] times [..., K, N], as [..., M, K, 1] times [..., 1, K, N], summed over K."""
    (*batch_left, rows, terms), (*batch_right, _, columns) = network.shape(left), network.shape(right)
    products = network.mul(
        network.reshape(left, (*batch_left, rows, terms, 1)),
        network.reshape(right, (*batch_right, 1, terms, columns)),
    )
    return network.reduce(products, trt.ReduceOperation.SUM, (len(batch_left) + 1,), False)


# -- convolutions ---------------------------------------------------------------------------------


def _convolve(edit: Edit, layer: Layer) -> Any:
    """The tensor that takes the place of a convolution, or None if it is computed in fp32 as it is."""
    attributes, network = layer.attributes, edit.net
    groups, window, stride, dilation = _geometry(layer)
    maps = attributes["num_output_maps"]
    channels = edit.type(str(layer.inputs[0])).shape[-len(window) - 1] // groups
    if len(window) == 2 and groups > 1 and channels <= LARGEST_GROUP and attributes["kernel"] is not None:
        return None
    x = _by_group(network, edit.tensor(layer.inputs[0]), groups, len(window))
    before, mode = attributes["pre_padding"], attributes["padding_mode"]
    if mode.startswith("SAME"):
        sizes = [int(size) for size in network.shape(x)[3:]]
        before = tuple(same_padding(sizes, _reach(window, dilation), stride, mode)[0])
    result = _result_shape(edit, layer)[-len(window) :]
    padded = mode != "EXPLICIT_ROUND_DOWN" or any((*before, *attributes["post_padding"]))
    if stride == window and max(dilation) == 1 and not padded:
        patches = _adjacent_patches(network, x, window, result)
    else:
        patches = _patches(network, x, _taps(window, dilation, before), stride, result)
    kernel = _kernel(edit, layer, (groups, maps // groups, channels, *window), maps_axis=1)
    return _finish(edit, layer, _multiply(network, kernel, patches))


def _convolve_transposed(edit: Edit, layer: Layer) -> Any:
    """The tensor that takes the place of a transposed convolution."""
    attributes, network = layer.attributes, edit.net
    groups, window, stride, dilation = _geometry(layer)
    x = _by_group(network, edit.tensor(layer.inputs[0]), groups, len(window))
    channels = network.shape(x)[2]
    before, mode = attributes["pre_padding"], attributes["padding_mode"]
    if mode.startswith("SAME"):
        before = tuple(same_trimming(_reach(window, dilation), stride, mode)[0])
    # An element meets the kernel's last tap first.
    taps = [[-place for place in places] for places in _taps(window, dilation, before)]
    result = _result_shape(edit, layer)[-len(window) :]
    for axis, step in enumerate(stride, start=3):
        x = spread(network, x, axis, step) if step > 1 else x
    patches = _patches(network, x, taps, (1,) * len(window), result)
    kernel = _kernel(edit, layer, (groups, channels, attributes["num_output_maps"] // groups, *window), maps_axis=2)
    return _finish(edit, layer, _multiply(network, kernel, patches))


def _geometry(layer: Layer) -> tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Groups, and the sizes, strides and dilations of the kernel."""
    attributes = layer.attributes
    return attributes["num_groups"], attributes["kernel_size_nd"], attributes["stride_nd"], attributes["dilation_nd"]


def _reach(window: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """How many elements a window spans along each axis."""
    return [step * (size - 1) + 1 for size, step in zip(window, dilation, strict=True)]


def _taps(window: Sequence[int], dilation: Sequence[int], before: Sequence[int]) -> list[list[int]]:
    """The elements that a window covers in its first position along each axis, which begins `before` the input."""
    return [
        [tap * step - first for tap in range(size)] for size, step, first in zip(window, dilation, before, strict=True)
    ]


def _by_group(network: Network, x: Any, groups: int, spatial: int) -> Any:
    """[..., C, *sizes] -> [N, groups, C / groups, *sizes]"""
    shape = network.shape(x)
    channels = int(shape[-spatial - 1]) // groups
    return network.reshape(x, (product(shape[: -spatial - 1]), groups, channels, *shape[-spatial:]))


def spread(network: Network, x: Any, axis: int, step: int) -> Any:
    """The elements along an axis with `step` - 1 zeros behind each."""
    shape = network.shape(x)
    split = network.reshape(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    wide = (*shape[: axis + 1], step, *shape[axis + 1 :])
    filled = network.slice(split, [0] * len(wide), wide, mode=trt.SampleMode.FILL)
    return network.reshape(filled, (*shape[:axis], shape[axis] * step, *shape[axis + 1 :]))


def _adjacent_patches(network: Network, x: Any, window: Sequence[int], result: Sizes) -> Any:
    """What `_patches` gives where the window moves on by its own size and starts at the first element."""
    batch, groups, channels = network.shape(x)[:3]
    covered = [count * size for count, size in zip(result, window, strict=True)]
    if not same(covered, network.shape(x)[3:]):
        x = network.slice(x, [0] * (3 + len(window)), (batch, groups, channels, *covered))
    split = [size for pair in zip(result, window, strict=True) for size in pair]
    # With the groups on an axis of their own, three dimensions would make nine axes, and TensorRT has eight.
    x = network.reshape(x, (batch * groups, channels, *split))
    counts, taps = range(2, 2 + len(split), 2), range(3, 3 + len(split), 2)
    x = network.permute(x, (0, *reversed(taps), 1, *counts))
    return network.reshape(x, (batch, groups, channels * math.prod(window), product(result)))


def _patches(network: Network, x: Any, taps: Sequence[Sequence[int]], stride: Sequence[int], result: Sizes) -> Any:
    """The elements that each position of a window covers.

    Args:
        x: [N, groups, channels, *sizes]
        taps: For each spatial axis, the elements that the window covers in its first position.
        stride: By how many elements the next position lies further.
        result: The number of positions along each axis.

    Returns:
        [N, groups, the axes' taps from last to first * channels, positions]
    """
    starts = [min(places) for places in taps]
    shape = network.shape(x)
    needed = [
        (count - 1) * step + max(places) - start + 1
        for count, step, places, start in zip(result, stride, taps, starts, strict=True)
    ]
    if any(starts) or not same(needed, shape[3:]):
        x = network.slice(x, (0, 0, 0, *starts), (*shape[:3], *needed), mode=trt.SampleMode.FILL)
    for axis, (places, step) in enumerate(zip(taps, stride, strict=True), start=3):
        if len(places) == step == 1:
            continue
        # All positions first, then every step-th of them: engines give wrong numbers where pieces that are sliced with
        # a step of what is computed are put together (TensorRT-RTX 1.6.1, convolutions along one axis after another).
        dense, start = list(network.shape(x)), [0] * len(network.shape(x))
        dense[axis] = (result[axis - 3] - 1) * step + 1
        parts = []
        for place in places:
            start[axis] = place - min(places)
            parts.append(network.slice(x, start, dense))
        x = network.concatenate(parts, 2) if len(parts) > 1 else parts[0]
        if step > 1:
            sampled, steps = list(network.shape(x)), [1] * len(dense)
            sampled[axis], steps[axis] = result[axis - 3], step
            x = network.slice(x, [0] * len(dense), sampled, steps)
    return network.reshape(x, (*network.shape(x)[:3], product(result)))


def _kernel(edit: Edit, layer: Layer, shape: Sequence[Size], maps_axis: int) -> Any:
    """A kernel of this shape as [1, groups, maps, terms], the terms in the order of `_patches`."""
    channels_axis = 3 - maps_axis
    order = (0, maps_axis, *reversed(range(3, len(shape))), channels_axis)
    flat = (1, shape[0], shape[maps_axis], math.prod(int(size) for size in shape[3:]) * shape[channels_axis])
    kernel: torch.Tensor | None = layer.attributes["kernel"]
    network = edit.net
    if kernel is not None:
        return network.constant(kernel.reshape(shape).permute(order).reshape(flat))
    return network.reshape(network.permute(network.reshape(edit.tensor(layer.inputs[1]), shape), order), flat)


def _finish(edit: Edit, layer: Layer, y: Any) -> Any:
    """[N, groups, maps, positions] in the shape of the layer's output, and its bias added."""
    network, attributes = edit.net, layer.attributes
    y = network.reshape(y, _result_shape(edit, layer))
    aligned = (attributes["num_output_maps"], *[1] * len(attributes["kernel_size_nd"]))
    if len(layer.inputs) > 2:
        return network.add(y, network.reshape(edit.tensor(layer.inputs[2]), aligned))
    return y if attributes["bias"] is None else network.add(y, attributes["bias"].reshape(aligned))


_REWRITES: dict[str, Callable[[Edit, Layer], Any]] = {
    "MATRIX_MULTIPLY": _multiply_matrices,
    "CONVOLUTION": _convolve,
    "DECONVOLUTION": _convolve_transposed,
}
"""For each type of layer what gives the tensor that takes the place of its output."""
