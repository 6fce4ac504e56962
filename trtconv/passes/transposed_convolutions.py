"""Transposed convolutions as TensorRT has kernels for them.

No TensorRT has one for bfloat16 (10.13 to TensorRT-RTX 1.7.1): they are computed in float32. TensorRT-RTX has none with
stride and dilation both: zeros stand in the gaps of the kernel.
"""

from __future__ import annotations

from typing import Any

import torch

from trtconv.emit.network import Network
from trtconv.graph.data import DataType, Graph, Layer
from trtconv.graph.writer import member
from trtconv.passes.edit import Edit, rewritten
from trtconv.passes.full_precision import spread


def transpose_convolutions_with_kernels(graph: Graph) -> Graph:
    """Transposed convolutions in float32 where they are in bfloat16, and without dilation where there is a stride."""
    return rewritten(graph, {"DECONVOLUTION": _with_kernel})


def _with_kernel(edit: Edit, layer: Layer) -> Any:
    attributes, net = layer.attributes, edit.net
    is_bfloat16 = edit.type(layer.outputs[0]).dtype is DataType.BF16
    dilation = attributes["dilation_nd"]
    is_dilated = max(attributes["stride_nd"]) > 1 and max(dilation) > 1
    if not is_bfloat16 and not is_dilated:
        return None
    given = [attributes["kernel"], attributes["bias"]]
    operands = [None if name is None else edit.tensor(name) for name in layer.inputs]
    if is_bfloat16:
        given = [None if value is None else value.float() for value in given]
        operands = [None if x is None else net.cast(x, torch.float32) for x in operands]
    if is_dilated and given[0] is not None:
        given[0] = _with_gaps(given[0], dilation)
    elif is_dilated:
        operands[1] = _with_computed_gaps(net, operands[1], dilation)
    window = attributes["kernel_size_nd"]
    if is_dilated:
        window = tuple(step * (size - 1) + 1 for size, step in zip(window, dilation, strict=True))
    maps = attributes["num_output_maps"]
    new = net.add_deconvolution_nd(operands[0], maps, window, *map(net.weights, given))
    new.padding_mode = member("PaddingMode", attributes["padding_mode"])
    new.stride_nd, new.num_groups = attributes["stride_nd"], attributes["num_groups"]
    new.pre_padding, new.post_padding = attributes["pre_padding"], attributes["post_padding"]
    new.dilation_nd = (1,) * len(window) if is_dilated else dilation
    for place, tensor in enumerate(operands[1:], start=1):
        if tensor is not None:
            new.set_input(place, tensor)
    result = new.get_output(0)
    sizes = edit.sizes(layer.outputs[0])
    if sizes is not None:
        net.known(result, sizes)
    if is_bfloat16:
        result = net.add_cast(result, member("DataType", "BF16")).get_output(0)
    return result


def _with_gaps(kernel: torch.Tensor, dilation: tuple[int, ...]) -> torch.Tensor:
    """A kernel with zeros between its elements."""
    window = [step * (size - 1) + 1 for size, step in zip(kernel.shape[2:], dilation, strict=True)]
    wide = kernel.new_zeros((*kernel.shape[:2], *window))
    wide[(slice(None), slice(None), *(slice(None, None, step) for step in dilation))] = kernel
    return wide


def _with_computed_gaps(net: Network, kernel: Any, dilation: tuple[int, ...]) -> Any:
    for axis, step in enumerate(dilation, start=2):
        if step == 1:
            continue
        kernel = spread(net, kernel, axis, step)
        shape = list(net.shape(kernel))
        shape[axis] -= step - 1
        kernel = net.slice(kernel, [0] * len(shape), shape)
    return kernel
