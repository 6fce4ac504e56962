"""GATHER, NON_ZERO, ONE_HOT and SCATTER."""

import numpy
import torch

from trtconv import tensorrt as trt

from ..case import ALL, Case, uniform

EVERY = (*ALL, torch.bool)
INT32, INT64 = torch.int32, torch.int64


def ints(values, dtype=INT32):
    return torch.tensor(values, dtype=dtype)


def gather(name, shape, indices, expected, mode="DEFAULT", axis=0, batch=0, dtypes=EVERY, dynamic=False):
    def build(net, x, where):
        layer = net.add_gather_v2(x, where, getattr(trt.GatherMode, mode))
        layer.axis = axis
        layer.num_elementwise_dims = batch
        return layer

    return Case(f"gather-{name}", build, expected, (uniform(*shape), indices), dtypes, dynamic)


def places(x, rule):
    """Elements at the flat positions that a NumPy rule picks from an array of them."""
    positions = rule(numpy.arange(x.numel()).reshape(x.shape))
    return x.flatten()[torch.from_numpy(numpy.asarray(positions))]


def take(axis):
    return lambda x, i: places(x, lambda flat: numpy.take(flat, i.numpy(), axis))


def along(axis):
    return lambda x, i: places(x, lambda flat: numpy.take_along_axis(flat, i.numpy().astype(int), axis))


def zero_outside(x, i):
    return torch.stack([x[1], torch.zeros_like(x[0]), x[2]])


def take_batched(x, i):
    return torch.stack([x[b][:, i[b].long()] for b in range(x.shape[0])])


def scatter(name, shape, indices, updates, expected, mode="ELEMENT", axis=0, dtypes=EVERY):
    def build(net, x, where, values):
        layer = net.add_scatter(x, where, values, getattr(trt.ScatterMode, mode))
        layer.axis = axis
        return layer

    return Case(f"scatter-{name}", build, expected, (uniform(*shape), indices, uniform(*updates)), dtypes, False)


def set_pairs(x, i, u):
    y = x.clone()
    for k, (a, b) in enumerate(i.tolist()):
        y[a, b] = u[k]
    return y


def set_rows(x, i, u):
    y = x.clone()
    for k, (a,) in enumerate(i.tolist()):
        y[a] = u[k]
    return y


def one_hot(name, indices, axis, expected, dtypes=(torch.float32, torch.float16, *EVERY[3:])):
    def build(net, where, values):
        return net.add_one_hot(where, values, net.constant(ints(4)), axis)

    return [
        Case(
            f"one-hot-{name}-{str(dtype)[6:]}",
            build,
            lambda where, values: torch.where(expected(where.long()), values[1], values[0]),
            (indices, torch.tensor([0, 1] if dtype == torch.bool else [2, 7], dtype=dtype)),
            (dtype,),
            dynamic=False,
        )
        for dtype in dtypes
    ]


def hot(where):
    return torch.nn.functional.one_hot(where, 4).bool()


I2 = ints([[0, 2], [1, 1], [2, 0]])
CASES = [
    gather("rows", (4, 3), ints([3, 0, 0]), take(0)),
    gather("columns", (2, 4, 3), ints([[3, 0], [1, 1]]), take(1), axis=1),
    gather("scalar", (4, 3), ints(2), take(0)),
    gather("int64", (4, 3), ints([3, 1], INT64), take(0), dtypes=(torch.float32,)),
    gather("negative", (4, 3), ints([-1, -4]), take(0), dtypes=(torch.float32,)),
    gather("out-of-bounds", (4, 3), ints([1, 9, 2]), zero_outside, dtypes=(torch.float32, INT32)),
    gather("batched", (2, 3, 4), ints([[3, 0, 1], [1, 1, 2]]), take_batched, axis=2, batch=1),
    gather("element", (3, 4), ints([[0, 3], [1, 1], [2, 0]]), along(1), "ELEMENT", 1),
    gather("element-rows", (3, 4), ints([[0, 2, 1, 1]]), along(0), "ELEMENT"),
    gather("nd", (3, 4, 2), ints([[0, 3], [2, 1]]), lambda x, i: torch.stack([x[0, 3], x[2, 1]]), "ND"),
    gather("nd-full", (3, 4), ints([[0, 3], [2, 1]]), lambda x, i: torch.stack([x[0, 3], x[2, 1]]), "ND"),
    gather(
        "nd-batched",
        (2, 3, 4),
        ints([[[1, 3]], [[2, 0]]]),
        lambda x, i: torch.stack([x[0, 1, 3], x[1, 2, 0]])[:, None],
        "ND",
        batch=1,
    ),
    scatter(
        "element",
        (3, 4),
        ints([[0, 1], [2, 2], [1, 0]])[:, :1],
        (3, 1),
        lambda x, i, u: x.scatter(1, i.long(), u),
        axis=1,
    ),
    scatter("element-rows", (3, 4), ints([[2, 0, 1, 1]]), (1, 4), lambda x, i, u: x.scatter(0, i.long(), u)),
    scatter("nd", (3, 4, 2), I2, (3, 2), set_pairs, "ND"),
    scatter("nd-rows", (3, 4), ints([[2], [0]]), (2, 4), set_rows, "ND"),
    *one_hot("last", ints([[0, 3, 1], [2, 2, 0]]), -1, hot),
    *one_hot("first", ints([0, 3, 1], INT64), 0, lambda i: hot(i).T, dtypes=(torch.float32,)),
    *one_hot("middle", ints([[0, 3, 1], [2, 2, 0]]), 1, lambda i: hot(i).transpose(1, 2), dtypes=(torch.float32,)),
    Case(
        "non-zero",
        lambda net, x: net.add_non_zero(x),
        lambda x: torch.nonzero(x).T.int(),
        (torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, -3.0]]),),
        engine=False,
    ),
    Case(
        "non-zero-int64",
        lambda net, x: net.add_non_zero(x, trt.DataType.INT64),
        lambda x: torch.tensor([[0, 2]]),
        (torch.tensor([True, False, True]),),
        (torch.bool,),
        engine=False,
    ),
]
