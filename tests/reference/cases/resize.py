"""RESIZE and GRID_SAMPLE."""

import math

import numpy
import torch
import torch.nn.functional as F

from trtconv import tensorrt as trt

from ..case import FLOATS, Case, uniform

ENUMS = {
    "resize_mode": "InterpolationMode",
    "coordinate_transformation": "ResizeCoordinateTransformation",
    "nearest_rounding": "ResizeRoundMode",
    "selector_for_single_pixel": "ResizeSelector",
}


def resize(name, shape, target, expected, dtypes=(torch.float32,), **options):
    """``target`` is a shape, or scales where it has floats."""

    def build(net, x):
        layer = net.add_resize(x)
        if any(isinstance(size, float) for size in target):
            layer.scales = list(target)
        else:
            layer.shape = target
        for option, value in options.items():
            setattr(layer, option, getattr(getattr(trt, ENUMS[option]), value) if option in ENUMS else value)
        return layer

    return Case(f"resize-{name}", build, expected, (uniform(*shape),), dtypes, dynamic=False, steps=4.0)


def resize_by_tensor(net, x):
    layer = net.add_resize(x)
    layer.set_input(1, net.constant(torch.tensor([2, 3, 8, 10], dtype=torch.int32)))
    return layer


def interpolate(mode, size=None, **options):
    return lambda x: F.interpolate(x, size, mode=mode, **options)


def one_dimension(values, target, position, weights_of):
    """The documented formula along the last dimension, element by element."""
    size = values.shape[-1]
    result = numpy.zeros((*values.shape[:-1], target))
    for i in range(target):
        for index, weight in weights_of(position(i, size, target), size):
            result[..., i] += weight * values[..., min(max(index, 0), size - 1)]
    return result


def asymmetric(i, size, target):
    return i * size / target


def half_pixel(i, size, target):
    return (i + 0.5) * size / target - 0.5


def align_corners(i, size, target):
    return i * (size - 1) / (target - 1)


def scaled(transformation, scale):
    """Where elements lie when scales are given: those of corners keep to the sizes."""
    if transformation == "ALIGN_CORNERS":
        return align_corners
    return lambda i, size, target: TRANSFORMATIONS[transformation](i, 1, scale)


ROUNDINGS = {
    "HALF_UP": lambda x: math.floor(x + 0.5),
    "HALF_DOWN": lambda x: math.ceil(x - 0.5),
    "FLOOR": math.floor,
    "CEIL": math.ceil,
}


def nearest(position, rounding):
    def expected(x):
        for _ in range(2):
            x = torch.from_numpy(
                one_dimension(x.numpy(), 7, position, lambda at, size: [(ROUNDINGS[rounding](at), 1.0)])
            ).mT
        return x

    return expected


def linear(position, target=7):
    def taps(at, size):
        low = math.floor(at)
        return [(low, 1 - (at - low)), (low + 1, at - low)]

    def expected(x):
        for _ in range(2):
            x = torch.from_numpy(one_dimension(x.numpy(), target, position, taps)).mT
        return x

    return expected


def cubic(position, target=7, a=-0.75, exclude=False):
    def kernel(t):
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    def taps(at, size):
        low = math.floor(at)
        pairs = [(low + k, kernel(at - (low + k))) for k in (-1, 0, 1, 2)]
        if exclude:
            pairs = [(index, weight) for index, weight in pairs if 0 <= index < size]
            total = sum(weight for _, weight in pairs)
            pairs = [(index, weight / total) for index, weight in pairs]
        return pairs

    def expected(x):
        for _ in range(2):
            x = torch.from_numpy(one_dimension(x.numpy(), target, position, taps)).mT
        return x

    return expected


