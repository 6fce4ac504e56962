"""Interpolation, sampling at grids, and pixels moved between space and channels.

Mode "area" of `torch.nn.functional.interpolate` arrives as adaptive average pooling.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from trtconv import tensorrt as trt
from trtconv.converters.interpolation import antialiased_weights, linear_weights, nearest, scales_alike
from trtconv.converters.linear import product_along
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, Sizes, is_same, is_static

aten = torch.ops.aten


@dataclasses.dataclass(frozen=True)
class _Mode:
    """How a resize layer interpolates; without one (`layer` is ""), only a product with torch's weights does."""

    layer: str
    coordinates: str = "HALF_PIXEL"
    rounding: str = "FLOOR"


_NEAREST, _EXACT = _Mode("NEAREST", "ASYMMETRIC"), _Mode("NEAREST", "HALF_PIXEL", "HALF_UP")
_LINEAR, _CUBIC, _ANTIALIASED = _Mode("LINEAR"), _Mode("CUBIC"), _Mode("")

_MODES = {
    "upsample_nearest1d": _NEAREST,
    "upsample_nearest2d": _NEAREST,
    "upsample_nearest3d": _NEAREST,
    "_upsample_nearest_exact1d": _EXACT,
    "_upsample_nearest_exact2d": _EXACT,
    "_upsample_nearest_exact3d": _EXACT,
    "upsample_linear1d": _LINEAR,
    "upsample_bilinear2d": _LINEAR,
    "upsample_trilinear3d": _LINEAR,
    "upsample_bicubic2d": _CUBIC,
    "_upsample_bilinear2d_aa": _ANTIALIASED,
    "_upsample_bicubic2d_aa": _ANTIALIASED,
}
_FUNCTIONS = {getattr(torch._C._nn, name): name for name in _MODES}
"""What interpolate calls. Taken whole, since with symbolic sizes torch decomposes it to indexing."""
_OPERATORS = {getattr(aten, name).default: name for name in _MODES}


@dataclasses.dataclass(frozen=True)
class _Axis:
    """One axis to interpolate along; torch steps by 1 / scale where a scale is given."""

    size: Size
    count: Size
    scale: float | None

    def is_static(self) -> bool:
        return is_static(self.size) and is_static(self.count)

    def is_kept(self) -> bool:
        return is_same(self.size, self.count) and self.scale in (None, 1.0)

    def has_ratio_of_sizes(self) -> bool:
        """Whether the layer takes steps of 1 / scale: of known sizes it takes steps of size / count."""
        if self.scale is None:
            return True
        if self.is_static():
            return int(self.size) * self.scale == int(self.count)
        return self.scale.is_integer() or scales_alike(self.size, self.scale)

    def divides(self) -> bool:
        """Whether nearest neighbours are the same however the ratio is rounded; assumed of two symbols."""
        if not self.is_static():
            return self.scale is None or self.scale.is_integer()
        size, count = int(self.size), int(self.count)
        return count % size == 0 or size % count == 0


@converter(*_FUNCTIONS)
def upsample(net: Network, input: Any, output_size: object, *more: Any) -> Any:
    """`more` is align_corners, where the mode has it, and the scale factors: a list, or None."""
    *aligned, factors = more
    if factors is not None and not isinstance(factors, (list, tuple)):
        raise UnsupportedArgumentError("its scales are single numbers; call torch.nn.functional.interpolate")
    spatial = len(net.shape(input)) - 2
    return _interpolate(net, _FUNCTIONS[net.target], input, aligned == [True], factors or [None] * spatial)


