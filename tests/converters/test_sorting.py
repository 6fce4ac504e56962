import pytest
import torch
from cases import DEVICE, B, Bools, Function, Ints, case, cases, check
from releases import runs, skipped_without

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
    case(lambda x: tuple(x.sort(stable=True)), Ints(X, 0, 3), id="sort-stable", dtypes=ONE),
    case(lambda x: x.round().argsort(dim=1, stable=True, descending=True), X, id="argsort-stable", dtypes=HALF),
    case(lambda x: x.argsort(dim=0, stable=True), Bools(X), id="argsort-stable-bool", dtypes=ONE),
    case(lambda x: x.argsort(stable=True), Ints((B,), 0, 3), id="argsort-stable-dynamic", dtypes=ONE),
    case(lambda x: tuple(x.sort()), (), id="sort-0d", dtypes=ONE),
    case(lambda x: x.sort(-1)[0], Bools(X), id="sort-bool", dtypes=ONE),
    case(torch.msort, (4, 3), dtypes=ONE),
    case(lambda x: x.argsort(1), X, id="argsort", dtypes=ONE),
    case(lambda x: torch.argsort(x, -1, descending=True), X, id="argsort-descending", dtypes=ONE),
    case(along(-1, lambda x: x.kthvalue(2, keepdim=True)), X, id="kthvalue", dtypes=HALF),
    case(lambda x: x.kthvalue(3, 1)[0], X, id="kthvalue-dim", dtypes=ONE),
    case(lambda x: tuple(x.kthvalue(1)), (), id="kthvalue-0d", dtypes=ONE),
    case(lambda x: x.sort(0)[0], X, id="sort-dynamic", dtypes=ONE),
    case(lambda x: x.topk(x.shape[0] // 2 + 1, 0)[0], (B,), id="topk-dynamic", dtypes=ONE),
)
def test_sorting(function, inputs, dtype):
    check(function, inputs, dtype)


def nans(x):
    """NaN in the place of large elements."""
    return torch.where(x > 1, torch.nan, x)


def found(function):
    """Whether NaN lies at the places that a function along the dimension 1 finds."""
    return lambda x: nans(x).isnan().take_along_dim(function(nans(x), 1, keepdim=True)[1], 1)


@cases(
    case(lambda x: tuple(x.median(1)), X, id="median"),
    case(lambda x: x.median(-1, keepdim=True)[0], (B, 6), id="median-even", dtypes=HALF),
    case(torch.median, (4, 3), id="median-all", dtypes=HALF),
    case(torch.median, (B,), id="median-dynamic", dtypes=ONE),
    case(lambda x: nans(x).median(-1)[0], X, id="median-nan", dtypes=HALF),
    case(found(torch.median), X, id="median-nan-place", dtypes=ONE),
    case(lambda x: tuple(x.median(0)), (), id="median-0d", dtypes=ONE),
    case(lambda x: x.median(-1)[0], Ints(X), id="median-int", dtypes=ONE),
    case(lambda x: tuple(nans(x).nanmedian(1)), X, id="nanmedian"),
    case(lambda x: (x * torch.nan).nanmedian(-1, keepdim=True)[0], X, id="nanmedian-of-none", dtypes=ONE),
    case(lambda x: nans(x).nanmedian(), (3, 4), id="nanmedian-all", dtypes=ONE),
    case(lambda x: x.nanmedian(1)[0], Ints(X), id="nanmedian-int", dtypes=ONE),
)
def test_medians(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x: x.mode(1)[0], Ints((B, 9), 0, 4), id="mode", dtypes=ONE),
    case(lambda x: tuple(x.round().mode(1, keepdim=True)), (B, 7), id="mode-float", dtypes=HALF),
    case(lambda x: x.mode(-1)[0], Bools(X), id="mode-bool", dtypes=ONE),
    case(lambda x: tuple(x.mode()), (), id="mode-0d", dtypes=ONE),
)
@pytest.mark.skipif(DEVICE.type == "cuda", reason="of equally frequent values PyTorch gives another on CUDA")
def test_modes(function, inputs, dtype):
    check(function, inputs, dtype)


def quantile(interpolation, name="quantile"):
    def quantiles(x):
        q = torch.tensor([0.1, 0.75, 0, 1]).to(x)
        one = getattr(x, name)(0.3, 1, interpolation=interpolation)
        return one, getattr(nans(x), name)(q, -1, keepdim=True, interpolation=interpolation)

    return quantiles


@cases(
    *(
        case(quantile(m), X, id=f"quantile-{m}", dtypes=ONE)
        for m in ("linear", "lower", "higher", "nearest", "midpoint")
    ),
    *(case(quantile(m, "nanquantile"), X, id=f"nanquantile-{m}", dtypes=ONE) for m in ("linear", "higher", "midpoint")),
    case(lambda x: x.quantile(0.9), (3, 4), id="quantile-all", dtypes=ONE),
    case(lambda x: x.quantile(torch.tensor([0.9]).to(x), keepdim=True), (3, 4), id="quantile-all-keepdim", dtypes=ONE),
    case(lambda x: x.nanquantile(0.9), (), id="nanquantile-0d", dtypes=ONE),
)
def test_quantiles(function, inputs, dtype):
    check(function, inputs, dtype)


EDGES = torch.tensor([-1.0, 0.0, 2.0])


@cases(
    case(lambda x: torch.bucketize(nans(x), EDGES.to(x)), X, id="bucketize", dtypes=HALF),
    case(lambda x: torch.bucketize(x, EDGES, right=True, out_int32=True), Ints(X), id="bucketize-right", dtypes=ONE),
    skipped_without(
        runs(lambda: torch.bucketize(0.3, torch.ones(6, device="meta"))),
        case(lambda x: torch.bucketize(0.3, x.sort()[0]), (6,), id="bucketize-number", dtypes=ONE),
    ),
    case(lambda x: torch.searchsorted(EDGES, x), X, id="searchsorted", dtypes=ONE),
    case(lambda x: torch.searchsorted(EDGES, x, side="right"), Ints(X), id="searchsorted-side", dtypes=ONE),
    case(lambda x: torch.searchsorted(x.sort()[0], 0.3), (6,), id="searchsorted-number", dtypes=ONE),
    case(lambda e, x: torch.searchsorted(e.sort(-1)[0], x), (B, 3, 6), X, id="searchsorted-rows", dtypes=ONE),
    case(
        lambda e, x: torch.searchsorted(e, x, right=True, sorter=e.argsort(-1)),
        *(Ints((B, 3, 6)), Ints(X)),
        id="searchsorted-sorter",
        dtypes=ONE,
    ),
)
def test_buckets(function, inputs, dtype):
    check(function, inputs, dtype)


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: x.sort(0)[0], "3840"),
        (lambda x: x.topk(3841, 0)[1], "3840"),
        (lambda x: torch.quantile(x, 0.3), "3840"),
        (lambda x: torch.quantile(x[:5], x[0].abs() * 0 + 0.5), "q must be"),
    ],
)
def test_refused(function, words):
    with pytest.raises(trtconv.UnsupportedArgumentError, match=words):
        trtconv.convert(Function(lambda x: function(x) + 0), (torch.randn(4000),))
