"""Functions of bytes and other short integers, which are computed in int32 and wrap as in torch."""

import operator

import pytest
import torch
import torch.nn.functional as F
from cases import B, Bools, Function, Ints, case, cases, check, compare_draws

import trtconv

ONE = (torch.float32,)
SHORT = (torch.uint8, torch.int8, torch.int16)
SHAPE = (B, 3, 4, 6)


def whole(shape, dtype):
    """An input of all numbers of a dtype."""
    limits = torch.iinfo(dtype)
    return Ints(shape, limits.min, limits.max + 1, dtype)


def each(function, *more, name, dtypes=SHORT, shape=SHAPE):
    """A function of all numbers of a shape, for each short dtype."""
    return [
        param
        for dtype in dtypes
        for param in case(
            function,
            whole(shape, dtype),
            *(spec(dtype) if callable(spec) else spec for spec in more),
            id=f"{name}-{str(dtype)[6:]}",
            dtypes=ONE,
        )
    ]


@cases(
    each(lambda x: x.permute(0, 2, 3, 1).float(), name="image"),
    each(lambda x: (x.float() / 255 - 0.4) / 0.2, name="normalized"),
    each(lambda x: x / 255, name="divided"),
    each(lambda x: x.half(), name="half"),
    each(lambda x: (x.bool(), x.to(torch.int32), x.long()), name="others"),
    each(lambda x: x, name="itself"),
    each(lambda x: (x, x[:, 1:], x.flip(-1)), name="itself-too"),
    each(lambda x: x.reshape(-1, 72)[:, ::5], name="slice"),
    each(lambda x: torch.cat([x, x.roll(1, 2)], 1), name="cat"),
    each(lambda x: torch.stack([x, x], 1).unbind(1), name="stack"),
    each(lambda x: torch.cat([x.int(), x], 1), name="cat-wider"),
    each(lambda x: F.pad(x, (1, 2), value=7), name="pad"),
    each(lambda x: F.pad(x.float(), (1, 2, 1, 0), mode="reflect").to(x.dtype), name="pad-reflect"),
    each(lambda x: x.split(2, 1), name="split"),
    each(lambda x: x[:, torch.tensor([2, 0])], name="index"),
    each(lambda x, i: x.gather(2, i), Ints((2, 3, 2, 6), 0, 4), name="gather", shape=(2, 3, 4, 6)),
    each(lambda x, m: torch.where(m, x, 5), Bools(SHAPE), name="where"),
    each(lambda x, m: x.masked_fill(m, 1), Bools(SHAPE), name="masked-fill"),
    each(lambda x: x[:, :1].expand(-1, 3, 4, 6).repeat(1, 2, 1, 1), name="repeat"),
    each(lambda x: F.max_pool2d(x, 2), name="max-pool", dtypes=(torch.uint8,)),
    each(lambda x: F.interpolate(x, size=(8, 9), mode="nearest"), name="nearest", dtypes=(torch.uint8,)),
    each(lambda x: x.unfold(3, 2, 2), name="unfold"),
    each(lambda x: x.view(torch.int8) if x.dtype is torch.uint8 else x.view(x.dtype), name="view"),
)
def test_moves(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    each(lambda x, y: (x + y, x - y, x * y), lambda dtype: whole(SHAPE, dtype), name="sum"),
    each(lambda x: (x + 300, x - 1, 300 - x, x * 7, -x), name="number"),
    each(lambda x: torch.add(x, x, alpha=3), name="alpha"),
    each(lambda x: x + 2.5, name="float"),
    each(lambda x, y: (x + y, y * x), Ints(SHAPE, -(2**31), 2**31, torch.int32), name="int32"),
    each(lambda x, y: (x + y, x < y), Ints((), -400, 400, torch.int32), name="without-axes"),
    each(lambda x, y: (x - y, x > y), Ints(SHAPE, -128, 128, torch.int8), name="two-dtypes"),
    each(lambda x, y: x + y, Bools(SHAPE), name="bool"),
    each(lambda x: (x // 7, x % 7, torch.fmod(x, 7), torch.div(x, 3, rounding_mode="trunc")), name="quotient-number"),
    each(lambda x: (x // 300, x % -3), name="quotient-of-wrapped"),
    each(lambda x: (x**2, x**3, x.square()), name="power"),
    each(lambda x: 3**x, name="power-of-number", dtypes=(torch.uint8,)),
    each(lambda x: (x.abs(), x.sign(), ~x), name="abs"),
    each(lambda x: (x << 1, x << 9, x >> 2), name="shift"),
    each(lambda x, y: (x & y, x | y, x ^ y), lambda dtype: whole(SHAPE, dtype), name="bits"),
    each(lambda x: (x & 300, x | 300, x ^ -2), name="bits-number"),
    each(lambda x: x.to(torch.int64).mul(77777).to(x.dtype), name="from-int64"),
    each(lambda x: (x.float() * 0.5).to(x.dtype), name="from-float"),
    each(lambda x: x.to(torch.uint8).to(torch.int8).to(torch.int16), name="from-short"),
    each(lambda x: x.clone().add_(x).mul_(3), name="in-place"),
)
def test_arithmetic(function, inputs, dtype):
    check(function, inputs, dtype)


def quotients(dtype):
    return case(
        lambda x, y: (x // y, x % y, torch.fmod(x, y), torch.div(x, y, rounding_mode="trunc")),
        *(whole(SHAPE, dtype), Ints(SHAPE, 1, 100, dtype)),
        id=f"quotient-{str(dtype)[6:]}",
        dtypes=ONE,
    )


@cases(*map(quotients, SHORT))
def test_quotients(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    each(lambda x: (x < 20, x >= 300, x == -1, x != 4), name="number"),
    each(lambda x, y: (x < y, x == y), lambda dtype: whole(SHAPE, dtype), name="tensors"),
    each(lambda x: x < torch.tensor(300), name="constant"),
    each(lambda x: (x.clamp(3, 100), x.clamp(max=50), x.clamp(-1, 50)), name="clamp"),
    each(lambda x, y: (torch.maximum(x, y), torch.minimum(x, y)), lambda dtype: whole(SHAPE, dtype), name="maximum"),
    each(lambda x: (x.amax(1), x.amin((2, 3)), x.max(), x.min(1).values), name="extremes"),
    each(lambda x: (x.logical_not(), x.logical_and(x > 3), x.any(), x.all(1)), name="logical"),
)
def test_comparison(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    each(lambda x: (x.sum(), x.sum(1), x.sum((2, 3), keepdim=True)), name="sum"),
    each(lambda x: x.sum(1, dtype=x.dtype), name="sum-wrapped"),
    each(lambda x: x.float().mean((2, 3)), name="mean"),
    each(lambda x: x.mean(1, dtype=torch.float32), name="mean-dtype"),
    each(lambda x: (x.cumsum(1), x.prod(1)), name="cumulated"),
    each(lambda x: x.sort(3).values, name="sort"),
    each(lambda x: x.topk(2).values, name="topk"),
    each(lambda x: x.flatten(1).amax(1), name="flat"),
)
def test_reduction(function, inputs, dtype):
    check(function, inputs, dtype)


def means(function):
    """With what the places hold, and without."""
    return lambda x, i, v: tuple(function(x, 1, i, v, "mean", include_self=included) for included in (True, False))


@cases(
    each(
        means(torch.scatter_reduce),
        *(Ints((B, 300, 2), 0, 3), lambda dtype: whole((B, 300, 2), dtype)),
        name="scatter-mean",
        shape=(B, 4, 2),
        dtypes=(torch.uint8, torch.int16),
    ),
    each(
        means(torch.index_reduce),
        *(Ints((300,), 0, 3), lambda dtype: whole((B, 300, 2), dtype)),
        name="index-mean",
        shape=(B, 4, 2),
        dtypes=(torch.int8,),
    ),
)
@pytest.mark.filterwarnings("ignore:index_reduce")
def test_reduction_at_places(function, inputs, dtype):
    """The sum wraps before it is divided, and so does the number of elements."""
    check(function, inputs, dtype)


def test_argmax():
    check(lambda x: x.argmax(1), (Ints((4, 1), 0, 255, torch.uint8),), torch.float32)


class Constants(torch.nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.register_buffer("table", torch.tensor([1, 2, 100, 127], dtype=dtype))

    def forward(self, x):
        return x + self.table, self.table, self.table[x.long() % 4], torch.full_like(x, 5)


@pytest.mark.parametrize("dtype", SHORT)
def test_constants(dtype):
    module = Constants(dtype)
    converted = trtconv.convert(module, (torch.zeros(3, 4, dtype=dtype),))
    limits = torch.iinfo(dtype)
    compare_draws(module, converted, lambda _: (torch.randint(limits.min, limits.max + 1, (3, 4), dtype=dtype),), 2)


def resized(**options):
    return lambda x: F.interpolate(x, **options)


@cases(
    *(
        case(
            *(resized(size=size, mode=mode, antialias=antialias), whole(shape, torch.uint8)),
            id=f"{mode}-{size[0]}{'-antialias' if antialias else ''}",
            dtypes=ONE,
        )
        for mode in ("bilinear", "bicubic")
        for antialias, shape, size in (
            (False, (2, 3, 7, 8), (9, 5)),
            (True, (2, 3, 7, 8), (9, 5)),
            (True, (1, 2, 300, 20), (2, 50)),
        )
    ),
    case(resized(scale_factor=1.7, mode="bilinear"), whole((2, 5, 7, 8), torch.uint8), id="scale", dtypes=ONE),
    case(
        *(resized(size=(9, 5), mode="bicubic", align_corners=True), whole((2, 3, 7, 8), torch.uint8)),
        id="corners",
        dtypes=ONE,
    ),
)
@pytest.mark.skipif("config.getoption('--device') == 'cuda'", reason="PyTorch interpolates otherwise there")
def test_interpolated_bytes(function, inputs, dtype):
    check(function, inputs, dtype)


def test_interpolated_bytes_of_dynamic_sizes():
    """PyTorch's weights of 16 bits are those of known sizes; others are in float32, off by one here and there."""
    resize = Function(lambda x: F.interpolate(x, size=(9, 5), mode="bilinear"))
    x = torch.randint(0, 256, (2, 3, 7, 8), dtype=torch.uint8)
    converted = trtconv.convert(resize, (x,), dynamic_shapes={"args": [{2: (4, 7, 9)}]})
    exact = resize(x.double()).clamp(0, 255)
    assert converted(x).dtype is torch.uint8
    assert (converted(x).double() - exact).abs().max() <= 0.5001


def test_engine_takes_and_gives_bytes():
    converted = trtconv.convert(Function(lambda x: 255 - x), (torch.zeros(2, 3, dtype=torch.uint8),))
    graph = converted.network
    assert [graph.tensors[name].dtype.name for name in (*graph.inputs, *graph.outputs)] == ["UINT8"] * 2
    x = torch.tensor([[0, 1, 255], [4, 5, 6]], dtype=torch.uint8)
    assert torch.equal(converted(x), 255 - x)


def test_saved_int16():
    module = Function(operator.neg)
    converted = trtconv.convert(module, (torch.zeros(3, dtype=torch.int16),))
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(converted.state_dict())
    x = torch.tensor([1, -32768, 5], dtype=torch.int16)
    assert loaded(x).dtype is torch.int16
    assert torch.equal(loaded(x), -x)


def test_written_bytes():
    def double(x):
        x.mul_(2)
        return x.float()

    converted = trtconv.convert(Function(double), (torch.zeros(3, dtype=torch.uint8),))
    x, y = (torch.tensor([1, 100, 200], dtype=torch.uint8) for _ in range(2))
    assert torch.equal(converted(x), double(y))
    assert torch.equal(x, y)
