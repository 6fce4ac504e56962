"""CONCATENATION, CONSTANT, REVERSE_SEQUENCE, SHAPE, SHUFFLE, SQUEEZE, UNSQUEEZE and FILL."""

import torch

from trtconv import tensorrt as trt

from ..case import ALL, Case, uniform

EVERY = (*ALL, torch.bool)
INT32, INT64 = torch.int32, torch.int64


def shuffle(name, shape, expected, dtypes=(torch.float32,), dynamic=True, **options):
    def build(net, x):
        layer = net.add_shuffle(x)
        for option, value in options.items():
            setattr(layer, option, value)
        return layer

    return Case(f"shuffle-{name}", build, expected, (uniform(*shape),), dtypes, dynamic)


def shuffle_by_tensor(net, x):
    layer = net.add_shuffle(x)
    layer.first_transpose = (1, 0, 2)
    layer.set_input(1, net.constant(torch.tensor([0, -1], dtype=INT64)))
    layer.second_transpose = (1, 0)
    return layer


def concatenation(name, shapes, expected, axis=None, dtypes=EVERY):
    def build(net, *tensors):
        layer = net.add_concatenation(list(tensors))
        if axis is not None:
            layer.axis = axis
        return layer

    inputs = tuple(uniform(*shape) for shape in shapes)
    return Case(f"concatenation-{name}", build, expected, inputs, dtypes, dynamic=False)


def constant(values):
    def build(net):
        return net.add_identity(net.constant(values))

    return Case(f"constant-{str(values.dtype)[6:]}", build, lambda: values, (), (values.dtype,))


def axes_layer(name, axes, shape, expected, dtype=INT32):
    def build(net, x):
        where = None if axes is None else net.constant(torch.tensor(axes, dtype=dtype))
        return getattr(net, f"add_{name.split('-')[0]}")(x, where)

    return Case(name, build, expected, (uniform(*shape),), EVERY, dynamic=axes is not None)


def reverse(name, lengths, batch_axis, sequence_axis, expected):
    def build(net, x, counts):
        layer = net.add_reverse_sequence(x, counts)
        layer.batch_axis, layer.sequence_axis = batch_axis, sequence_axis
        return layer

    values = torch.arange(24.0).reshape(4, 3, 2)
    return Case(f"reverse-sequence-{name}", build, expected, (values, torch.tensor(lengths, dtype=INT32)))


def reversed_rows(x, lengths):
    """Defaults: the sequence is dimension 0, the batch dimension 1."""
    y = x.clone()
    for b, n in enumerate(lengths.tolist()):
        y[:n, b] = x[:n, b].flip(0)
    return y


def reversed_columns(x, lengths):
    y = x.clone()
    for b, n in enumerate(lengths.tolist()):
        y[b, :n] = x[b, :n].flip(0)
    return y


def linspace(name, shape, expected, dtype, alpha, beta):
    """Static where beta is a number, else shape, alpha and beta are tensors."""

    def build(net):
        kind = getattr(trt.DataType, {torch.float32: "FLOAT", INT32: "INT32", INT64: "INT64"}[dtype])
        static = not isinstance(beta, list)
        layer = net.add_fill(shape if static else (1,) * len(shape), trt.FillOperation.LINSPACE, kind)
        if static:
            layer.alpha, layer.beta = alpha, beta
        else:
            layer.set_input(0, net.constant(torch.tensor(shape, dtype=INT64)))
            layer.set_input(1, net.constant(torch.tensor(alpha, dtype=dtype)))
            layer.set_input(2, net.constant(torch.tensor(beta, dtype=dtype)))
        return layer

    return Case(f"fill-linspace-{name}", build, lambda: torch.tensor(expected, dtype=dtype), (), (dtype,))


CASES = [
    shuffle("transpose", (2, 3, 4), lambda x: x.permute(2, 0, 1), EVERY, first_transpose=(2, 0, 1)),
    shuffle("reshape", (2, 3, 4), lambda x: x.reshape(2, 12), EVERY, reshape_dims=(-1, 12)),
    shuffle(
        "all",
        (2, 3, 4),
        lambda x: x.permute(2, 0, 1).reshape(4, 6).T,
        first_transpose=(2, 0, 1),
        reshape_dims=(4, 6),
        second_transpose=(1, 0),
        dynamic=False,
    ),
    shuffle("second-only", (2, 3, 4), lambda x: x.permute(1, 0, 2), second_transpose=(1, 0, 2)),
    shuffle(
        "zero-copies-transposed",
        (2, 3, 4),
        lambda x: x.permute(2, 0, 1).reshape(4, 2, 3),
        first_transpose=(2, 0, 1),
        reshape_dims=(0, 0, 3),
    ),
    shuffle("to-scalar", (1, 1), lambda x: x.reshape(()), reshape_dims=(), dynamic=False),
    Case(
        "shuffle-tensor",
        shuffle_by_tensor,
        lambda x: x.permute(1, 0, 2).reshape(3, 8).T,
        (uniform(2, 3, 4),),
    ),
    concatenation("default", [(2, 3, 4)] * 2, lambda *v: torch.cat(v, 0)),
    concatenation("default-4d", [(2, 3, 4, 1), (2, 2, 4, 1)], lambda *v: torch.cat(v, 1)),
    concatenation("last", [(2, 3), (2, 1), (2, 2)], lambda *v: torch.cat(v, 1), 1),
    *(
        constant(torch.tensor([[0, 1, -2], [3, 4, 5]]).to(dtype))
        for dtype in (torch.float32, torch.float16, torch.bfloat16, INT32, INT64, torch.bool)
    ),
    Case(
        "shape",
        lambda net, x: net.add_shape(x),
        lambda x: torch.tensor([2, 3, 4]),
        (uniform(2, 3, 4),),
        (torch.float32, INT32),
    ),
    axes_layer("squeeze", [1, -1], (2, 1, 3, 1), lambda x: x.reshape(2, 3)),
    axes_layer("squeeze-all", None, (2, 1, 3, 1), lambda x: x.reshape(2, 3)),
    axes_layer("unsqueeze", [0, -1], (2, 3), lambda x: x.reshape(1, 2, 3, 1), INT64),
    reverse("default", [4, 2, 1], 1, 0, reversed_rows),
    reverse("batch-first", [3, 2, 1, 0], 0, 1, reversed_columns),
    linspace("static", (4,), [1.0, 3.0, 5.0, 7.0], torch.float32, 1.0, 2.0),
    linspace("int32", (2, 3), [[1, 3, 5], [11, 13, 15]], INT32, 1, [10, 2]),
    linspace("int64", (3,), [5_000_000_000, 5_000_000_001, 5_000_000_002], INT64, 5_000_000_000, [1]),
    linspace("float", (2, 2), [[0.5, 0.75], [1.5, 1.75]], torch.float32, 0.5, [1.0, 0.25]),
]
