"""Convolution and transposed convolution in one to three dimensions.

`torch.conv2d` and its kin all arrive as `aten.convolution`; its ``padding="same"`` as a pad and a
convolution.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.capture.trace import is_activation, is_constant
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Sizes

aten = torch.ops.aten


@dataclasses.dataclass(frozen=True)
class _Geometry:
    """How the kernel moves, each with one number for each spatial axis."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int

    def lifted(self) -> _Geometry:
        """The same along the last axis of images of height 1."""
        return _Geometry(
            (1, *self.stride), (0, *self.padding), (1, *self.dilation), (0, *self.output_padding), self.groups
        )


@converter(aten.convolution.default)
def convolution(
    net: Network,
    x: Any,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    spatial = weight.dim() - 2
    if spatial not in (1, 2, 3):
        raise UnsupportedArgumentError(f"TensorRT convolves along 1 to 3 axes, and these are {spatial}")

    def on_each(numbers: Sequence[int]) -> tuple[int, ...]:
        return tuple(numbers) if len(numbers) == spatial else tuple(numbers) * spatial

    geometry = _Geometry(on_each(stride), on_each(padding), on_each(dilation), on_each(output_padding), groups)
    shape = tuple(net.output.shape)
    kernel: Any = weight
    if spatial == 1:  # TensorRT has kernels of two and three dimensions: convolve along the last
        x = net.reshape(x, (*net.shape(x)[:2], 1, net.shape(x)[2]))
        kernel, geometry = _lift(net, weight), geometry.lifted()
        shape = (*shape[:2], 1, *shape[2:])
    convolve = _transposed if transposed else _plain
    return net.reshape(convolve(net, x, kernel, bias, geometry, shape), tuple(net.output.shape))


def _lift(net: Network, weight: Any) -> Any:
    maps, maps_per_group, width = net.shape(weight)
    if is_activation(weight):
        return net.reshape(weight, (maps, maps_per_group, 1, width))
    return weight.reshape(maps, maps_per_group, 1, width)


def _plain(net: Network, x: Any, weight: Any, bias: Any, geometry: _Geometry, shape: Sizes) -> Any:
    maps, _, *window = net.shape(weight)
    layer = net.add_convolution_nd(
        net.tensor(x), maps, tuple(window), _constant_weights(net, weight), _constant_weights(net, bias)
    )
    layer.stride_nd = geometry.stride
    layer.padding_nd = geometry.padding
    layer.dilation_nd = geometry.dilation
    layer.num_groups = geometry.groups
    _connect(net, layer, weight, bias)
    return net.known(layer.get_output(0), shape)


def _transposed(net: Network, x: Any, weight: Any, bias: Any, geometry: _Geometry, shape: Sizes) -> Any:
    # torch's output_padding keeps rows that the padding would trim. Where there are more of them than
    # trimmed ones, they lie beyond the result of the products: only the bias is there.
    extra = list(zip(geometry.output_padding, geometry.padding, strict=True))
    beyond = [max(0, kept - trimmed) for kept, trimmed in extra]
    _, maps_per_group, *window = net.shape(weight)
    inner_bias = bias if is_constant(bias) and not any(beyond) else None
    layer = net.add_deconvolution_nd(
        net.tensor(x),
        maps_per_group * geometry.groups,
        tuple(window),
        _constant_weights(net, weight),
        _constant_weights(net, inner_bias),
    )
    layer.stride_nd = geometry.stride
    layer.pre_padding = geometry.padding
    layer.post_padding = tuple(max(0, trimmed - kept) for kept, trimmed in extra)
    layer.dilation_nd = geometry.dilation
    layer.num_groups = geometry.groups
    _connect(net, layer, weight, inner_bias)
    inner = (*shape[:2], *(size - more for size, more in zip(shape[2:], beyond, strict=True)))
    result = net.known(layer.get_output(0), inner)
    if any(beyond):
        result = net.slice(result, [0] * len(shape), shape, mode=trt.SampleMode.FILL)
    if bias is not inner_bias:
        result = net.add(result, net.reshape(bias, (1, shape[1], *[1] * len(window))))
    return result


def _constant_weights(net: Network, value: Any) -> Any:
    return net.weights(value if is_constant(value) else None)


def _connect(net: Network, layer: Any, weight: Any, bias: Any) -> None:
    """Weights that are computed in the network come in as the layer's second and third input."""
    for position, value in ((1, weight), (2, bias)):
        if value is not None and not is_constant(value):
            layer.set_input(position, net.tensor(value))
