import pytest
import torch
from cases import B, Bools, Function, Ints, case, cases, check
from releases import runs, skipped_without

import trtconv

X, FIXED = (B, 3, 5), (2, 3, 5)
ONE = (torch.float32,)
HALF = (torch.float32, torch.float16)
I3, I5 = Ints((4,), 0, 3), Ints((4,), -5, 5)
SOME = torch.tensor([-1, 0])
ROWS, COLUMNS = torch.tensor([0, 2, -1]), torch.tensor([4, -5, 1])


@cases(
    case(lambda x: x[:, ROWS], X, id="constant", dtypes=HALF),
    case(lambda x: x[:, [2, 0]], X, id="list", dtypes=ONE),
    case(lambda x: x[..., COLUMNS], X, id="last", dtypes=ONE),
    case(lambda x: x[:, ROWS.reshape(3, 1)], X, id="matrix", dtypes=ONE),
    case(lambda x: x[:, torch.tensor(1)], X, id="0d", dtypes=ONE),
    case(lambda x: x[:, torch.tensor([], dtype=torch.int64)], X, id="empty", dtypes=ONE),
    case(lambda x, i: x[:, i], X, I3, id="activation", dtypes=HALF),
    case(lambda x, i: x[..., i], X, I5, id="activation-negative", dtypes=ONE),
    case(lambda x, i: x[:, i], X, Ints((2, 2), 0, 3, torch.int32), id="activation-int32", dtypes=ONE),
    case(lambda x: x[:, ROWS, COLUMNS], X, id="two", dtypes=HALF),
    case(lambda x: x[:, ROWS[:, None], COLUMNS], X, id="two-broadcast", dtypes=ONE),
    case(lambda x: x[torch.tensor([0, 1, 1]), :, COLUMNS], (2, 3, 5), id="two-apart", dtypes=ONE),
    case(lambda x: x[:, ROWS, :, COLUMNS], (B, 3, 2, 5), id="two-apart-inside", dtypes=ONE),
    case(lambda x: x[torch.tensor([0, -1, 1]), ROWS, COLUMNS], (2, 3, 5), id="three", dtypes=ONE),
    case(lambda x, i, j: x[:, i, j], X, I3, I5, id="two-activations", dtypes=ONE),
    case(lambda x, i: x[:, i, COLUMNS[:, None]], X, I3, id="activation-and-constant", dtypes=ONE),
    case(lambda x, i, j: x[:, i, 1:, j], (B, 3, 4, 5), I3, I5, id="two-apart-and-slice", dtypes=ONE),
    case(lambda x: x[:, ROWS, 1], X, id="with-number", dtypes=ONE),
    case(lambda x: x[0, :, COLUMNS], X, id="with-number-apart", dtypes=ONE),
    case(lambda x: x[:, None, ROWS, ::2], X, id="with-none-and-step", dtypes=ONE),
    case(lambda x: x[torch.arange(x.shape[0]), ROWS[:2]], (2, 3, 5), id="arange", dtypes=ONE),
    case(lambda x, i: x[torch.arange(2), i], (2, 3, 5), Ints((2,), 0, 3), id="pick", dtypes=ONE),
    case(lambda x: x[:, torch.tensor([True, False, True])], X, id="constant-mask", dtypes=ONE),
    case(lambda x: x[:, torch.tensor([True, False, True]), ROWS[:2]], X, id="constant-mask-and-row", dtypes=ONE),
    case(lambda x, i: x[i], (4, 3), Ints((), -4, 4), id="number", dtypes=ONE),
    case(lambda x, i: x[:, i], X, Ints((), -3, 3), id="number-inside", dtypes=ONE),
    case(lambda x, i: x[..., None, i, 1:], X, Ints((), -3, 3), id="number-after-ellipsis", dtypes=ONE),
    case(lambda x, i: x[i, ..., 1], X, Ints((), 0, 1), id="number-before-ellipsis", dtypes=ONE),
    case(lambda x: x[:, ROWS], Ints(X), id="of-int", dtypes=ONE),
    case(lambda x: x[:, ROWS], Bools(X), id="of-bool", dtypes=ONE),
    case(lambda i: torch.arange(12.0).reshape(3, 4)[i], I3, id="of-constant", dtypes=ONE),
    case(lambda x, i: x.index_select(1, i), X, I3, id="index_select", dtypes=HALF),
    case(lambda x, i: torch.index_select(x, -1, i), X, Ints((), 0, 3), id="index_select-0d-index", dtypes=ONE),
    case(lambda x: x.index_select(0, torch.tensor([0])), (), id="index_select-0d", dtypes=ONE),
    case(lambda x, i: x.gather(1, i), X, Ints((B, 2, 5), 0, 3), id="gather", dtypes=HALF),
    case(lambda x, i: x.gather(-1, i), X, Ints((B, 3, 1), 0, 5), id="gather-last", dtypes=ONE),
    case(lambda x, i: x.gather(1, i), (2, 3, 5), Ints((1, 4, 2), 0, 3), id="gather-smaller", dtypes=ONE),
    case(lambda x, i: x.gather(0, i), (4,), I3, id="gather-1d", dtypes=ONE),
    case(lambda x, i: x.gather(0, i), (), Ints((), 0, 1), id="gather-0d", dtypes=ONE),
    case(lambda x, i: x.gather(1, i), Bools(X), Ints(X, 0, 3), id="gather-bool", dtypes=ONE),
    case(lambda x: x.gather(1, torch.zeros(2, 1, 5, dtype=torch.int64)), (2, 3, 5), id="gather-constant", dtypes=ONE),
    case(lambda x, i: x.take_along_dim(i, 1), X, Ints((B, 2, 5), 0, 3), id="take_along_dim", dtypes=ONE),
    skipped_without(
        runs(lambda: torch.ones(2, 3).take_along_dim(torch.tensor([[-1]]), 1)),
        case(lambda x, i: x.take_along_dim(i, 1), X, Ints((B, 2, 5), -3, 3), id="take_along_dim-back", dtypes=ONE),
    ),
    case(lambda x, i: torch.take_along_dim(x, i, -1), X, Ints((1, 1, 2), 0, 5), id="take_along_dim-wide", dtypes=ONE),
    case(lambda x: x.take_along_dim(x.argsort(1), dim=1), X, id="take_along_dim-sorted", dtypes=ONE),
    case(torch.take_along_dim, X, Ints((7,), 0, 15), id="take_along_dim-all", dtypes=ONE),
    case(torch.take_along_dim, (2, 3, 5), Ints((7,), 0, 30), id="take_along_dim-flat", dtypes=ONE),
    case(lambda x, i: torch.ops.aten._unsafe_index(x, [None, i]), X, I3, id="unsafe", dtypes=ONE),
    case(torch.take, (2, 3, 5), Ints((2, 2), 0, 30), dtypes=ONE),
    case(lambda x, i: x.narrow(1, i, 2), X, Ints((), 0, 2), id="narrow", dtypes=ONE),
)
def test_reading(function, inputs, dtype):
    check(function, inputs, dtype)


