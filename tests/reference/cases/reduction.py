"""CUMULATIVE, RAGGED_SOFTMAX, REDUCE, SOFTMAX and TOPK."""

import math

import torch

from trtconv import tensorrt as trt

from ..case import ALL, FLOATS, INTS, Case, uniform

SHAPE = (2, 3, 4, 5)


def mask(*axes):
    return sum(1 << axis for axis in axes)


def reduce(kind, expected, axes=(1,), keep=False, dtypes=ALL, low=-3.0, high=3.0, name=""):
    def build(net, x):
        return net.add_reduce(x, getattr(trt.ReduceOperation, kind), mask(*axes), keep)

    return Case(f"reduce-{kind}{name}", build, expected, (uniform(*SHAPE, low=low, high=high),), dtypes, steps=2.0)


def softmax(name, shape, expected, axes=None, dtypes=(torch.float32,)):
    def build(net, x):
        layer = net.add_softmax(x)
        if axes is not None:
            layer.axes = mask(*axes)
        return layer

    return Case(f"softmax-{name}", build, expected, (uniform(*shape),), dtypes)


def topk(name, kind, axis, k, expected, shape=(3, 4, 7), dtypes=ALL, indices=None):
    def build(net, x):
        extra = () if indices is None else (getattr(trt.DataType, indices),)
        layer = net.add_topk(x, getattr(trt.TopKOperation, kind), k, mask(axis), *extra)
        return layer.get_output(0), layer.get_output(1)

    # All values different, so that the order is determined.
    generator = torch.Generator().manual_seed(k)
    values = torch.randperm(math.prod(shape), generator=generator).reshape(shape)

    def build_cast(net, x):
        return build(net, x)

    return [
        Case(f"topk-{name}-{str(dtype)[6:]}", build_cast, expected, (values.to(dtype),), (dtype,)) for dtype in dtypes
    ]


def top(k, axis, largest=True, dtype=torch.int32):
    def expected(x):
        values, indices = torch.topk(x, k, axis, largest)
        return values, indices.to(dtype)

    return expected


def topk_from_tensor(net, x):
    layer = net.add_topk(x, trt.TopKOperation.MAX, 1, mask(1))
    layer.set_input(1, net.constant(torch.tensor(2, dtype=torch.int32)))
    return layer.get_output(0), layer.get_output(1)


def cumulative(name, axis, expected, exclusive=False, reverse=False, dtypes=ALL):
    def build(net, x):
        where = net.constant(torch.tensor(axis, dtype=torch.int32))
        return net.add_cumulative(x, where, trt.CumulativeOperation.SUM, exclusive, reverse)

    return Case(f"cumulative-{name}", build, expected, (uniform(2, 5, 3),), dtypes, steps=2.0)


def ragged(x, bounds):
    y = torch.zeros_like(x)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            n = int(bounds[i, j, 0])
            y[i, j, :n] = torch.softmax(x[i, j, :n], 0)
    return y


def truncated_mean(x):
    if x.is_floating_point():
        return x.mean(1)
    return (
        torch.tensor([math.trunc(v / x.shape[1]) for v in x.sum(1).flatten().tolist()])
        .reshape(x[:, 0].shape)
        .to(x.dtype)
    )


CASES = [
    reduce("SUM", lambda x: x.sum(1, dtype=x.dtype)),
    reduce("SUM", lambda x: x.sum((0, 3), keepdim=True, dtype=x.dtype), (0, 3), True, name="-keep"),
    reduce("SUM", lambda x: x.sum(dtype=x.dtype), (0, 1, 2, 3), name="-all"),
    reduce("PROD", lambda x: x.prod(1, dtype=x.dtype)),
    reduce("PROD", lambda x: x.prod(3, dtype=x.dtype).prod(1, dtype=x.dtype), (1, 3), name="-two"),
    reduce("MAX", lambda x: x.amax((1, 2)), (1, 2)),
    reduce("MIN", lambda x: x.amin((1, 2), keepdim=True), (1, 2), True),
    reduce("AVG", truncated_mean, low=-9, high=4),
    reduce("AVG", lambda x: x.mean((2, 3), keepdim=True), (2, 3), True, FLOATS, name="-pool"),
    softmax("default-4d", SHAPE, lambda x: torch.softmax(x, 1)),
    softmax("default-2d", (3, 5), lambda x: torch.softmax(x, 0)),
    softmax("last", SHAPE, lambda x: torch.softmax(x, 3), (3,), FLOATS),
    *topk("max", "MAX", 2, 3, top(3, 2)),
    *topk("min", "MIN", 1, 2, top(2, 1, False), dtypes=FLOATS[:1]),
    *topk("int64", "MAX", 2, 7, top(7, 2, dtype=torch.int64), dtypes=FLOATS[:1], indices="INT64"),
    Case("topk-k-tensor", topk_from_tensor, top(2, 1), (torch.randperm(15).reshape(3, 5).float(),)),
    cumulative("sum", 1, lambda x: x.cumsum(1, dtype=x.dtype)),
    cumulative("exclusive", 1, lambda x: x.cumsum(1, dtype=x.dtype) - x, True),
    cumulative("reverse", 1, lambda x: x.flip(1).cumsum(1, dtype=x.dtype).flip(1), reverse=True),
    cumulative(
        "exclusive-reverse",
        2,
        lambda x: x.flip(2).cumsum(2, dtype=x.dtype).flip(2) - x,
        True,
        True,
        (torch.float32, *INTS),
    ),
    Case(
        "ragged-softmax",
        lambda net, x, bounds: net.add_ragged_softmax(x, bounds),
        ragged,
        (uniform(2, 3, 5), torch.tensor([[[5], [1], [3]], [[2], [4], [5]]], dtype=torch.int32)),
        FLOATS,
    ),
]
