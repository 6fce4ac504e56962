import pytest
import torch
from cases import B, Function, Ints, case, cases, check

import trtconv

X, FIXED = (B, 3, 5), (2, 3, 5)
ONE = (torch.float32,)
HALF = (torch.float32, torch.float16)
index_put = torch.ops.aten.index_put


def each_reduction(function, *inputs, name, reductions=("sum", "prod", "mean", "amax", "amin")):
    rows = []
    for reduce in reductions:
        rows += case(lambda *x, r=reduce: function(*x, r), *inputs, id=f"{name}-{reduce}", dtypes=HALF)
        rows += case(
            lambda *x, r=reduce: function(*x, r, include_self=False),
            *(Ints(spec) if isinstance(spec, tuple) else spec for spec in inputs),
            id=f"{name}-{reduce}-of-sent-ints",
            dtypes=ONE,
        )
    return rows


@cases(
    case(lambda x, i, v: x.scatter_add(1, i, v), X, Ints((B, 4, 5), 0, 3), (B, 4, 5), id="scatter_add"),
    case(
        lambda x, i, v: x.scatter_add(1, i, v), X, Ints((B, 4, 5), 0, 3), (B, 6, 5), id="scatter_add-part", dtypes=ONE
    ),
    case(lambda x, i, v: x.scatter_add(-1, i, v), Ints(X), Ints(X, 0, 5), Ints(X), id="scatter_add-int", dtypes=ONE),
    case(lambda x, i, v: x.scatter_add(0, i, v), (), Ints((), 0, 1), (), id="scatter_add-0d", dtypes=ONE),
    case(lambda x, i, v: x.scatter(1, i, v, reduce="add"), X, Ints(X, 0, 3), X, id="scatter-add", dtypes=ONE),
    case(lambda x, i: x.scatter(1, i, 1.5, reduce="add"), X, Ints(X, 0, 3), id="scatter-add-number", dtypes=ONE),
    case(lambda x, i, v: x.index_add(1, i, v), X, Ints((4,), 0, 3), (B, 4, 5), id="index_add"),
    case(lambda x, i, v: x.index_add(-1, i, v, alpha=-0.5), X, Ints((4,), 0, 5), (B, 3, 4), id="index_add-alpha"),
    case(
        lambda x, i, v: x.index_add(0, i, v),
        Ints(FIXED),
        Ints((4,), 0, 2),
        Ints((4, 3, 5)),
        id="index_add-int",
        dtypes=ONE,
    ),
    case(lambda x, i, v: x.index_add(0, i, v), (3,), Ints((4,), 0, 3), (4,), id="index_add-1d", dtypes=ONE),
    case(lambda x, i, v: index_put(x, (i,), v, True), (4, 5), Ints((6,), -4, 4), (6, 5), id="index_put"),
    case(
        lambda x, i, j, v: index_put(x, (None, i, j), v, True),
        *((B, 4, 5), Ints((2, 3), 0, 4), Ints((3,), 0, 5), (B, 2, 3)),
        id="index_put-two",
        dtypes=ONE,
    ),
    case(
        lambda x, i, j, v: index_put(x, (i, None, j), v, True),
        *((4, B, 5), Ints((2, 3), 0, 4), Ints((3,), 0, 5), ()),
        id="index_put-apart",
        dtypes=ONE,
    ),
    case(lambda x, v: index_put(x, (x > 0,), v, True), X, (), id="index_put-mask", dtypes=ONE),
    case(lambda x, v: index_put(x, (x.argsort(-1) < 2,), v, True), (4, 5), (8,), id="index_put-in-turn", dtypes=ONE),
)
def test_adding(function, inputs, dtype):
    check(function, inputs, dtype)


MANY = (1500, 20)
"""Rows to which 2000 others are added: too many pairs for each element of a row."""


@cases(
    case(lambda x, i, v: x.index_add(0, i, v), MANY, Ints((2000,), 0, 1500), (2000, 20), id="index_add", dtypes=HALF),
    case(
        lambda x, i, v: x.index_add(1, i, v),
        *((20, 1500), Ints((2000,), 0, 1500), (20, 2000)),
        id="index_add-columns",
        dtypes=ONE,
    ),
    case(
        lambda x, i, v: x.scatter_add(0, i[:, None].expand_as(v), v),
        *(MANY, Ints((2000,), 0, 1500), (2000, 20)),
        id="scatter_add",
        dtypes=ONE,
    ),
)
def test_adding_many_rows(function, inputs, dtype):
    check(function, inputs, dtype)


def scatter_reduce(x, index, src, reduce, **options):
    return x.scatter_reduce(1, index, src, reduce, **options)


def index_reduce(x, index, src, reduce, **options):
    return x.index_reduce(1, index, src, reduce, **options)


INDEX = Ints((B, 4, 5), 0, 3)


