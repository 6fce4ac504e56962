"""CONVOLUTION, DECONVOLUTION and POOLING."""

import torch
import torch.nn.functional as F

from trtconv import tensorrt as trt

from ..case import FLOATS, Case, uniform


def weights(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.rand(shape, generator=generator) - 0.5


def grid(values):
    """Multiples of 1/64, which every float type holds exactly."""
    return torch.round(values * 64) / 64


def settings(layer, options):
    for name, value in options.items():
        setattr(layer, name, getattr(trt.PaddingMode, value) if name == "padding_mode" else value)


def convolution(name, shape, kernel, expected, bias=True, groups=1, dtypes=(torch.float32,), **options):
    """``expected(x, w, b)`` with w [K, C/groups, *kernel]."""
    maps, _, *size = kernel
    w, b = grid(weights(*kernel)), grid(weights(maps)) if bias else None

    def build(net, x):
        layer = net.add_convolution_nd(
            x, maps, tuple(size), net.weights(w), net.empty() if b is None else net.weights(b)
        )
        layer.num_groups = groups
        settings(layer, options)
        return layer

    def of(x):
        return expected(x, *rounded(x, w, b))

    return Case(f"convolution-{name}", build, of, (uniform(*shape),), dtypes)


def rounded(x, *values):
    """Weights in the precision of the expected value."""
    return [None if value is None else value.to(x.dtype) for value in values]


def deconvolution(name, shape, kernel, expected, bias=True, groups=1, dtypes=FLOATS[:2], **options):
    """``expected(x, w, b)`` with w [C, K/groups, *kernel]."""
    _, maps, *size = kernel
    w, b = grid(weights(*kernel)), grid(weights(maps * groups)) if bias else None

    def build(net, x):
        layer = net.add_deconvolution_nd(
            x, maps * groups, tuple(size), net.weights(w), net.empty() if b is None else net.weights(b)
        )
        layer.num_groups = groups
        settings(layer, options)
        return layer

    return Case(f"deconvolution-{name}", build, lambda x: expected(x, *rounded(x, w, b)), (uniform(*shape),), dtypes)


def kernel_input(name, kind):
    """Kernel and bias given as inputs of the layer."""

    def build(net, x, w, b):
        add = getattr(net, f"add_{kind}_nd")
        layer = add(x, 4, (3, 3), net.empty(), net.empty())
        layer.set_input(1, w)
        layer.set_input(2, b)
        return layer

    function = F.conv2d if kind == "convolution" else F.conv_transpose2d
    shape = (4, 2, 3, 3) if kind == "convolution" else (2, 4, 3, 3)
    return Case(f"{kind}-{name}", build, function, (uniform(2, 2, 7, 6), uniform(*shape), uniform(4)), dynamic=False)


def pooling(name, kind, shape, window, expected, dtypes=(torch.float32,), **options):
    def build(net, x):
        layer = net.add_pooling_nd(x, getattr(trt.PoolingType, kind), window)
        settings(layer, options)
        return layer

    return Case(f"pooling-{name}", build, expected, (uniform(*shape),), dtypes)


def pad(x, before, after, value=0.0):
    return F.pad(x, (before, after, before, after), value=value)


def folded(x, w, b):
    return F.conv2d(x.flatten(0, 1), w, b).unflatten(0, x.shape[:2])


SHAPE = (2, 4, 9, 8)
CASES = [
    convolution("3x3", SHAPE, (6, 4, 3, 3), F.conv2d, dtypes=FLOATS),
    convolution("no-bias", SHAPE, (6, 4, 3, 3), F.conv2d, bias=False),
    convolution(
        "strided",
        SHAPE,
        (6, 4, 3, 2),
        lambda x, w, b: F.conv2d(x, w, b, (2, 3), (1, 1)),
        stride_nd=(2, 3),
        pre_padding=(1, 1),
        post_padding=(1, 1),
    ),
    convolution(
        "dilated",
        SHAPE,
        (6, 4, 3, 3),
        lambda x, w, b: F.conv2d(x, w, b, 1, 2, 2),
        dilation_nd=(2, 2),
        padding_nd=(2, 2),
    ),
    convolution("grouped", SHAPE, (6, 2, 3, 3), lambda x, w, b: F.conv2d(x, w, b, groups=2), groups=2),
    convolution("depthwise", SHAPE, (4, 1, 3, 3), lambda x, w, b: F.conv2d(x, w, b, groups=4), groups=4),
    convolution(
        "asymmetric",
        SHAPE,
        (3, 4, 3, 3),
        lambda x, w, b: F.conv2d(F.pad(x, (2, 1, 0, 3)), w, b),
        pre_padding=(0, 2),
        post_padding=(3, 1),
    ),
    convolution(
        "round-up",
        (2, 4, 8, 8),
        (3, 4, 3, 3),
        lambda x, w, b: F.conv2d(F.pad(x, (0, 1, 0, 1)), w, b, 2),
        stride_nd=(2, 2),
        padding_mode="EXPLICIT_ROUND_UP",
    ),
    convolution(
        "same-upper",
        (2, 4, 8, 8),
        (3, 4, 4, 4),
        lambda x, w, b: F.conv2d(pad(x, 1, 2), w, b),
        padding_mode="SAME_UPPER",
    ),
    convolution(
        "same-lower-strided",
        (2, 4, 8, 8),
        (3, 4, 3, 3),
        lambda x, w, b: F.conv2d(pad(x, 1, 0), w, b, 2),
        stride_nd=(2, 2),
        padding_mode="SAME_LOWER",
    ),
    convolution("3d", (2, 3, 5, 6, 4), (4, 3, 2, 3, 2), F.conv3d, dtypes=FLOATS),
    convolution("5d-input-2d-kernel", (2, 3, 4, 6, 5), (2, 4, 3, 3), folded),
    kernel_input("kernel-input", "convolution"),
    deconvolution("3x3", SHAPE, (4, 5, 3, 3), F.conv_transpose2d),
    deconvolution("no-bias", SHAPE, (4, 5, 3, 3), F.conv_transpose2d, bias=False),
    deconvolution(
        "strided",
        SHAPE,
        (4, 5, 3, 3),
        lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1),
        stride_nd=(2, 2),
        padding_nd=(1, 1),
    ),
    deconvolution(
        "output-padding",
        SHAPE,
        (4, 5, 3, 3),
        lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1),
        stride_nd=(2, 2),
        pre_padding=(1, 1),
        post_padding=(0, 0),
    ),
    deconvolution("grouped", SHAPE, (4, 3, 3, 3), lambda x, w, b: F.conv_transpose2d(x, w, b, groups=2), groups=2),
    deconvolution(
        "dilated",
        SHAPE,
        (4, 3, 3, 3),
        lambda x, w, b: F.conv_transpose2d(x, w, b, dilation=2),
        dilation_nd=(2, 2),
    ),
    deconvolution(
        "same-upper",
        SHAPE,
        (4, 5, 4, 4),
        lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1),
        stride_nd=(2, 2),
        padding_mode="SAME_UPPER",
    ),
    deconvolution(
        "same-lower",
        SHAPE,
        (4, 5, 3, 3),
        lambda x, w, b: F.conv_transpose2d(x, w, b, 2)[..., 1:, 1:],
        stride_nd=(2, 2),
        padding_mode="SAME_LOWER",
    ),
    deconvolution("3d", (2, 3, 4, 5, 3), (3, 2, 2, 3, 2), F.conv_transpose3d),
    kernel_input("kernel-input", "deconvolution"),
    pooling("max", "MAX", SHAPE, (3, 2), lambda x: F.max_pool2d(x, (3, 2), 1), FLOATS),
    pooling(
        "max-padded",
        "MAX",
        SHAPE,
        (3, 3),
        lambda x: F.max_pool2d(x, 3, 2, 1),
        stride_nd=(2, 2),
        padding_nd=(1, 1),
    ),
    pooling(
        "max-asymmetric",
        "MAX",
        SHAPE,
        (3, 3),
        lambda x: F.max_pool2d(pad(x, 0, 2, -torch.inf), 3, 1),
        post_padding=(2, 2),
    ),
    pooling(
        "max-round-up",
        "MAX",
        (1, 2, 8, 8),
        (3, 3),
        lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
        stride_nd=(2, 2),
        padding_mode="EXPLICIT_ROUND_UP",
    ),
    pooling("max-3d", "MAX", (2, 3, 5, 6, 4), (2, 3, 2), lambda x: F.max_pool3d(x, (2, 3, 2), 1)),
    pooling("average", "AVERAGE", SHAPE, (3, 2), lambda x: F.avg_pool2d(x, (3, 2), 1), FLOATS),
    pooling(
        "average-excluding",
        "AVERAGE",
        SHAPE,
        (3, 3),
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        stride_nd=(2, 2),
        padding_nd=(1, 1),
    ),
    pooling(
        "average-including",
        "AVERAGE",
        SHAPE,
        (3, 3),
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        stride_nd=(2, 2),
        padding_nd=(1, 1),
        average_count_excludes_padding=False,
    ),
    pooling(
        "average-round-up",
        "AVERAGE",
        (1, 2, 8, 8),
        (3, 3),
        lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
        stride_nd=(2, 2),
        padding_mode="EXPLICIT_ROUND_UP",
    ),
    pooling(
        "average-same",
        "AVERAGE",
        (1, 2, 8, 8),
        (3, 3),
        lambda x: F.avg_pool2d(pad(x, 0, 1), 3, 2) / F.avg_pool2d(pad(torch.ones_like(x), 0, 1), 3, 2),
        stride_nd=(2, 2),
        padding_mode="SAME_UPPER",
    ),
    pooling(
        "max-outside",
        "MAX",
        (1, 2, 5, 5),
        (2, 2),
        lambda x: F.max_pool2d(pad(x, 1, 2, -torch.inf), 2),
        stride_nd=(2, 2),
        padding_nd=(1, 1),
        padding_mode="EXPLICIT_ROUND_UP",
    ),
    pooling(
        "average-including-outside",
        "AVERAGE",
        (1, 2, 5, 5),
        (2, 2),
        # The last window covers one element of padding and one beyond it, which does not count.
        lambda x: (
            F.avg_pool2d(pad(x, 1, 2), 2) * torch.tensor([1.0, 1, 1, 2]).outer(torch.tensor([1.0, 1, 1, 2])).to(x.dtype)
        ),
        stride_nd=(2, 2),
        padding_nd=(1, 1),
        padding_mode="EXPLICIT_ROUND_UP",
        average_count_excludes_padding=False,
    ),
    pooling("average-3d", "AVERAGE", (2, 3, 5, 6, 4), (2, 3, 2), lambda x: F.avg_pool3d(x, (2, 3, 2), 1)),
    pooling(
        "blend",
        "MAX_AVERAGE_BLEND",
        SHAPE,
        (2, 2),
        lambda x: 0.75 * F.max_pool2d(x, 2, 1) + 0.25 * F.avg_pool2d(x, 2, 1),
        blend_factor=0.25,
    ),
]