@converter(*_OPERATORS)
def upsample_operator(
    net: Network,
    x: Any,
    output_size: object,
    align_corners: bool = False,
    scales: float | None = None,
    scales_d: float | None = None,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Any:
    spatial = len(net.shape(x)) - 2
    given = (scales,) if spatial == 1 else (scales_d, scales_h, scales_w)[-spatial:]
    return _interpolate(net, _OPERATORS[net.target], x, align_corners, given)


def _interpolate(net: Network, name: str, x: Any, align_corners: bool, scales: Sequence[float | None]) -> Any:
    mode = _MODES[name]
    # torch ignores the scale where it aligns corners.
    factors = [None if align_corners or scale is None else float(scale) for scale in scales]
    axes = [_Axis(*each) for each in zip(net.shape(x)[2:], net.output.shape[2:], factors, strict=True)]
    # Of integers torch interpolates bytes; the layer has only floats.
    result = x if net.dtype(x).is_floating_point else net.cast(x, torch.float32)
    if result is not x and mode.layer != "NEAREST" and all(axis.is_static() for axis in axes):
        return net.cast(_bytes_interpolated(net, name, result, axes, align_corners), net.output.dtype)
    for place, axis in enumerate(axes, start=2):
        if axis.is_kept() or _by_layer(mode, axis, align_corners):
            continue
        if not axis.is_static():
            result = _by_computed_weights(net, name, result, place, axis, align_corners)
        else:
            weights = _weights(getattr(aten, name).default, axis, len(axes), align_corners)
            if mode.layer == "NEAREST":
                result = net.gather(result, weights.argmax(1), place)
            else:
                result = product_along(net, weights.float(), net.cast(result, torch.float32), place)
        axes[place - 2] = _Axis(axis.count, axis.count, None)
    if not all(axis.is_kept() for axis in axes):
        result = _resize(net, result, mode, axes, align_corners)
    if not net.output.dtype.is_floating_point and mode.layer != "NEAREST":
        result = _rounded_to_bytes(net, result)
    return net.cast(result, net.output.dtype)


def _rounded_to_bytes(net: Network, x: Any) -> Any:
    """The nearest integers from 0 to 255: the only ones that torch interpolates are bytes."""
    x = net.elementwise(net.elementwise(x, 0, trt.ElementWiseOperation.MAX), 255, trt.ElementWiseOperation.MIN)
    return net.unary(x, trt.UnaryOperation.ROUND)


def _bytes_interpolated(net: Network, name: str, x: Any, axes: Sequence[_Axis], align_corners: bool) -> Any:
    """Bytes interpolated as torch does on the CPU: one axis after the other from the last, by weights of 16 bits."""
    for place, axis in reversed(list(enumerate(axes, start=2))):
        if not axis.is_kept():
            weights = _weights(getattr(aten, name).default, axis, len(axes), align_corners)
            x = _bytes_along(net, *_in_fixed_point(weights), x, place)
    return x


def _in_fixed_point(weights: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Whole numbers, and how many of their bits lie behind the point: up to 22 that 16 bits with a sign still hold."""
    largest, bits = float(weights.max()), 0
    while bits < 22 and int(largest * (2 << bits) + 0.5) < 1 << 15:
        bits += 1
    scaled = weights * (1 << bits)
    return (scaled + scaled.sign() * 0.5).trunc(), bits


def _bytes_along(net: Network, weights: torch.Tensor, bits: int, x: Any, place: int) -> Any:
    """The nearest bytes to `weights` / 2**`bits` times the vectors along an axis, halves up.

    A product for each 8 bits of the weights or fewer, from the last: sums of floats are exact up to 2**24, and factors
    of 8 bits in every format. What a sum has above those bits is carried to the next, as in long addition.
    """
    most = int((weights != 0).sum(1).max())
    width = min(8, max(1, 15 - (most - 1).bit_length()))
    carry: Any = float(1 << bits >> 1)
    while bits:
        digit = min(bits, width)
        factors = weights if digit == bits else weights.remainder(1 << digit)
        total = net.add(product_along(net, factors.float(), x, place), carry)
        carry = net.unary(net.mul(total, 0.5**digit), trt.UnaryOperation.FLOOR)
        weights, bits = (weights - factors) / (1 << digit), bits - digit
    carry = net.elementwise(carry, 0, trt.ElementWiseOperation.MAX)
    return net.elementwise(carry, 255, trt.ElementWiseOperation.MIN)


def _by_layer(mode: _Mode, axis: _Axis, align_corners: bool) -> bool:
    """Whether the layer computes what torch does; it has no antialiasing, and takes its steps from the sizes."""
    return (
        mode.layer != ""
        and axis.has_ratio_of_sizes()
        and (mode.layer != "NEAREST" or axis.divides())
        and not (align_corners and is_same(axis.count, 1))
    )


def _resize(net: Network, x: Any, mode: _Mode, axes: Sequence[_Axis], align_corners: bool) -> Any:
    layer = net.add_resize(net.tensor(x))
    layer.resize_mode = getattr(trt.InterpolationMode, mode.layer)
    coordinates = "ALIGN_CORNERS" if align_corners else mode.coordinates
    layer.coordinate_transformation = getattr(trt.ResizeCoordinateTransformation, coordinates)
    layer.nearest_rounding = getattr(trt.ResizeRoundMode, mode.rounding)
    layer.cubic_coeff = -0.75
    shape: Sizes = (*net.shape(x)[:2], *(axis.count for axis in axes))
    if all(map(is_static, shape)):
        layer.shape = tuple(map(int, shape))
    elif all(axis.is_kept() or axis.scale is not None for axis in axes):
        layer.scales = (1.0, 1.0, *(axis.scale or 1.0 for axis in axes))
    else:
        layer.set_input(1, net.size_tensor(shape))
    return net.known(layer.get_output(0), shape)


def _by_computed_weights(net: Network, name: str, x: Any, place: int, axis: _Axis, align_corners: bool) -> Any:
    """One axis of a dynamic size interpolated otherwise than by the layer."""
    mode, each = _MODES[name], (axis.size, axis.count, axis.scale)
    if mode is _NEAREST or mode is _EXACT:
        return net.gather(x, nearest(net, *each, exact=mode is _EXACT), place)
    if mode is not _ANTIALIASED and align_corners:  # to one element
        return net.gather(x, torch.tensor([0]), place)
    if mode is _CUBIC:
        raise UnsupportedArgumentError(
            f"of some of the sizes {axis.size}, {axis.scale} times as many elements aren't as many in float32; make "
            "the dimension static, or give the size"
        )
    if mode is _LINEAR:
        weights = linear_weights(net, *each)
    else:
        weights = antialiased_weights(net, *each, align_corners, cubic=name == "_upsample_bicubic2d_aa")
    return product_along(net, weights, net.cast(x, torch.float32), place)


def _weights(operator: Any, axis: _Axis, spatial: int, align_corners: bool) -> torch.Tensor:
    """[count, size] in float64: what torch's own operator makes of unit vectors along one axis."""
    size, ones = int(axis.size), [1] * (spatial - 1)
    units = torch.eye(size, dtype=torch.float64).reshape(1, size, *ones, size)
    aligned = [align_corners] if any(a.name == "align_corners" for a in operator._schema.arguments) else []
    result = operator(units, [*ones, int(axis.count)], *aligned, *[None] * (spatial - 1), axis.scale)
    return result.reshape(size, int(axis.count)).t()  # type: ignore[no-any-return]  # operators are untyped


_INTERPOLATIONS = ("LINEAR", "NEAREST", "CUBIC")
_BORDERS = ("FILL", "CLAMP", "REFLECT")


@converter(torch.grid_sampler, aten.grid_sampler_2d.default, aten.grid_sampler_3d.default)
def grid_sample(
    net: Network, x: Any, grid: Any, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Any:
    """The values at places given from -1 to 1, in float32: a place in half precision is pixels off."""
    layer = net.add_grid_sample(net.cast(x, torch.float32), net.cast(grid, torch.float32))
    layer.interpolation_mode = getattr(trt.InterpolationMode, _INTERPOLATIONS[interpolation_mode])
    layer.sample_mode = getattr(trt.SampleMode, _BORDERS[padding_mode])
    layer.align_corners = align_corners
    return net.cast(net.known(layer.get_output(0), net.output.shape), net.output.dtype)


@converter(aten.affine_grid_generator.default)
def affine_grid(net: Network, x: Any, size: Sequence[Size], align_corners: bool) -> Any:
    """Each place of an image from -1 to 1, (x, y, 1) or (x, y, z, 1), times matrices [N, 2, 3] or [N, 3, 4]."""
    spatial = size[2:]
    if not all(map(is_static, spatial)):
        raise UnsupportedArgumentError(f"its places depend on the sizes {list(spatial)}, which have to be fixed")
    dims = len(spatial)
    identity = torch.eye(dims, dims + 1)[None]
    places = F.affine_grid(identity, [1, 1, *map(int, spatial)], align_corners).reshape(-1, dims)
    rows = F.pad(places, (0, 1), value=1.0)[None]
    result = net.matmul(rows, net.cast(x, torch.float32), transpose_b=True)
    return net.cast(net.reshape(result, tuple(net.output.shape)), net.output.dtype)


@converter(aten.pixel_shuffle.default)
def pixel_shuffle(net: Network, x: Any, upscale_factor: int) -> Any:
    """[..., C * r * r, H, W] to [..., C, H * r, W * r]"""
    *lead, channels, height, width = net.shape(x)
    n = len(lead)
    blocks = net.reshape(x, (*lead, channels // upscale_factor**2, upscale_factor, upscale_factor, height, width))
    moved = net.permute(blocks, [*range(n + 1), n + 3, n + 1, n + 4, n + 2])
    return net.reshape(moved, tuple(net.output.shape))


@converter(aten.pixel_unshuffle.default)
def pixel_unshuffle(net: Network, x: Any, downscale_factor: int) -> Any:
    """[..., C, H * r, W * r] to [..., C * r * r, H, W]"""
    *lead, channels, height, width = net.shape(x)
    n, r = len(lead), downscale_factor
    blocks = net.reshape(x, (*lead, channels, height // r, r, width // r, r))
    moved = net.permute(blocks, [*range(n + 1), n + 2, n + 4, n + 1, n + 3])
    return net.reshape(moved, tuple(net.output.shape))


@converter(aten.channel_shuffle.default)
def channel_shuffle(net: Network, x: Any, groups: int) -> Any:
    batch, channels, *places = net.shape(x)
    blocks = net.reshape(x, (batch, groups, channels // groups, *places))
    moved = net.permute(blocks, [0, 2, 1, *range(3, 3 + len(places))])
    return net.reshape(moved, tuple(net.output.shape))