index_put = torch.ops.aten.index_put


def two(x):
    """Two truths in each row."""
    return x.argsort(-1) < 2


def writes(write):
    """Let a function write to a copy of its first argument."""

    def function(x, *others):
        x = x.clone()
        write(x, *others)
        return x

    return function


def assign(*place):
    return writes(lambda x, value: x.__setitem__(place, value))


@cases(
    case(assign(0), X, (3, 5), id="select"),
    case(assign(slice(None), -1), X, (B, 5), id="select-last", dtypes=ONE),
    case(assign(slice(None), 1), X, (), id="select-number", dtypes=ONE),
    case(assign(..., slice(1, 4)), X, (B, 3, 3), id="slice", dtypes=HALF),
    case(assign(..., slice(0, 2)), X, (B, 3, 2), id="slice-start", dtypes=ONE),
    case(assign(..., slice(-2, None)), X, (1, 2), id="slice-end", dtypes=ONE),
    case(assign(slice(None)), X, X, id="slice-all", dtypes=ONE),
    case(assign(..., slice(0, None, 2)), X, (B, 3, 3), id="slice-step", dtypes=HALF),
    case(assign(slice(None), slice(1, None, 2), slice(1, 4)), X, (B, 1, 3), id="slice-two", dtypes=ONE),
    case(assign(slice(None), SOME), X, (B, 2, 5), id="indices", dtypes=HALF),
    case(assign(slice(None), SOME), X, (1, 2, 5), id="indices-1", dtypes=ONE),
    case(assign(slice(None), SOME, slice(1, 3)), X, (B, 2, 2), id="indices-slice", dtypes=ONE),
    case(writes(lambda x, i, v: x.__setitem__(i, v)), (4, 3), Ints((), -4, 4), (3,), id="number", dtypes=ONE),
    case(writes(lambda x, i, v: x.__setitem__((slice(None), i), v)), X, Ints((), -3, 3), X[::2], id="number-inside"),
    case(writes(lambda x, i, v: x.__setitem__((..., i, 1), v)), X, Ints((), -3, 3), (), id="number-one", dtypes=ONE),
    case(
        writes(lambda x, i, v: x.__setitem__((torch.arange(x.shape[0]), i), v)),
        X,
        Ints((B,), -3, 3),
        (B, 5),
        id="indices-of-each",
        dtypes=ONE,
    ),
    case(assign(slice(None), ROWS), X, (), id="indices-number", dtypes=ONE),
    case(assign(slice(None), ROWS, COLUMNS), X, (B, 3), id="indices-two", dtypes=ONE),
    case(
        assign(ROWS[:2] * 0 + torch.tensor([0, 1]), slice(None), COLUMNS[:2]),
        (2, 3, 5),
        (2, 3),
        id="indices-apart",
        dtypes=ONE,
    ),
    case(assign(slice(None), ROWS[:2, None], COLUMNS), X, (B, 2, 3), id="indices-broadcast", dtypes=ONE),
    case(assign(slice(None), SOME), Ints(FIXED), Ints((2, 2, 5)), id="indices-int", dtypes=ONE),
    case(writes(lambda x: x.__setitem__(x > 0, 0)), X, id="mask", dtypes=HALF),
    case(writes(lambda x, m: x.__setitem__(m, -1.5)), (2, 3, 5), Bools((2,)), id="mask-rows", dtypes=ONE),
    case(writes(lambda x, m, v: x.__setitem__(m, v)), X, Bools((B, 3)), (5,), id="mask-row-values", dtypes=ONE),
    case(writes(lambda x, m, v: x.__setitem__(m.byte(), v)), X, Bools((B, 3)), (5,), id="mask-of-bytes", dtypes=ONE),
    case(
        writes(lambda x, m, v: x.__setitem__((slice(None), m), v)), X, Bools((3, 5)), (), id="mask-inside", dtypes=ONE
    ),
    case(lambda x, i, v: x.index_put((i,), v), (2, 3, 5), Ints((1,), 0, 2), (1, 3, 5), id="index_put", dtypes=ONE),
    case(lambda x, v: x.index_copy(1, torch.tensor([2, 0]), v), X, (B, 2, 5), id="index_copy", dtypes=ONE),
    case(lambda x, i: x.index_fill(1, i, 2.5), X, I3, id="index_fill", dtypes=ONE),
    case(lambda x, i, v: x.index_fill(-1, i, v), X, I3, (), id="index_fill-tensor", dtypes=ONE),
    case(lambda x, v: x.scatter(1, x.argsort(1)[:, :2], v), X, X, id="scatter", dtypes=HALF),
    case(lambda x, v: x.scatter(-1, x.argsort(-1)[:, :2, :2], v), X, X, id="scatter-smaller", dtypes=ONE),
    case(lambda x, i: x.scatter(1, i, 2.5), X, Ints((B, 2, 5), 0, 3), id="scatter-number", dtypes=HALF),
    case(lambda x, i: x.scatter(0, i, 2.5), (), Ints((), 0, 1), id="scatter-0d", dtypes=ONE),
    case(lambda i: torch.zeros(2, 5).scatter_(1, i, 1.0), Ints((2, 1), 0, 5), id="scatter-one-hot", dtypes=ONE),
    case(lambda x, v: index_put(x, (two(x),), v), FIXED, (12,), id="mask-in-turn", dtypes=HALF),
    case(lambda x, y, v: index_put(x, (None, two(y)), v), X, (3,), (B, 2, 5), id="mask-inside-in-turn", dtypes=ONE),
    case(lambda x, y, v: index_put(x, (two(y),), v), FIXED, (2, 3), (4, 5), id="mask-rows-in-turn", dtypes=ONE),
    case(lambda i: torch.zeros(2, 4).scatter(1, i, 1.0), Ints((2, 9), 0, 4), id="scatter-many", dtypes=ONE),
    case(
        lambda x, i, v: torch.ops.aten._unsafe_index_put(x, [i], v),
        X,
        Ints((1,), 0, 1),
        (3, 5),
        id="unsafe",
        dtypes=ONE,
    ),
    case(lambda x, i, v: x.put(i, v), (4, 5), Ints((1, 1), -20, 20), (1, 1), id="put", dtypes=HALF),
    case(lambda x, i, v: x.put(i, v, accumulate=True), (4, 5), Ints((7,), 0, 20), (7,), id="put-add", dtypes=HALF),
    case(lambda x, y: x.select_scatter(y, 1, -1), X, (B, 5), id="select_scatter", dtypes=ONE),
    case(lambda x, y: x.slice_scatter(y, 2, 1, 4, 2), X, (B, 3, 2), id="slice_scatter", dtypes=ONE),
    case(lambda x, y: x.slice_scatter(y, 1, 3), X, (B, 0, 5), id="slice_scatter-nothing", dtypes=ONE),
    case(lambda x, y: x.diagonal_scatter(y, 1, 1, 2), X, (B, 3), id="diagonal_scatter", dtypes=ONE),
    case(lambda x, y: torch.diagonal_scatter(x, y, -1), (4, 4, B), (B, 3), id="diagonal_scatter-low", dtypes=ONE),
)
def test_writing(function, inputs, dtype):
    check(function, inputs, dtype)


def test_places_that_python_reads_are_refused():
    with pytest.raises(trtconv.DataDependentError):
        trtconv.convert(Function(lambda x, i: x[int(i)]), (torch.randn(4, 2), torch.tensor(1)))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8], ids=str)
def test_masks_that_pick_elements_are_refused(dtype):
    with pytest.raises(trtconv.DataDependentError, match="elements that a mask picks"):
        trtconv.convert(Function(lambda x: x[(x > 0).to(dtype)]), (torch.randn(4, 2),))