@cases(
    each_reduction(scatter_reduce, X, INDEX, (B, 4, 5), name="scatter_reduce"),
    each_reduction(
        index_reduce, X, Ints((4,), 0, 3), (B, 4, 5), name="index_reduce", reductions=("prod", "mean", "amax", "amin")
    ),
    case(
        lambda x, i, v: x.scatter_reduce(1, i, v, "mean", include_self=False),
        *(FIXED, Ints((1, 4, 2), 0, 3), (2, 4, 5)),
        id="smaller",
        dtypes=ONE,
    ),
    case(lambda x, i, v: x.scatter_reduce(0, i, v, "amax"), FIXED, Ints((4, 2, 3), 0, 2), (4, 3, 5), id="smaller-max"),
    case(lambda x, i, v: x.scatter_reduce(0, i, v, "mean"), (), Ints((), 0, 1), (), id="0d", dtypes=ONE),
    case(lambda x, i, v: x.scatter(1, i, v, reduce="multiply"), X, INDEX, (B, 4, 5), id="scatter-mul", dtypes=ONE),
    case(lambda x, i: x.scatter(1, i, 1.5, reduce="multiply"), X, INDEX, id="scatter-mul-number", dtypes=ONE),
)
def test_reducing(function, inputs, dtype):
    check(function, inputs, dtype)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.repeat(1, 2048).scatter_add(1, torch.zeros(4, 4096, dtype=torch.int64), x.repeat(1, 2048)),
        lambda x: x.long().repeat(400, 9).index_add(0, torch.zeros(1600, dtype=torch.int64), x.long().repeat(400, 9)),
        lambda x: x.repeat(2500, 1).index_add(0, torch.zeros(10000, dtype=torch.int64), x.repeat(2500, 1)),
    ],
)
def test_too_many_pairs_are_refused(function):
    with pytest.raises(trtconv.UnsupportedArgumentError, match="steps"):
        trtconv.convert(Function(function), (torch.randn(4, 2),))


@cases(
    case(lambda x: torch.histc(x, 7, -1, 1.5), (B, 5, 6), dtypes=ONE, id="limits"),
    case(lambda x: torch.histc(x, 5), (B, 5, 6), dtypes=ONE, id="own-range"),
    case(lambda x: torch.histc(x * 0 + 2, 5), (B, 5), dtypes=ONE, id="own-range-empty"),
    case(lambda x: torch.histc(x.float(), 8, 0, 7), Ints((B, 30), -1, 9), dtypes=ONE, id="whole-numbers"),
)
def test_histograms(function, inputs, dtype):
    check(function, inputs, dtype)


EDGES = torch.tensor([-1.0, -0.5, 0.25, 2.0])


@cases(
    case(lambda x: torch.histogram(x, EDGES.to(x.dtype)), (5, 6), dtypes=ONE, id="edges"),
    case(lambda x, e: torch.histogram(x, e.sort().values, density=True), (5, 6), (4,), dtypes=ONE, id="edges-density"),
    case(lambda x: torch.histogram(x, 7, range=(-1.0, 1.5)), (5, 6), dtypes=ONE, id="range"),
    case(lambda x, w: torch.histogram(x, 4, weight=w), (5, 6), (5, 6), dtypes=ONE, id="own-range"),
    case(lambda x: torch.histogramdd(x, [2, 3])[0], (5, 6, 2), dtypes=ONE, id="points"),
    case(
        lambda x, w: torch.histogramdd(x, [4, 2, 3], range=[-1.0, 1, -2, 2, 0, 1], weight=w, density=True),
        (30, 3),
        (30,),
        dtypes=ONE,
        id="points-range",
    ),
    case(lambda x: torch.histogram(x * 0 + 2, 5), (7,), dtypes=ONE, id="own-range-empty"),
    case(lambda x: torch.histogram(x.round(), torch.arange(-2.0, 3.0).to(x.dtype)), (30,), dtypes=ONE, id="at-edges"),
)
@pytest.mark.skipif("config.getoption('--device') == 'cuda'", reason="PyTorch has them on the CPU only")
def test_histograms_by_edges(function, inputs, dtype):
    check(function, inputs, dtype)


LENGTHS = torch.tensor([2, 0, 1, 3])


@cases(
    *(
        case(
            lambda x, kind=kind, first=first: torch.segment_reduce(x, kind, lengths=LENGTHS, initial=first),
            (6, B),
            id=f"{kind}-{first}",
            dtypes=ONE,
        )
        for kind in ("sum", "mean", "max", "min", "prod")
        for first in (None, 1.5)
    ),
    case(
        lambda x, n: torch.segment_reduce(
            x, "sum", lengths=n.sort().values.diff(append=torch.tensor([6])), unsafe=True
        ),
        (6, 3),
        Ints((3,), 0, 6),
        id="lengths-of-an-input",
        dtypes=ONE,
    ),
    case(
        lambda x: torch.segment_reduce(x, "max", offsets=torch.tensor([[0, 2, 5], [0, 1, 5]]), axis=1),
        (2, 5, 3),
        id="offsets",
        dtypes=ONE,
    ),
)
def test_segments(function, inputs, dtype):
    check(function, inputs, dtype)


@pytest.mark.skipif("config.getoption('--device') == 'cpu'", reason="PyTorch has them on CUDA only")
@pytest.mark.parametrize("limits", [(0, 7), (0, 0), (-3, 5)])
def test_histograms_of_integers(limits):
    check(lambda x: torch.histc(x, 8, *limits), (Ints((B, 30), -1, 9),), torch.float32)
