import pytest
import torch
from cases import B, Bools, Function, Ints, case, cases, check

import trtconv

X = (B, 3, 7)
ONE = (torch.float32,)
HALF = (torch.float32, torch.float16)


def along(dim, function):
    """The values, and what lies at the indices: which of equal elements these name is left open."""

    def values_and_found(x):
        values, indices = function(x)
        return values, x.gather(dim, indices)

    return values_and_found


@cases(
    case(along(-1, lambda x: x.topk(3)), X, id="topk"),
    case(along(1, lambda x: torch.topk(x, 2, dim=1, largest=False)), X, id="topk-smallest", dtypes=HALF),
    case(along(0, lambda x: x.topk(1, 0)), (5,), id="topk-1d", dtypes=ONE),
    case(along(0, lambda x: x.topk(1, 0, sorted=False)), X, id="topk-unsorted", dtypes=ONE),
    case(lambda x: tuple(x.topk(1)), (), id="topk-0d", dtypes=ONE),
    case(along(-1, lambda x: x.topk(3)), Ints(X), id="topk-int", dtypes=ONE),
    case(lambda x: x.topk(3, -1)[1], (B, 7), id="topk-indices", dtypes=ONE),
    case(along(-1, torch.sort), X, id="sort"),
    case(along(1, lambda x: x.sort(1, descending=True)), X, id="sort-descending", dtypes=HALF),
    case(lambda x: x.sort(stable=True).values, Ints(X), id="sort-stable-values", dtypes=ONE),
    case(lambda x: tuple(x.sort()), (), id="sort-0d", dtypes=ONE),
    case(lambda x: x.sort(-1)[0], Bools(X), id="sort-bool", dtypes=ONE),
    case(torch.msort, (4, 3), dtypes=ONE),
    case(lambda x: x.argsort(1), X, id="argsort", dtypes=ONE),
    case(lambda x: torch.argsort(x, -1, descending=True), X, id="argsort-descending", dtypes=ONE),
    case(along(-1, lambda x: x.kthvalue(2, keepdim=True)), X, id="kthvalue", dtypes=HALF),
    case(lambda x: x.kthvalue(3, 1)[0], X, id="kthvalue-dim", dtypes=ONE),
    case(lambda x: tuple(x.kthvalue(1)), (), id="kthvalue-0d", dtypes=ONE),
    case(lambda x: tuple(x.median(1)), X, id="median", dtypes=ONE),
    case(lambda x: x.median(-1, keepdim=True)[0], (B, 6), id="median-even", dtypes=HALF),
    case(torch.median, (4, 3), id="median-all", dtypes=HALF),
)
def test_sorting(function, inputs, dtype):
    check(function, inputs, dtype)


EDGES = torch.tensor([-1.0, 0.0, 2.0])


@cases(
    case(lambda x: torch.bucketize(x, EDGES), X, id="bucketize", dtypes=ONE),
    case(lambda x: torch.bucketize(x, EDGES, right=True, out_int32=True), Ints(X), id="bucketize-right", dtypes=ONE),
    case(lambda x: torch.searchsorted(EDGES, x), X, id="searchsorted", dtypes=ONE),
    case(lambda x: torch.searchsorted(EDGES, x, side="right"), Ints(X), id="searchsorted-side", dtypes=ONE),
)
def test_buckets(function, inputs, dtype):
    check(function, inputs, dtype)


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: x.sort(0)[0], "3840"),
        (lambda x: x.topk(3841, 0)[1], "3840"),
        (lambda x: x[:9].sort(dim=0, stable=True)[1], "doesn't give"),
        (lambda x: torch.argsort(x[:9], stable=True), "doesn't give"),
        (lambda x: torch.quantile(x, 0.3), "float64"),
        (lambda x: torch.searchsorted(torch.zeros(4000, 2), x[:, None]), "one sorted sequence"),
    ],
)
def test_refused(function, words):
    with pytest.raises(trtconv.UnsupportedArgumentError, match=words):
        trtconv.convert(Function(lambda x: function(x) + 0), (torch.randn(4000),))