TRANSFORMATIONS = {"ASYMMETRIC": asymmetric, "HALF_PIXEL": half_pixel, "ALIGN_CORNERS": align_corners}
SHAPE = (2, 3, 4, 5)
SQUARE = (1, 2, 5, 5)
CASES = [
    resize("nearest", SHAPE, (2, 3, 8, 10), interpolate("nearest", (8, 10)), FLOATS),
    resize("nearest-down", SHAPE, (2, 3, 3, 3), interpolate("nearest", (3, 3))),
    resize("scales", SHAPE, (1.0, 1.0, 2.0, 1.5), interpolate("nearest", (8, 7))),
    resize(
        "nearest-exact",
        SHAPE,
        (2, 3, 7, 3),
        interpolate("nearest-exact", (7, 3)),
        coordinate_transformation="HALF_PIXEL",
        nearest_rounding="HALF_UP",
    ),
    resize(
        "bilinear",
        SHAPE,
        (2, 3, 7, 9),
        interpolate("bilinear", (7, 9), align_corners=False),
        FLOATS,
        resize_mode="LINEAR",
        coordinate_transformation="HALF_PIXEL",
    ),
    resize(
        "bilinear-align",
        SHAPE,
        (2, 3, 7, 9),
        interpolate("bilinear", (7, 9), align_corners=True),
        resize_mode="LINEAR",
        coordinate_transformation="ALIGN_CORNERS",
    ),
    resize(
        "trilinear",
        (1, 2, 3, 4, 5),
        (1, 2, 5, 6, 7),
        interpolate("trilinear", (5, 6, 7), align_corners=False),
        resize_mode="LINEAR",
        coordinate_transformation="HALF_PIXEL",
    ),
    resize(
        "scale-with-remainder",
        (1, 2, 3, 5),
        (1.0, 1.0, 1.0, 1.5),
        lambda x: F.interpolate(x, scale_factor=(1.0, 1.5), mode="bilinear", recompute_scale_factor=False),
        resize_mode="LINEAR",
        coordinate_transformation="HALF_PIXEL",
    ),
    resize(
        "bicubic",
        SHAPE,
        (2, 3, 7, 9),
        interpolate("bicubic", (7, 9), align_corners=False),
        resize_mode="CUBIC",
        coordinate_transformation="HALF_PIXEL",
    ),
    resize(
        "bicubic-down",
        (1, 2, 9, 8),
        (1, 2, 4, 5),
        interpolate("bicubic", (4, 5), align_corners=True),
        resize_mode="CUBIC",
        coordinate_transformation="ALIGN_CORNERS",
    ),
    resize(
        "single-pixel-formula",
        SHAPE,
        (2, 3, 1, 1),
        lambda x: x[..., 1:3, 2:3].mean((2, 3), True),
        resize_mode="LINEAR",
        coordinate_transformation="HALF_PIXEL",
    ),
    resize(
        "single-pixel-upper",
        SHAPE,
        (2, 3, 1, 1),
        lambda x: x[..., :1, :1],
        resize_mode="LINEAR",
        coordinate_transformation="HALF_PIXEL",
        selector_for_single_pixel="UPPER",
    ),
    Case("resize-tensor", resize_by_tensor, interpolate("nearest", (8, 10)), (uniform(*SHAPE),)),
    *(
        resize(
            f"nearest-{transformation}-{rounding}",
            SQUARE,
            (1, 2, 7, 7),
            nearest(position, rounding),
            coordinate_transformation=transformation,
            nearest_rounding=rounding,
        )
        for transformation, position in TRANSFORMATIONS.items()
        for rounding in ROUNDINGS
    ),
    *(
        resize(
            f"{mode}-{transformation}",
            SQUARE,
            (1, 2, 7, 7),
            rule(position),
            resize_mode=mode,
            coordinate_transformation=transformation,
        )
        for transformation, position in TRANSFORMATIONS.items()
        for mode, rule in (("LINEAR", linear), ("CUBIC", cubic))
    ),
    *(
        resize(
            f"{mode}-{transformation}-scales-{name}",
            SQUARE,
            (1.0, 1.0, scale, scale),
            rule(scaled(transformation, scale), math.floor(5 * scale)),
            resize_mode=mode,
            coordinate_transformation=transformation,
        )
        for transformation in TRANSFORMATIONS
        for mode, rule in (("LINEAR", linear), ("CUBIC", cubic))
        for name, scale in (("up", 1.5), ("down", 0.7))
    ),
    resize(
        "cubic-coefficient",
        SQUARE,
        (1, 2, 7, 7),
        cubic(half_pixel, a=-0.5),
        resize_mode="CUBIC",
        coordinate_transformation="HALF_PIXEL",
        cubic_coeff=-0.5,
    ),
    resize(
        "cubic-exclude-outside",
        SQUARE,
        (1, 2, 7, 7),
        cubic(half_pixel, exclude=True),
        resize_mode="CUBIC",
        coordinate_transformation="HALF_PIXEL",
        exclude_outside=True,
    ),
]
