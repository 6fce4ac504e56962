"""Where the elements of a resized axis lie in the axis, of sizes that aren't known before a call."""

from __future__ import annotations

from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.creation import sequence
from trtconv.emit.network import Network
from trtconv.sizes import Size, most


def scales_alike(size: Size, scale: float) -> bool:
    """Whether the layer, which has the scale in float32, makes as many elements as torch of all sizes."""
    sizes = torch.arange(most(size) + 1)
    counts = (sizes.double() * scale).long()
    narrow = torch.tensor(scale, dtype=torch.float32)
    layers = [(sizes.float() * narrow).long(), (sizes.double() * narrow.double()).long()]
    return all(torch.equal(each, counts) for each in layers)


def step(net: Network, size: Size, count: Size, scale: float | None, align_corners: bool = False) -> Any:
    """How far neighbours of the result lie apart, in float32 as in torch; a number or a tensor of one element."""
    if scale is not None:
        return float(torch.tensor(1.0 / scale, dtype=torch.float32))
    less = 1 if align_corners else 0
    length, places = (net.cast(net.size_tensor([n - less]), torch.float32) for n in (size, count))
    return net.div(length, places)


def nearest(net: Network, size: Size, count: Size, scale: float | None, exact: bool) -> Any:
    """For each element of the result the index of its neighbour: floor(i * step), or of i + 0.5 if `exact`."""
    place = net.cast(sequence(net, count), torch.float32)
    place = net.mul(net.add(place, 0.5) if exact else place, step(net, size, count, scale))
    index = net.cast(net.unary(place, trt.UnaryOperation.FLOOR), torch.int64)
    return net.elementwise(index, net.size_tensor([size - 1]), trt.ElementWiseOperation.MIN)


def linear_weights(net: Network, size: Size, count: Size, scale: float | None) -> Any:
    """[count, size]: 1 less the distance where that is less than 1; from beyond the ends that to the ends."""
    place = net.mul(net.add(_column(net, count), 0.5), step(net, size, count, scale))
    place = net.elementwise(net.sub(place, 0.5), 0.0, trt.ElementWiseOperation.MAX)
    last = net.cast(net.size_tensor([size - 1]), torch.float32)
    place = net.elementwise(place, last, trt.ElementWiseOperation.MIN)
    return _hat(net, net.sub(_row(net, size), place))


def antialiased_weights(
    net: Network, size: Size, count: Size, scale: float | None, align_corners: bool, cubic: bool
) -> Any:
    """[count, size]: a filter as wide as the step, at least 1, around each element; of each the sum is 1."""
    width = step(net, size, count, scale, align_corners)
    center = net.mul(net.add(_column(net, count), 0.5), width)
    wide = max(width, 1.0) if isinstance(width, float) else net.elementwise(width, 1.0, trt.ElementWiseOperation.MAX)
    distance = net.div(net.sub(net.add(_row(net, size), 0.5), center), wide)
    weights = _keys(net, distance) if cubic else _hat(net, distance)
    return net.div(weights, net.reduce(weights, trt.ReduceOperation.SUM, [1], True))


def _column(net: Network, count: Size) -> Any:
    return net.cast(net.reshape(sequence(net, count), (count, 1)), torch.float32)


def _row(net: Network, count: Size) -> Any:
    return net.cast(net.reshape(sequence(net, count), (1, count)), torch.float32)


def _hat(net: Network, distance: Any) -> Any:
    return net.activation(net.sub(1.0, net.unary(distance, trt.UnaryOperation.ABS)), trt.ActivationType.RELU)


def _keys(net: Network, distance: Any) -> Any:
    """Keys' cubic convolution kernel with a = -1/2."""
    x = net.unary(distance, trt.UnaryOperation.ABS)
    near = net.add(net.mul(net.mul(net.sub(net.mul(x, 1.5), 2.5), x), x), 1.0)
    far = net.mul(net.sub(net.mul(net.add(net.mul(net.sub(x, 5.0), x), 8.0), x), 4.0), -0.5)
    far = net.select(net.elementwise(x, 2.0, trt.ElementWiseOperation.LESS), far, 0.0, torch.float32)
    return net.select(net.elementwise(x, 1.0, trt.ElementWiseOperation.LESS), near, far, torch.float32)
