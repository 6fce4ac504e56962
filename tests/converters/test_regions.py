import pytest
import torch
from cases import B, case, cases, check
from torch import nn

from trtconv import ConversionError, DataDependentError

ops = pytest.importorskip("torchvision.ops")

ONE = (torch.float32,)
HALF = (torch.float32, torch.float16)  # torchvision has no kernels for bfloat16 on the CPU
IMAGES = (2, 4, 9, 11)


def boxes(numbers, size=18.0):
    """Boxes (x1, y1, x2, y2) around the middle of an image, made of any numbers."""
    corner = numbers[..., :2] * size / 4 + size / 3
    return torch.cat([corner, corner + numbers[..., 2:].abs() * size / 3 + 0.5], -1)


def regions(function, **arguments):
    """The same boxes in each image."""
    return lambda x, b: function(x, [boxes(b)] * x.shape[0], spatial_scale=0.5, **arguments)


@cases(
    case(regions(ops.roi_align, output_size=3, sampling_ratio=2), IMAGES, (5, 4), id="roi_align", dtypes=HALF),
    case(
        regions(ops.roi_align, output_size=(3, 2), sampling_ratio=1, aligned=True),
        (1, 4, 9, 11),
        (B, 4),
        id="roi_align-aligned",
        dtypes=HALF,
    ),
    case(
        lambda x, b: ops.roi_align(x, [boxes(b, 60) - 20], 3, 1.0, 3, aligned=True),
        (1, 2, 9, 11),
        (5, 4),
        id="roi_align-outside",
        dtypes=ONE,
    ),
    case(
        lambda x, b, i: ops.roi_align(x, torch.cat([i.abs().long() % 2, boxes(b)], 1), 2, 0.5, 2),
        IMAGES,
        (B, 4),
        (B, 1),
        id="roi_align-of-images",
        dtypes=ONE,
    ),
    case(lambda x, b: ops.RoIAlign(2, 1.0, 2)(x, [boxes(each) for each in b]), IMAGES, (2, 3, 4), dtypes=ONE),
    case(regions(ops.ps_roi_align, output_size=(3, 2), sampling_ratio=2), (2, 12, 9, 11), (5, 4), id="ps", dtypes=HALF),
)
def test_regions(function, inputs, dtype):
    check(function, inputs, dtype)


def test_regions_in_levels():
    """Each level of a pyramid gives its own regions."""

    def function(x, y, b):
        pool = ops.MultiScaleRoIAlign(["0", "1"], 3, 2, canonical_scale=32, canonical_level=2)
        return pool({"0": x, "1": y}, [boxes(b, 60)], [(64, 64)])

    check(function, ((1, 3, 32, 32), (1, 3, 16, 16), (6, 4)), torch.float32)


@cases(
    case(ops.deform_conv2d, (B, 4, 6, 7), (B, 18, 4, 5), (3, 4, 3, 3), id="deform_conv2d", dtypes=HALF),
    case(
        lambda x, o, w, b, m: ops.deform_conv2d(x, o * 2, w, b, (2, 1), (1, 2), (1, 2), m.sigmoid()),
        (B, 4, 6, 7),
        (B, 24, 3, 9),
        (6, 2, 3, 2),
        (6,),
        (B, 12, 3, 9),
        id="deform_conv2d-all",
        dtypes=ONE,
    ),
    case(ops.DeformConv2d(4, 6, 3, padding=1, groups=2), (B, 4, 6, 7), (B, 18, 6, 7), dtypes=ONE),
)
def test_deform_conv2d(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    *(case(lambda b, f=f: ops.box_convert(boxes(b), "xyxy", f), (B, 4), id=f, dtypes=ONE) for f in ("xywh", "cxcywh")),
    case(lambda b: ops.box_convert(b, "cxcywh", "xyxy"), (B, 4), id="from-cxcywh", dtypes=HALF),
    case(lambda b: ops.box_area(boxes(b)), (B, 4), id="box_area", dtypes=ONE),
    *(
        case(lambda a, b, f=f: f(boxes(a), boxes(b)), (B, 4), (5, 4), dtypes=ONE, id=f.__name__)
        for f in (ops.box_iou, ops.generalized_box_iou, ops.distance_box_iou, ops.complete_box_iou)
    ),
    case(lambda b: ops.clip_boxes_to_image(b * 20, (15, 17)), (B, 4), id="clip_boxes_to_image", dtypes=HALF),
    case(ops.FrozenBatchNorm2d(3), (B, 3, 4, 5)),
    case(nn.Sequential(ops.StochasticDepth(0.5, "row"), nn.ReLU()), (B, 3), id="StochasticDepth", dtypes=ONE),
)
def test_boxes_and_layers(function, inputs, dtype):
    check(function, inputs, dtype)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (regions(ops.roi_align, output_size=3), r"sampling_ratio=-1 the number of samples depends"),
        (regions(ops.ps_roi_align, output_size=1), r"sampling_ratio=-1 the number of samples depends"),
        (regions(ops.roi_pool, output_size=3), r"How many pixels its bins have depends .* use torchvision\.ops"),
        (regions(ops.ps_roi_pool, output_size=1), r"How many pixels its bins have depends .* use torchvision\.ops"),
    ],
)
def test_bins_of_any_number_of_pixels_are_refused(function, words):
    with pytest.raises(ConversionError, match=words):
        check(function, (IMAGES, (5, 4)), torch.float32)


@pytest.mark.parametrize(
    "function",
    [
        lambda b, s: ops.nms(boxes(b), s, 0.5),
        lambda b, s: ops.batched_nms(boxes(b), s, (s > 0).long(), 0.5),
    ],
)
@pytest.mark.filterwarnings("ignore:.create_unbacked_symint. is deprecated")
def test_suppression_is_refused_with_advice(function):
    with pytest.raises(DataDependentError, match=r"call torchvision\.ops\.nms on what the converted module returns"):
        check(function, ((5, 4), (5,)), torch.float32)
