"""Values at places between pixels: torchvision's regions of interest and deformable convolution.

torchvision needn't be installed: its operators are named, and looked up where a model calls them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.creation import sequence
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, product

_GREATER, _LESS = trt.ElementWiseOperation.GREATER, trt.ElementWiseOperation.LESS


@dataclasses.dataclass(frozen=True)
class _Neighbours:
    """The two pixels along an axis between which places lie: their indices, int64, and weights, float32."""

    indices: tuple[Any, Any]
    weights: tuple[Any, Any]


def _float(net: Network, size: Size) -> Any:
    return net.reshape(net.cast(net.size_tensor([size]), torch.float32), ())


def _clamped(net: Network, x: Any, low: Any, high: Any) -> Any:
    least = net.elementwise(x, high, trt.ElementWiseOperation.MIN)
    return net.elementwise(least, low, trt.ElementWiseOperation.MAX)


def _between(net: Network, condition: Any, other: Any) -> Any:
    both = net.elementwise(condition, other, trt.ElementWiseOperation.AND)
    return net.cast(both, torch.float32)


def _clamped_neighbours(net: Network, place: Any, size: Size) -> _Neighbours:
    """Of places from -1 to the size, those beyond the first and last pixel at these; nothing lies further out."""
    length, last = _float(net, size), _float(net, size - 1)
    beyond = [net.elementwise(place, bound, op) for bound, op in ((-1.0, _LESS), (length, _GREATER))]
    inside = _between(net, *(net.unary(each, trt.UnaryOperation.NOT) for each in beyond))
    place = _clamped(net, place, 0.0, last)
    low = net.unary(place, trt.UnaryOperation.FLOOR)
    high = net.elementwise(net.add(low, 1.0), last, trt.ElementWiseOperation.MIN)
    fraction = net.sub(place, low)
    weights = net.mul(net.sub(1.0, fraction), inside), net.mul(fraction, inside)
    return _Neighbours((net.cast(low, torch.int64), net.cast(high, torch.int64)), weights)


def _padded_neighbours(net: Network, place: Any, size: Size) -> _Neighbours:
    """Of places in an image with zeros around it."""
    length, last = _float(net, size), _float(net, size - 1)
    low = net.unary(place, trt.UnaryOperation.FLOOR)
    fraction = net.sub(place, low)
    indices, weights = [], []
    for pixel, weight in ((low, net.sub(1.0, fraction)), (net.add(low, 1.0), fraction)):
        inside = _between(net, net.elementwise(pixel, -1.0, _GREATER), net.elementwise(pixel, length, _LESS))
        indices.append(net.cast(_clamped(net, pixel, 0.0, last), torch.int64))
        weights.append(net.select(net.cast(inside, torch.bool), weight, 0.0, torch.float32))
    return _Neighbours((indices[0], indices[1]), (weights[0], weights[1]))


def _interpolated(net: Network, rows: Any, start: Any, height: _Neighbours, width: _Neighbours, step: Any) -> Any:
    """The four neighbours by their weights: rows [pixels, channels] at start + (y * width + x)."""
    result: Any = None
    for y, y_weight in zip(height.indices, height.weights, strict=True):
        for x, x_weight in zip(width.indices, width.weights, strict=True):
            index = net.add(net.add(net.mul(y, step), x), start)
            weight = net.mul(y_weight, x_weight)
            weight = net.reshape(weight, (*net.shape(weight), 1))
            part = net.mul(net.cast(net.gather(rows, index, 0), torch.float32), weight)
            result = part if result is None else net.add(result, part)
    return result


# -- regions of interest ----------------------------------------------------------------------------


def _check_sampling(sampling_ratio: int) -> None:
    if sampling_ratio <= 0:
        raise UnsupportedArgumentError(
            f"with sampling_ratio={sampling_ratio} the number of samples depends on the sizes of the regions; give a "
            "fixed number, 2 for one"
        )


def _column(net: Network, rois: Any, index: int) -> Any:
    count = net.shape(rois)[0]
    return net.reshape(net.slice(rois, (0, index), (count, 1)), (count, 1))


def _samples(net: Network, start: Any, length: Any, bins: int, each: int) -> Any:
    """[regions, bins * each]: places evenly spread over the bins of a region."""
    size = net.div(length, float(bins))
    number = torch.arange(bins, dtype=torch.float32).repeat_interleave(each)[None]
    within = (torch.arange(each, dtype=torch.float32) + 0.5).repeat(bins)[None]
    return net.add(net.add(start, net.mul(size, number)), net.div(net.mul(size, within), float(each)))


@dataclasses.dataclass(frozen=True)
class _Bins:
    """The bins of a kind of region."""

    scale: float
    height: int
    width: int
    samples: int

    def places(self, net: Network, rois: Any, x: Any, offset: float, least: float | None) -> list[_Neighbours]:
        """Along both axes the neighbours of the samples, [regions, bins * samples], in regions of a least size."""
        result = []
        for axis, bins in ((2, self.height), (1, self.width)):
            start, stop = (
                net.sub(net.mul(_column(net, rois, column), self.scale), offset) for column in (axis, axis + 2)
            )
            length = net.sub(stop, start)
            if least is not None:
                length = net.elementwise(length, least, trt.ElementWiseOperation.MAX)
            places = _samples(net, start, length, bins, self.samples)
            result.append(_clamped_neighbours(net, places, net.shape(x)[4 - axis]))
        return result

    def mean(self, net: Network, sums: Any) -> Any:
        """The means of the samples of each bin, [regions, channels, height, width]."""
        count, *_, channels = net.shape(sums)
        bins = net.reshape(sums, (count, self.height, self.samples, self.width, self.samples, channels))
        return net.permute(net.reduce(bins, trt.ReduceOperation.AVG, [2, 4], False), (0, 3, 1, 2))


def _crossed(net: Network, height: _Neighbours, width: _Neighbours) -> tuple[_Neighbours, _Neighbours]:
    """Neighbours along both axes, broadcast against each other."""

    def at(each: Any, axis: int) -> Any:
        count, places = net.shape(each)
        return net.reshape(each, (count, places, 1) if axis == 0 else (count, 1, places))

    crossed = []
    for axis, of in enumerate((height, width)):
        indices, weights = ([at(each, axis) for each in pair] for pair in (of.indices, of.weights))
        crossed.append(_Neighbours((indices[0], indices[1]), (weights[0], weights[1])))
    return crossed[0], crossed[1]


def _images(net: Network, rois: Any, pixels: Any) -> Any:
    """[regions, 1, 1]: where the image of each region starts."""
    image = net.cast(_column(net, rois, 0), torch.int64)
    return net.reshape(net.mul(image, pixels), (net.shape(rois)[0], 1, 1))


@converter("torchvision.roi_align.default")
def roi_align(
    net: Network,
    x: Any,
    rois: Any,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Any:
    """The means of samples in the bins of regions (image, x1, y1, x2, y2)."""
    _check_sampling(sampling_ratio)
    bins = _Bins(spatial_scale, pooled_height, pooled_width, sampling_ratio)
    rois = net.cast(rois, torch.float32)
    images, channels, height, width = net.shape(x)
    rows = net.reshape(net.permute(x, (0, 2, 3, 1)), (images * height * width, channels))
    places = bins.places(net, rois, x, 0.5 if aligned else 0.0, None if aligned else 1.0)
    start = _images(net, rois, net.size_tensor([height * width]))
    sums = _interpolated(net, rows, start, *_crossed(net, places[0], places[1]), net.size_tensor([width]))
    return net.cast(bins.mean(net, sums), net.output.dtype)


@converter("torchvision.ps_roi_align.default")
def ps_roi_align(
    net: Network, x: Any, rois: Any, spatial_scale: float, pooled_height: int, pooled_width: int, sampling_ratio: int
) -> Any:
    """As `roi_align`, with channels of its own for each bin."""
    _check_sampling(sampling_ratio)
    bins = _Bins(spatial_scale, pooled_height, pooled_width, sampling_ratio)
    rois = net.cast(rois, torch.float32)
    images, channels, height, width = net.shape(x)
    count = pooled_height * pooled_width
    maps = net.reshape(x, (images, channels // count, count, height, width))
    rows = net.reshape(net.permute(maps, (0, 2, 3, 4, 1)), (images * count * height * width, channels // count))
    places = bins.places(net, rois, x, 0.5, None)
    own = torch.arange(count).reshape(pooled_height, pooled_width)
    own = own.repeat_interleave(sampling_ratio, 0).repeat_interleave(sampling_ratio, 1)[None]
    start = _images(net, rois, net.size_tensor([height * width * count]))
    start = net.add(start, net.mul(own, net.size_tensor([height * width])))
    sums = _interpolated(net, rows, start, *_crossed(net, places[0], places[1]), net.size_tensor([width]))
    return net.cast(bins.mean(net, sums), net.output.dtype), None


# -- deformable convolution -------------------------------------------------------------------------


@converter("torchvision.deform_conv2d.default")
def deform_conv2d(
    net: Network,
    x: Any,
    weight: Any,
    offset: Any,
    mask: Any,
    bias: Any,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Any:
    """A convolution whose windows' places are moved by offsets (y, x), their values weighted by a mask."""
    batch, channels, height, width = net.shape(x)
    maps, of_group, rows, columns = net.shape(weight)
    *_, out_height, out_width = net.output.shape
    taps = rows * columns
    moves = net.reshape(net.cast(offset, torch.float32), (batch, offset_groups, taps, 2, out_height * out_width))
    down, across = _taps(int(rows), int(columns), dilation_h, dilation_w)
    starts = [
        _starts(net, out_height, out_width, step, padding, axis)
        for axis, (step, padding) in enumerate(((stride_h, pad_h), (stride_w, pad_w)))
    ]
    neighbours = []
    for axis, (size, tap) in enumerate(((height, down), (width, across))):
        move = _part(net, moves, axis)
        place = net.add(net.add(move, starts[axis]), tap)
        neighbours.append(_padded_neighbours(net, place, size))
    parts = channels // offset_groups
    pixels = net.reshape(x, (batch * offset_groups, parts, height * width))
    pixels = net.reshape(net.permute(pixels, (0, 2, 1)), (batch * offset_groups * height * width, parts))
    image = net.mul(sequence(net, batch * offset_groups), net.size_tensor([height * width]))
    start = net.reshape(image, (batch, offset_groups, 1, 1))
    values = _interpolated(net, pixels, start, neighbours[0], neighbours[1], net.size_tensor([width]))
    if use_mask:
        factors = net.reshape(mask, (batch, offset_groups, taps, out_height * out_width, 1))
        values = net.mul(values, net.cast(factors, torch.float32))
    # [batch, offset groups, taps, places, channels] to [batch, groups, channels * taps, places]
    values = net.permute(net.cast(values, net.output.dtype), (0, 1, 4, 2, 3))
    values = net.reshape(values, (batch, groups, of_group * taps, out_height * out_width))
    kernels = net.reshape(weight, (1, groups, maps // groups, of_group * taps))
    result = net.reshape(net.matmul(kernels, values), net.output.shape)
    return net.add(result, net.reshape(bias, (1, maps, 1, 1)))


def _taps(rows: int, columns: int, *dilation: int) -> Sequence[torch.Tensor]:
    """Of each place of a kernel how far it lies from the first, down and across, [1, 1, taps, 1]."""
    grid = torch.meshgrid(torch.arange(rows) * dilation[0], torch.arange(columns) * dilation[1], indexing="ij")
    return [each.float().reshape(1, 1, rows * columns, 1) for each in grid]


def _starts(net: Network, height: Size, width: Size, stride: int, padding: int, axis: int) -> Any:
    """Where along an axis the window of each place of the result starts, [1, 1, 1, places]."""
    count = (height, width)[axis]
    start = net.sub(net.mul(net.cast(sequence(net, count), torch.float32), float(stride)), float(padding))
    grid = net.expand(net.reshape(start, (count, 1) if axis == 0 else (1, count)), (height, width))
    return net.reshape(grid, (1, 1, 1, product((height, width))))


def _part(net: Network, moves: Any, axis: int) -> Any:
    *lead, _, places = net.shape(moves)
    part = net.slice(moves, (*(0 for _ in lead), axis, 0), (*lead, 1, places))
    return net.reshape(part, (*lead, places))
