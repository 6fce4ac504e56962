"""NORMALIZATION and LRN."""

import torch
import torch.nn.functional as F

from ..case import FLOATS, Case, uniform


def normalization(name, shape, scale_shape, axes, expected, groups=1, version=2, epsilon=None, dtypes=FLOATS):
    def build(net, x, scale, bias):
        add = net.add_normalization_v2 if version == 2 else net.add_normalization
        layer = add(x, scale, bias, sum(1 << axis for axis in axes))
        layer.num_groups = groups
        if epsilon is not None:
            layer.epsilon = epsilon
        return layer

    inputs = (uniform(*shape), uniform(*scale_shape, low=0.5), uniform(*scale_shape))
    # Normalized values are rounded to the type before they are scaled, which torch does not do.
    return Case(f"normalization-{name}", build, expected, inputs, dtypes, steps=3.0, dynamic=groups == 1)


def layer(x, scale, bias):
    return F.layer_norm(x, x.shape[-1:], scale.flatten(), bias.flatten(), 1e-5)


def instance(x, scale, bias):
    return F.instance_norm(x, weight=scale.flatten(), bias=bias.flatten(), eps=1e-3)


def group(x, scale, bias):
    return F.group_norm(x, 2, scale.flatten(), bias.flatten())


def scaled_groups(x, scale, bias):
    return F.group_norm(x, 2, scale.flatten().repeat_interleave(3), bias.flatten().repeat_interleave(3))


def over_batch(x, scale, bias):
    mean, variance = x.mean((0, 2, 3), True), x.var((0, 2, 3), correction=0, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * scale + bias


IMAGE = (2, 6, 5, 4)
CHANNELS = (1, 6, 1, 1)
CASES = [
    normalization("layer", (2, 5, 8), (1, 1, 8), (2,), layer),
    normalization("layer-v1", (2, 5, 8), (1, 1, 8), (2,), layer, version=1),
    normalization("instance", IMAGE, CHANNELS, (2, 3), instance, epsilon=1e-3),
    normalization("batch", IMAGE, CHANNELS, (0, 2, 3), over_batch),
    normalization("group", IMAGE, CHANNELS, (2, 3), group, groups=2),
    normalization("group-v1", IMAGE, (1, 2, 1, 1), (2, 3), scaled_groups, groups=2, version=1),
    Case(
        "lrn",
        lambda net, x: net.add_lrn(x, 3, 0.5, 0.75, 2.0),
        lambda x: F.local_response_norm(x, 3, 0.5, 0.75, 2.0),
        (uniform(*IMAGE),),
        FLOATS,
    ),
    Case(
        "lrn-5",
        lambda net, x: net.add_lrn(x, 5, 1e-2, 0.5, 1.0),
        lambda x: F.local_response_norm(x, 5, 1e-2, 0.5, 1.0),
        (uniform(1, 7, 3, 3),),
    ),
]
