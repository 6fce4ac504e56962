import math

import pytest
import torch
import torch.nn.functional as F
from cases import B, Uniform, case, cases, check, check_sizes
from torch import nn

from trtconv import UnsupportedArgumentError

FLOAT = (torch.float32,)  # where torch has no kernel for half precision on the CPU
X1, X2, X3 = (B, 3, 5), (B, 3, 6, 5), (B, 3, 4, 6, 5)


def to(mode, **arguments):
    return lambda x: F.interpolate(x, mode=mode, **arguments)


def rows(mode, shape):
    """All ways to say the size, for a mode."""
    spatial = len(shape) - 2
    larger, smaller = (9, 15, 10)[:spatial], (2, 3, 4)[:spatial]
    ways = {
        "size": {"size": larger},
        "one-size": {"size": 7},
        "smaller": {"size": smaller},
        "scale-2": {"scale_factor": 2},
        "scale-0.5": {"scale_factor": 0.5},
        "scale-1.7": {"scale_factor": 1.7},
        "scales": {"scale_factor": (3.0, 0.7, 1.0)[:spatial]},
        "recomputed": {"scale_factor": 1.7, "recompute_scale_factor": True},
        "to-1": {"size": 1},
        "same": {"size": shape[2:]},
    }
    if "linear" in mode or "cubic" in mode:
        ways |= {
            "corners": {"size": larger, "align_corners": True},
            "corners-scale": {"scale_factor": 1.7, "align_corners": True},
            "corners-to-1": {"size": 1, "align_corners": True},
        }
    return [param for name, way in ways.items() for param in case(to(mode, **way), shape, id=f"{mode}-{name}")]


@cases(
    rows("nearest", X1),
    rows("nearest", X2),
    rows("nearest-exact", X2),
    rows("linear", X1),
    rows("bilinear", X2),
    rows("bicubic", X2),
    rows("area", X2),
)
def test_interpolate(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(to("nearest", scale_factor=2), X3, id="nearest3d"),
    case(to("nearest-exact", size=7), X1, id="exact1d"),
    case(to("nearest-exact", scale_factor=1.7), X3, id="exact3d"),
    case(to("trilinear", scale_factor=2), X3, id="trilinear"),
    case(to("trilinear", size=(3, 7, 6), align_corners=True), X3, id="trilinear-corners"),
    case(to("trilinear", scale_factor=1.3), X3, id="trilinear-1.3"),
    case(to("area", size=3), X1, id="area1d"),
    case(to("area", scale_factor=0.5), X3, id="area3d"),
    case(to("bilinear", size=(3, 9), antialias=True), X2, id="bilinear-antialias", dtypes=FLOAT),
    case(to("bicubic", scale_factor=0.6, antialias=True), X2, id="bicubic-antialias", dtypes=FLOAT),
    case(nn.Upsample(scale_factor=2), X2, id="Upsample"),
    case(nn.Upsample(size=(9, 9), mode="bilinear", align_corners=True), X2, id="Upsample-bilinear"),
    case(nn.UpsamplingNearest2d(scale_factor=2), X2, id="UpsamplingNearest2d"),
    case(nn.UpsamplingBilinear2d(scale_factor=2), X2, id="UpsamplingBilinear2d"),
    case(lambda x, y: F.interpolate(x, size=y.shape[-2:]), X2, (B, 3, 12, 10), id="size-of-other"),
    case(lambda x: torch.ops.aten.upsample_bilinear2d.default(x, [12, 9], False), X2, id="operator"),
    case(lambda x: torch.ops.aten._upsample_nearest_exact1d.default(x, [9], 1.9), X1, id="operator-scale"),
)
def test_interpolate_more(function, inputs, dtype):
    check(function, inputs, dtype)


SIZES = [(2, 3, 11, 10), (1, 3, 7, 13), (3, 3, 16, 16), (2, 3, 4, 5)]


@pytest.mark.parametrize(
    "function",
    [
        *(to("nearest", **way) for way in ({"size": (7, 9)}, {"scale_factor": 1.5}, {"scale_factor": (2.3, 0.7)})),
        *(to("nearest-exact", **way) for way in ({"size": (7, 9)}, {"scale_factor": (2.3, 0.7)})),
        *(to("bilinear", **way) for way in ({"size": (7, 9)}, {"scale_factor": 0.5}, {"scale_factor": (2.3, 0.7)})),
        to("bilinear", scale_factor=1.7, align_corners=True),
        to("bilinear", scale_factor=1.7, recompute_scale_factor=True),
        to("bicubic", size=(7, 9)),
        to("bicubic", scale_factor=1.5),
        to("bicubic", size=(1, 5), align_corners=True),
        to("bilinear", size=(7, 3), antialias=True),
        to("bilinear", size=(7, 3), antialias=True, align_corners=True),
        to("bicubic", scale_factor=0.4, antialias=True),
        lambda x: F.interpolate(F.max_pool2d(x, 2), x.shape[2:], mode="bilinear"),
        lambda x: F.interpolate(F.max_pool2d(x, 2), x.shape[2:]),
        lambda x: F.interpolate(x, (math.floor(x.shape[2] / 3), math.ceil(x.shape[3] * 0.7)), mode="bilinear"),
    ],
)
def test_dynamic_sizes(function):
    check_sizes(function, *SIZES)


