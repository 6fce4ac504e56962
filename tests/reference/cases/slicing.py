"""SLICE and PADDING."""

import torch
import torch.nn.functional as F

from trtconv import tensorrt as trt

from ..case import ALL, FLOATS, Case, uniform

EVERY = (*ALL, torch.bool)
INT64 = torch.int64


def cut(name, shape, start, size, stride, expected, mode="STRICT_BOUNDS", dtypes=EVERY, fill=None):
    def build(net, x):
        layer = net.add_slice(x, start, size, stride)
        layer.mode = getattr(trt.SampleMode, mode)
        if fill is not None:
            layer.set_input(4, net.constant(torch.tensor(fill, dtype=net.dtype)))
        return layer

    return Case(f"slice-{name}", build, expected, (uniform(*shape),), dtypes, dynamic=False)


def line(name, start, size, stride, expected, mode):
    """Of [5, 6, 7, 8], with the answer written out."""
    x = torch.tensor([5.0, 6.0, 7.0, 8.0])

    def build(net, x):
        layer = net.add_slice(x, (start,), (size,), (stride,))
        layer.mode = getattr(trt.SampleMode, mode)
        return layer

    return Case(f"slice-line-{name}", build, lambda x: torch.tensor(expected).to(x.dtype), (x,), dynamic=False)


def by_tensors(net, x):
    layer = net.add_slice(x, (), (), ())
    for index, values in ((1, [1, 0]), (2, [2, 3]), (3, [1, 1]), (5, [0, -1])):
        layer.set_input(index, net.constant(torch.tensor(values, dtype=INT64)))
    return layer


def by_axes(net, x):
    layer = net.add_slice(x, (1,), (2,), (1,))
    layer.axes = (-1,)
    return layer


def padding(name, pre, post, expected):
    def build(net, x):
        return net.add_padding_nd(x, pre, post)

    return Case(f"padding-{name}", build, expected, (uniform(2, 3, 4, 5),), FLOATS)


SHAPE = (3, 4, 5)
CASES = [
    cut("plain", SHAPE, (1, 0, 2), (2, 4, 3), (1, 1, 1), lambda x: x[1:3, :, 2:5]),
    cut("strided", SHAPE, (0, 1, 0), (2, 2, 3), (2, 2, 2), lambda x: x[::2, 1::2, ::2]),
    cut("negative-stride", SHAPE, (2, 0, 4), (3, 4, 3), (-1, 1, -2), lambda x: x.flip(0, 2)[:, :, ::2]),
    cut("repeat", (3, 1, 5), (0, 0, 0), (3, 6, 5), (1, 0, 1), lambda x: x.expand(3, 6, 5)),
    cut("empty", SHAPE, (0, 0, 0), (3, 0, 5), (1, 1, 1), lambda x: x[:, :0]),
    cut(
        "wrap",
        SHAPE,
        (-1, 0, 2),
        (5, 4, 9),
        (1, 1, 1),
        lambda x: x.roll(1, 0).repeat(2, 1, 1)[:5].roll(-2, 2).repeat(1, 1, 2)[:, :, :9],
        "WRAP",
    ),
    cut("fill-zero", SHAPE, (-1, 0, -2), (5, 4, 8), (1, 1, 1), lambda x: F.pad(x, (2, 1, 0, 0, 1, 1)), "FILL"),
    cut(
        "fill-value",
        SHAPE,
        (0, -2, 0),
        (3, 7, 5),
        (1, 1, 1),
        lambda x: F.pad(x, (0, 0, 2, 1), value=2),
        "FILL",
        ALL,
        2,
    ),
    line("fill", -3, 9, 1, [0.0, 0, 0, 5, 6, 7, 8, 0, 0], "FILL"),
    line("fill-strided", -3, 5, 2, [0.0, 0, 6, 8, 0], "FILL"),
    line("fill-backwards", 6, 5, -2, [0.0, 0, 7, 5, 0], "FILL"),
    line("fill-outside", 7, 3, 1, [0.0, 0, 0], "FILL"),
    line("wrap", -3, 9, 1, [6.0, 7, 8, 5, 6, 7, 8, 5, 6], "WRAP"),
    line("wrap-backwards", 1, 4, -1, [6.0, 5, 8, 7], "WRAP"),
    line("clamp", -3, 9, 1, [5.0, 5, 5, 5, 6, 7, 8, 8, 8], "CLAMP"),
    line("reflect", -3, 8, 1, [8.0, 7, 6, 5, 6, 7, 8, 7], "REFLECT"),
    line("reflect-far", -7, 15, 1, [6.0, 5, 6, 7, 8, 7, 6, 5, 6, 7, 8, 7, 6, 5, 6], "REFLECT"),
    Case("slice-tensors", by_tensors, lambda x: x[1:3, :, :3], (uniform(*SHAPE),), EVERY),
    Case("slice-axes", by_axes, lambda x: x[..., 1:3], (uniform(*SHAPE),), EVERY),
    padding("pad", (1, 2), (3, 0), lambda x: F.pad(x, (2, 0, 1, 3))),
    padding("crop", (-1, 2), (0, -1), lambda x: F.pad(x[:, :, 1:, :-1], (2, 0))),
]
