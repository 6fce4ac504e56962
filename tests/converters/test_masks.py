import pytest
import torch
import torch.nn.functional as F
from cases import FLOATS, B, Bools, Function, Ints, case, cases, check
from releases import runs, skipped_without

import trtconv

X = (B, 3, 5)
ONE = (torch.float32,)


@cases(
    case(torch.masked_scatter, X, Bools(X), X),
    case(torch.masked_scatter, X, Bools((B, 3, 1)), X, id="broadcast", dtypes=ONE),
    case(torch.masked_scatter, (3, 1), Bools((5,)), (3, 5), id="broadcast-x", dtypes=ONE),
    case(lambda x, m: x.masked_scatter(m, -x), Ints(X), Bools((5,)), id="int", dtypes=ONE),
    case(lambda x, m: x.clone().masked_scatter_(m, x.flatten().flip(0)), X, Bools(X), id="in-place", dtypes=ONE),
)
def test_masked_scatter(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x: torch.nonzero_static(x, size=4), Bools((3, 5)), id="some", dtypes=ONE),
    case(lambda x: torch.nonzero_static(x, size=20, fill_value=7), Ints(X, -1, 2), id="more", dtypes=ONE),
    case(lambda x: torch.nonzero_static(x, size=3), (7,), id="1d", dtypes=ONE),
    case(lambda x: torch.nonzero_static(x, size=3, fill_value=2), (B, 0), id="empty", dtypes=ONE),
    case(lambda x: torch.nonzero_static(x, size=3), (), id="0d", dtypes=ONE),
)
def test_nonzero_static(function, inputs, dtype):
    check(function, inputs, dtype)


def written(write):
    """Let a function write to a copy of its first argument."""

    def function(x, *others):
        x = x.clone()
        result = write(x, *others)
        return x if result is None else result

    return function


def assign(y, mask, value):
    y[mask] = value


class Rows(torch.nn.Linear):
    """A layer, a norm and a function of the rows that a mask picks."""

    def forward(self, x, mask):
        y = x.clone()
        y[mask] = F.layer_norm(super().forward(x[mask]), (5,)).softmax(-1).relu()
        return y


def added_to_some(x, labels, w):
    x[labels == -1] += w


def doubled_apart(x, mask):
    picked = x[mask]
    picked.mul_(2).add_(1)
    result = x * 0
    result[mask] = picked
    return result


PLACES = Bools((B, 3))


@cases(
    case(written(lambda y, m: assign(y, m, torch.exp(y[m]) * 2 + 1)), X, PLACES, id="function", dtypes=FLOATS),
    case(written(added_to_some), X, Ints((B, 3), -1, 1), (5,), id="add", dtypes=ONE),
    case(written(lambda y: assign(y, y > 0, y[y > 0].sqrt())), X, id="equal-masks", dtypes=ONE),
    case(written(lambda y, m: assign(y, (slice(None), m), y[:, m] * 3)), X, Bools((3,)), id="inside", dtypes=ONE),
    case(written(lambda y, m: assign(y, (..., m), -y[..., m])), X, Bools((5,)), id="last", dtypes=ONE),
    case(written(lambda y, m, z: assign(y, m, F.gelu(y[m]) + z[m])), X, PLACES, X, id="two", dtypes=ONE),
    case(written(lambda y, m: assign(y, m, y[m].long().to(y.dtype))), X, PLACES, id="cast", dtypes=ONE),
    case(
        written(lambda y, m, t, i: assign(y, m, F.embedding(i[m], t))), X, PLACES, (4, 5), Ints((B, 3), 0, 4), id="rows"
    ),
    case(Rows(5, 5), X, PLACES, id="layers", dtypes=ONE),
    skipped_without(
        runs(lambda: torch.ones(2, 3, 5)[torch.ones(2, 3, dtype=torch.bool), 1]),
        case(written(lambda y, m: assign(y, (m, 1), y[m, 1] * 2)), X, PLACES, id="number", dtypes=ONE),
    ),
    case(
        written(lambda y, m: assign(y, (1, ..., m), y[1, ..., m] * 2)), (2, 3, 5), Bools((5,)), id="behind", dtypes=ONE
    ),
    case(written(lambda y, m: assign(y[:, 1:], m, -y[:, 1:][m])), X, Bools((B, 2)), id="view", dtypes=ONE),
    case(written(lambda y, m: assign(y, m, y[m] - y[m].mean(-1, keepdim=True))), X, PLACES, id="mean", dtypes=ONE),
    case(written(lambda y, m: assign(y[..., 0], m, y[m].amax(-1))), X, PLACES, id="amax", dtypes=ONE),
    case(written(doubled_apart), X, PLACES, id="copies", dtypes=ONE),
    case(lambda x, m: x.masked_scatter(m, x.masked_select(m) * 2), X, Bools(X), id="masked_select", dtypes=ONE),
    case(written(lambda y, m: assign(y, m.byte(), y[m.byte()] + 1)), X, PLACES, id="bytes", dtypes=ONE),
)
@pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8:UserWarning")
def test_written_back(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(torch.where, Ints(X, 0, 3, torch.uint8), X, X, id="where", dtypes=ONE),
    case(lambda c, x: torch.where(c.byte(), x, 0.5), Bools(X), X, id="number", dtypes=ONE),
)
@pytest.mark.filterwarnings("ignore:where received a uint8 condition:UserWarning")
def test_bytes_are_conditions(function, inputs, dtype):
    check(function, inputs, dtype)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, m: x[m],
        lambda x, m: x[m].sum(),
        lambda x, m: torch.ones_like(x[m]).sum(),
        lambda x, m: assign(x, m, x[m] / x[m].shape[0]),
        lambda x, m: assign(x, m, x[m] / len(x[m])),
        lambda x, m: assign(x, m, x[~m]),
        lambda x, m: assign(x, m, x[m].cumsum(0)),
        lambda x, m: assign(x, m, x[m].softmax(0)),
        lambda x, m: assign(x, m, x[m] - x[m].mean(0)),
        lambda x, m: assign(x, m, x[m] + torch.ones(6, 1)),
        lambda x, m: assign(x, m, x[m][m.flatten()]),
        lambda x, m: assign(x, m, torch.cat([x[m], x[m]])),
    ],
    ids=["result", "sum", "count", "shape", "len", "other-mask", "cumsum", "softmax", "mean", "along", "again", "cat"],
)
def test_what_depends_on_how_many_are_picked_is_refused(function):
    with pytest.raises(trtconv.DataDependentError, match=r"elements that a mask picks.* depends on"):
        trtconv.convert(Function(written(function)), (torch.randn(2, 3, 5), torch.rand(2, 3) < 0.5))


class FirstFour(torch.nn.Module):
    def forward(self, x):
        return torch.nonzero_static(x, size=4)


def test_nonzero_static_of_nothing_in_a_range():
    sizes = (0, 2, 5)
    converted = trtconv.convert(FirstFour(), (torch.ones(2, 3),), dynamic_shapes={"x": {0: sizes, 1: sizes}})
    for shape in ((2, 3), (0, 3), (2, 0), (0, 0)):
        x = torch.ones(shape)
        assert torch.equal(converted(x), FirstFour()(x)), shape
