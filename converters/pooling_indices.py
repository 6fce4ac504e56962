"""Max pooling that tells where the largest elements are, and its inverse."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from trtconv import tensorrt as trt
from trtconv.converters.creation import filled, sequence
from trtconv.converters.pooling import adaptive_bounds, most_places
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.sizes import Size, is_static, product

aten = torch.ops.aten

_POOLS: dict[Any, int] = {
    F.max_pool1d_with_indices: 1,
    torch.max_pool1d_with_indices: 1,
    F.max_pool2d_with_indices: 2,
    F.max_pool3d_with_indices: 3,
}
_ADAPTIVE_POOLS: dict[Any, int] = {
    F.adaptive_max_pool1d_with_indices: 1,
    torch.adaptive_max_pool1d: 1,
    F.adaptive_max_pool2d_with_indices: 2,
    F.adaptive_max_pool3d_with_indices: 3,
}
Places = list[Any]
"""For each place of the windows along an axis, in order, which elements all windows have there; those that
windows don't reach are repetitions of their first or last."""


@converter(*_POOLS)
def max_pool_with_indices(
    net: Network,
    input: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = True,
) -> tuple[Any, Any]:
    """The first of the largest elements of each window, and its index in the flattened spatial axes."""
    spatial = _POOLS[net.target]

    def on_each(numbers: int | Sequence[int]) -> list[int]:
        given = [numbers] if isinstance(numbers, int) else list(numbers)
        return given * spatial if len(given) == 1 else given

    windows = [on_each(each) for each in (kernel_size, stride or kernel_size, padding, dilation)]
    return _with_indices(net, input, [functools.partial(_places, net, *each) for each in zip(*windows, strict=True)])


def _places(
    net: Network, kernel_size: int, stride: int, padding: int, dilation: int, size: Size, count: Size
) -> Places:
    if is_static(size) and is_static(count):
        start = torch.arange(int(count)) * stride - padding
        first = -(start.clamp(max=0) // dilation)
        last = (int(size) - 1 - start) // dilation
        return [start + torch.clamp(torch.clamp(last, max=k), min=first) * dilation for k in range(kernel_size)]
    start = net.sub(net.mul(sequence(net, count), stride), padding)
    least, most = trt.ElementWiseOperation.MIN, trt.ElementWiseOperation.MAX
    below = net.sub(0, net.elementwise(start, 0, least))
    first = net.elementwise(net.add(below, dilation - 1), dilation, trt.ElementWiseOperation.FLOOR_DIV)
    last = net.elementwise(net.sub(net.size_tensor([size - 1]), start), dilation, trt.ElementWiseOperation.FLOOR_DIV)
    steps = [net.elementwise(net.elementwise(last, k, least), first, most) for k in range(kernel_size)]
    return [net.add(start, net.mul(step, dilation)) for step in steps]


@converter(*_ADAPTIVE_POOLS)
def adaptive_max_pool_with_indices(
    net: Network, input: Any, output_size: object, return_indices: bool = True
) -> tuple[Any, Any]:
    return _with_indices(net, input, [functools.partial(_adaptive_places, net)] * _ADAPTIVE_POOLS[net.target])


def _adaptive_places(net: Network, size: Size, count: Size) -> Places:
    start, stop = (net.reshape(each, (count,)) for each in adaptive_bounds(net, size, count))
    last = net.sub(stop, 1)
    steps = range(most_places(size, count))
    return [net.elementwise(net.add(start, k), last, trt.ElementWiseOperation.MIN) for k in steps]


def _with_indices(net: Network, x: Any, places: Sequence[Callable[[Size, Size], Places]]) -> tuple[Any, Any]:
    """The largest along one axis after the other, the last first, with the indices along all of them."""
    sizes, shape = net.shape(x)[-len(places) :], net.output.shape
    lead = len(shape) - len(places)
    indices: list[Any] = []
    for axis in reversed(range(len(places))):
        x, indices = _largest(net, x, indices, lead + axis, places[axis](sizes[axis], shape[lead + axis]))
    index = indices[0]
    for other, size in zip(indices[1:], sizes[1:], strict=True):
        length = net.reshape(net.size_tensor([size]), [1] * len(shape))
        index = net.add(net.mul(index, length), other)
    return x, net.expand(index, shape)


def _largest(net: Network, x: Any, indices: Sequence[Any], axis: int, places: Places) -> tuple[Any, list[Any]]:
    """The first largest along an axis, or the last NaN; and its indices, first that along this axis."""
    column = [net.shape(places[0])[0] if each == axis else 1 for each in range(len(net.shape(x)))]
    best: Any = None
    found: list[Any] = []
    for place in places:
        value = net.gather(x, place, axis)
        here = [net.reshape(place, column), *(net.gather(index, place, axis) for index in indices)]
        if best is None:
            best, found = value, here
            continue
        better = net.elementwise(value, best, trt.ElementWiseOperation.GREATER)
        if net.dtype(x).is_floating_point:
            better = net.elementwise(better, net.unary(value, trt.UnaryOperation.ISNAN), trt.ElementWiseOperation.OR)
        best = net.select(better, value, best, net.dtype(x))
        found = [net.select(better, new, old, torch.int64) for new, old in zip(here, found, strict=True)]
    if len(places) == 1:  # nothing was compared, which makes the indices as many as the elements
        found = [net.expand(index, net.shape(best)) for index in found]
    return best, found


@converter(aten.max_unpool2d.default, aten.max_unpool3d.default)
def max_unpool(
    net: Network, x: Any, indices: Any, output_size: object, stride: object = None, padding: object = None
) -> Any:
    """Zeros with the elements of `x` at their indices in the flattened spatial axes."""
    spatial = 2 if net.target is aten.max_unpool2d.default else 3
    lead = net.output.shape[:-spatial]
    given = (*lead, product(net.shape(x)[-spatial:]))
    zeros = net.reshape(filled(net, 0), (*lead, product(net.output.shape[-spatial:])))
    places, values = net.reshape(indices, given), net.reshape(x, given)
    layer = net.add_scatter(zeros, places, values, trt.ScatterMode.ELEMENT)
    layer.axis = len(lead)
    return net.reshape(net.known(layer.get_output(0), net.shape(zeros)), net.output.shape)
