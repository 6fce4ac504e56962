"""GRID_SAMPLE and NMS."""

import torch
import torch.nn.functional as F
from torchvision.ops import batched_nms

from trtconv import tensorrt as trt

from ..case import FLOATS, Case, uniform

MODES = {"LINEAR": "bilinear", "NEAREST": "nearest", "CUBIC": "bicubic"}
BORDERS = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}
TYPE = {True: torch.int64, False: torch.int32}


def grid_sample(mode, border, corners, shape=(2, 3, 5, 6), grid=(2, 4, 3, 2), dtypes=(torch.float32,)):
    def build(net, x, points):
        layer = net.add_grid_sample(x, points)
        layer.interpolation_mode = getattr(trt.InterpolationMode, mode)
        layer.sample_mode = getattr(trt.SampleMode, border)
        layer.align_corners = corners
        return layer

    def expected(x, points):
        return F.grid_sample(x, points, MODES[mode], BORDERS[border], corners)

    return Case(
        f"grid-sample-{mode}-{border}{'-corners' if corners else ''}-{len(shape)}d",
        build,
        expected,
        (uniform(*shape), uniform(*grid, low=-1.4, high=1.4)),
        dtypes,
        steps=4.0,
    )


def nms(name, expected, overlap=None, threshold=None, centers=False, most=3, int64=False):
    def build(net, boxes, scores):
        limit = net.constant(torch.tensor(most, dtype=torch.int32))
        kind = (trt.DataType.INT64,) if int64 else ()
        layer = net.add_nms(boxes, scores, limit, *kind)
        for index, value in ((3, overlap), (4, threshold)):
            if value is not None:
                layer.set_input(index, net.constant(torch.tensor(value)))
        if centers:
            layer.bounding_box_format = trt.BoundingBoxFormat.CENTER_SIZES
        return layer.get_output(0), layer.get_output(1)

    return Case(
        f"nms-{name}",
        build,
        lambda boxes, scores: expected,
        (BOXES_BY_CENTER if centers else BOXES, SCORES),
        (torch.float32,),
        dynamic=False,
        engine=False,
    )


# Boxes 0 and 1 overlap by 9/11, box 2 lies apart, box 3 touches box 2.
BOXES = torch.tensor([[[0.0, 0, 10, 10], [0, 1, 10, 11], [20, 20, 30, 30], [30, 20, 40, 30]]])
BOXES_BY_CENTER = torch.tensor([[[5.0, 5, 10, 10], [5, 6, 10, 10], [25, 25, 10, 10], [35, 25, 10, 10]]])
SCORES = torch.tensor([[[0.9, 0.1], [0.8, 0.7], [0.3, 0.6], [0.2, 0.5]]])


def rows(values, int64=False):
    dtype = torch.int64 if int64 else torch.int32
    return torch.tensor(values, dtype=dtype), torch.tensor(len(values), dtype=torch.int32)


ALL_KEPT = [[0, 0, 0], [0, 1, 1], [0, 1, 2], [0, 1, 3], [0, 0, 2], [0, 0, 3]]


def torchvision_agrees(boxes, scores, overlap):
    """The same selection by torchvision, classes kept apart by its batched form."""
    flat = boxes[0].repeat_interleave(scores.shape[2], 0)
    classes = torch.arange(scores.shape[2]).repeat(boxes.shape[1])
    kept = batched_nms(flat, scores[0].flatten(), classes, overlap)
    return [[0, int(classes[i]), int(i) // scores.shape[2]] for i in kept]


CASES = [
    *(grid_sample(mode, border, corners) for mode in MODES for border in BORDERS for corners in (False, True)),
    grid_sample("LINEAR", "FILL", True, (1, 2, 3, 4, 5), (1, 2, 3, 2, 3)),
    grid_sample("LINEAR", "FILL", False, (1, 2, 3, 4, 5), (1, 2, 3, 2, 3), dtypes=FLOATS),
    nms("half", rows(ALL_KEPT), overlap=0.5),
    nms("default-overlap", rows(torchvision_agrees(BOXES, SCORES, 0.0)), int64=False),
    nms("int64", rows(ALL_KEPT, True), overlap=0.5, int64=True),
    nms("centers", rows(ALL_KEPT), overlap=0.5, centers=True),
    nms("threshold", rows(ALL_KEPT[:3]), overlap=0.5, threshold=0.5),
    nms("few", rows(ALL_KEPT[:2]), overlap=0.5, most=1),
    nms(
        "all-overlaps",
        rows([[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 2], [0, 1, 3], [0, 0, 2]]),
        overlap=1.0,
    ),
]
