"""Tensors without axes and without elements, through the families of operators."""

import pytest
import torch
import torch.nn.functional as F
from cases import B, Bools, Ints, check
from torch import nn


def each(*functions):
    """All functions of the same inputs, as one module."""
    return lambda *inputs: tuple(function(*inputs) for function in functions)


def written(x, key, value):
    x = x.clone()
    x[key] = value
    return x


UNARY = (torch.abs, torch.exp, torch.sigmoid, torch.floor, torch.round, torch.sign, torch.isnan, torch.square)
ACTIVATIONS = (F.relu, F.gelu, F.silu, F.elu, F.leaky_relu, F.hardswish, F.softplus, F.mish, F.logsigmoid)
BINARY = (torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.atan2, torch.fmod, torch.lt, torch.hypot)
WHOLE = (torch.sum, torch.mean, torch.prod, torch.amax, torch.min, torch.norm, torch.argmax, torch.median, torch.any)
FIRST = (torch.sum, torch.amax, torch.min, torch.sort, torch.cumsum, torch.cumprod, torch.softmax, torch.log_softmax)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (each(*UNARY, *ACTIVATIONS), [()]),
        (each(*BINARY), [(), ()]),
        (each(*BINARY), [(), (B, 3)]),
        (each(*WHOLE), [()]),
        (each(*WHOLE), [(B, 3)]),
        (each(*(lambda x, f=f: f(x, 0) for f in FIRST), lambda x: x.topk(1), lambda x: x.flip(0)), [()]),
        (
            each(
                lambda x, y: torch.where(x > 0, y, 0.0),
                lambda x, y: y.masked_fill(y > 0, x),
                lambda x, y: torch.lerp(y, y * 2, x),
                lambda x, y: x.clamp(-1, 1) + x.expand(2, 3),
                lambda x, y: torch.stack([x, x * 2]),
                lambda x, y: (x.repeat(3), x.flatten(), x.reshape(1, 1).squeeze(), x[None], x[...]),
                lambda x, y: written(x, ..., y.sum()),
                lambda x, y: torch.meshgrid(x, y[0], indexing="ij"),
                lambda x, y: x.take(torch.tensor([0, 0])),
                lambda x, y: (x.long(), x.bool(), torch.full_like(x, 2) * x, torch.arange(3) * x),
                lambda x, y: F.mse_loss(x, x * 2) + F.l1_loss(y, y * 2),
            ),
            [(), (B, 3)],
        ),
        (each(lambda x, m: x.masked_fill(m, 0.0), lambda x, m: torch.where(m, x, 1.0)), [(), Bools(())]),
        (each(lambda i: i + 1, lambda i: i // 2, lambda i: i.float(), torch.neg), [Ints(())]),
        (torch.dot, [(4,), (4,)]),
        (lambda x: F.linear(x.reshape(1, 1), x.reshape(1, 1).expand(3, 1)), [()]),
    ],
    ids=["unary", "binary", "broadcast", "all-of-0d", "to-0d", "along", "mixed", "mask", "int", "dot", "linear"],
)
def test_no_axes(function, inputs):
    check(function, tuple(inputs), torch.float32)


def of_none(*functions):
    """Functions of an input's first no columns."""
    return each(*(lambda x, f=f: f(x[:, :0]) for f in functions))


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (
            of_none(
                *(lambda x, f=f: f(x, 1) for f in (torch.sum, torch.mean, torch.prod, torch.norm, torch.logsumexp)),
                *(lambda x, f=f: f(x > 0, 1) for f in (torch.any, torch.all)),
                lambda x: (x > 0).any(1, keepdim=True),
                torch.sum,
                torch.any,
            ),
            [(B, 3)],
        ),
        (
            of_none(
                F.relu,
                lambda x: x + 1,
                lambda x: x.long(),
                lambda x: torch.where(x > 0, x, 0.0),
                lambda x: x.softmax(1),
                lambda x: x.softmax(0),
                lambda x: x.cumsum(1),
                lambda x: x.sort(1)[0],
                lambda x: x.argsort(1),
            ),
            [(B, 3)],
        ),
        (
            of_none(
                lambda x: x.T,
                lambda x: x.flip(1),
                lambda x: x.roll(1, 1),
                lambda x: x.repeat(1, 2),
                lambda x: x.reshape(x.shape[0], 0, 5),
                lambda x: x.unfold(0, 1, 1),
                lambda x: F.pad(x, (1, 2), value=3.0),
                lambda x: torch.stack([x, x]),
                lambda x: torch.cat([x, x], 1),
                lambda x: torch.cat([x, x[:, :0]], 1),
            ),
            [(B, 3)],
        ),
        (
            each(
                lambda x: torch.cat([torch.zeros(0, dtype=x.dtype), x], 1),
                lambda x: torch.cat([x, x[:, :0], x], 1),
                lambda x: (x[:, 3:], x[:, 1:1], x.split([3, 0], 1)),
                lambda x: F.pad(x, (0, -3)),
                lambda x: x[:, :1].expand(-1, 0),
                lambda x: x.topk(0)[0],
                lambda x: x[:, torch.tensor([], dtype=torch.int64)],
                lambda x: x.new_zeros(0, 3),
                lambda x: written(x, (slice(None), slice(0, 0)), x[:, :0]),
            ),
            [(B, 3)],
        ),
        (
            each(lambda x, y: x[:, :0] @ y[:0], lambda x, y: torch.einsum("bi,ij->bj", x[:, :0], y[:0])),
            [(B, 3), (3, 4)],
        ),
        (each(lambda x, y: x[:, :0].T @ y, lambda x, y: F.linear(x[:0], y)), [(2, 3), (2, 3)]),
        (lambda x: F.scaled_dot_product_attention(x, x[:, :0], x[:, :0]), [(B, 3, 4)]),
        (lambda i: F.embedding(i[:, :0], torch.ones(5, 4)), [Ints((B, 3), 0, 5)]),
        (
            each(lambda x: F.max_pool1d(x[:0], 2), lambda x: F.layer_norm(x[:0], (4,)), lambda x: x[:0] @ x[:0].mT),
            [(2, 3, 4)],
        ),
        (nn.Conv1d(3, 2, 2), [(0, 3, 5)]),
        (each(lambda x: x + 1, lambda x: x.sum(0), lambda x: x.reshape(3, 0)), [(0, 3)]),
        (each(lambda x: x[5:], lambda x: torch.cat([x[:0], x[2:]])), [(2, 3)]),
    ],
    ids=[
        "reduced",
        "elements",
        "moved",
        "made",
        "product",
        "no-rows",
        "no-keys",
        "embedding",
        "layers",
        "batch",
        "input",
        "slice",
    ],
)
def test_no_elements(function, inputs):
    check(function, tuple(inputs), torch.float32)