def test_a_scale_that_no_layer_has_is_refused():
    with pytest.raises(UnsupportedArgumentError, match="as many in float32"):  # the layer's 0.7 is less than torch's
        check_sizes(to("bicubic", scale_factor=0.7), (1, 2, 20, 20), (1, 2, 100, 20))


def test_a_size_that_no_formula_of_whole_numbers_gives():
    # 29 of 100 elements are 28 in double precision
    check_sizes(to("bilinear", scale_factor=0.29), (1, 2, 20, 20), (1, 2, 100, 20))


GRID = Uniform((B, 4, 7, 2), -1.3, 1.3)


@cases(
    *(
        case(lambda x, g, a=(mode, border, corners): F.grid_sample(x, g, *a), X2, GRID,
             id=f"{mode}-{border}-{'corners' if corners else 'edges'}")
        for mode in ("bilinear", "nearest", "bicubic")
        for border in ("zeros", "border", "reflection")
        for corners in (False, True)
    ),
    case(F.grid_sample, X3, Uniform((B, 3, 4, 7, 3), -1.3, 1.3), id="3d"),
    case(lambda t: F.affine_grid(t, (t.shape[0], 3, 4, 5)), (B, 2, 3), id="affine_grid"),
    case(lambda t: F.affine_grid(t, (t.shape[0], 3, 4, 5), align_corners=True), (B, 2, 3), id="affine_grid-corners"),
    case(lambda t: F.affine_grid(t, (t.shape[0], 3, 4, 5, 6), align_corners=False), (B, 3, 4), id="affine_grid-3d"),
    case(lambda x, t: F.grid_sample(x, F.affine_grid(t, x.shape)), X2, (B, 2, 3), id="spatial-transformer"),
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Default grid_sample", "ignore:Default affine_grid")
def test_grid(function, inputs, dtype):
    check(function, inputs, dtype)


def sampled(mode, border, corners):
    """An image sampled at a grid of its own numbers."""

    def function(x):
        grid = x.movedim(1, -1)
        return F.grid_sample(x, grid if x.dim() == 5 else grid[..., :2], mode, border, corners)

    return function


def transformed(corners):
    return lambda x: F.grid_sample(x, F.affine_grid(x[:, :2, 0, :3], x.shape, corners), align_corners=corners)


@pytest.mark.parametrize(
    "function",
    [
        sampled("bilinear", "zeros", False),
        sampled("nearest", "border", True),
        sampled("bicubic", "reflection", False),
        transformed(False),
        transformed(True),
    ],
)
def test_grids_of_dynamic_sizes(function):
    check_sizes(function, *SIZES)


def test_volumes_of_dynamic_sizes():
    check_sizes(sampled("bilinear", "border", False), (1, 3, 4, 5, 6), (2, 3, 5, 3, 8))


@cases(
    case(nn.PixelShuffle(2), (B, 8, 3, 5)),
    case(nn.PixelShuffle(3), (9, 2, 2), id="PixelShuffle-unbatched"),
    case(lambda x: F.pixel_shuffle(x, 2), (B, 3, 4, 2, 5), id="pixel_shuffle-5d"),
    case(nn.PixelUnshuffle(2), (B, 3, 6, 4)),
    case(nn.PixelUnshuffle(3), (2, 6, 3), id="PixelUnshuffle-unbatched"),
    case(lambda x: F.pixel_unshuffle(x, 2), (B, 3, 4, 2, 6), id="pixel_unshuffle-5d"),
    case(nn.ChannelShuffle(2), (B, 6, 4, 5)),
    case(nn.ChannelShuffle(3), (B, 6, 4), id="ChannelShuffle-3d"),
)
def test_shuffle(function, inputs, dtype):
    check(function, inputs, dtype)


def test_shuffles_of_dynamic_sizes():
    check_sizes(lambda x: F.pixel_shuffle(F.pixel_unshuffle(x, 2) * 2, 2), (2, 3, 6, 4), (1, 3, 2, 8))
    check_sizes(nn.ChannelShuffle(2), (2, 4, 6, 4), (1, 4, 3, 8))
