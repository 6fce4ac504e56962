import torch
import torch.nn.functional as F
from cases import B, Bools, Ints, Uniform, case, cases, check, check_sizes

X = (B, 3, 5)
ONE = (torch.float32,)
HALF = (torch.float32, torch.float16)


def wider(x):
    """float32 for half precision; float64 stays what it is."""
    return torch.promote_types(x.dtype, torch.float32)


def each_form(function, name):
    """The ways to say over which dimensions."""
    return [
        *case(lambda x: function(x, -1), X, id=f"{name}-last"),
        *case(lambda x: function(x, 0), X, id=f"{name}-batch", dtypes=ONE),
        *case(lambda x: function(x, dim=1, keepdim=True), X, id=f"{name}-keepdim", dtypes=ONE),
        *case(lambda x: function(x, 0), (), id=f"{name}-0d", dtypes=ONE),
    ]


def several_dims(function, name):
    return [
        *case(lambda x: function(x, (0, 2)), X, id=f"{name}-several", dtypes=HALF),
        *case(lambda x: function(x, (-1, -2), keepdim=True), X, id=f"{name}-several-keepdim", dtypes=ONE),
    ]


def no_dims(function, name):
    return [
        *case(lambda x: function(x, ()), X, id=f"{name}-empty", dtypes=ONE),
        *case(lambda x: function(x, [], keepdim=True), X, id=f"{name}-empty-keepdim", dtypes=ONE),
    ]


@cases(
    *(each(f, f.__name__) for f in (torch.mean, torch.sum) for each in (each_form, several_dims, no_dims)),
    *(each(f, f.__name__) for f in (torch.amax, torch.amin) for each in (each_form, several_dims, no_dims)),
    case(torch.mean, X, id="mean-all"),
    case(torch.sum, X, id="sum-all"),
    case(torch.sum, (), id="sum-of-0d", dtypes=ONE),
    case(torch.amax, X, id="amax-all", dtypes=ONE),
    case(lambda x: x.mean((2,), dtype=wider(x)), X, id="mean-dtype", dtypes=HALF),
    case(lambda x: x.sum(1, dtype=wider(x)), X, id="sum-dtype", dtypes=HALF),
    case(lambda x: x.sum(dtype=torch.int64), Ints(X), id="sum-dtype-int", dtypes=ONE),
    case(lambda x: x.mean(1, dtype=torch.float32), Ints(X), id="mean-int", dtypes=ONE),
    case(lambda x: x.sum(1), Ints(X, dtype=torch.int32), id="sum-int32", dtypes=ONE),
    case(lambda x: x.sum(1), Bools(X), id="sum-bool", dtypes=ONE),
    case(lambda x: x.sum(), Bools(X), id="sum-all-bool", dtypes=ONE),
    case(lambda x: x.amax(1), Ints(X), id="amax-int", dtypes=ONE),
    case(lambda x: x.amin(1), Bools(X), id="amin-bool", dtypes=ONE),
)
def test_reduction(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x: F.softmax(x, 1), X, id="softmax"),
    case(lambda x: F.softmax(x, -1), X, id="softmax-last"),
    case(lambda x: F.softmax(x, 0), X, id="softmax-batch", dtypes=ONE),
    case(lambda x: torch.ops.aten._safe_softmax(x.masked_fill(x > -0.5, -torch.inf), -1), (B, 3), id="safe_softmax"),
    case(lambda x: F.softmax(x, 0), (), id="softmax-0d", dtypes=ONE),
    case(lambda x: F.softmax(x, 0), (5,), id="softmax-1d", dtypes=ONE),
    case(lambda x: F.softmax(x, -1, dtype=wider(x)), X, id="softmax-dtype", dtypes=HALF),
    case(lambda x: torch.softmax(x, 1, torch.float32), Ints(X), id="softmax-int", dtypes=ONE),
    case(lambda x: F.softmin(x, 1), X, id="softmin", dtypes=ONE),
)
def test_softmax(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(torch.prod, (2, 3, 5), id="prod-all"),
    case(lambda x: x.prod(1), X, id="prod"),
    case(lambda x: x.prod(-1, keepdim=True, dtype=wider(x)), X, id="prod-dtype", dtypes=HALF),
    case(lambda x: x.prod(1), Ints(X), id="prod-int", dtypes=ONE),
    case(lambda x: torch.nansum(torch.log(x), -1), X, id="nansum", dtypes=ONE),
    case(lambda x: torch.nanmean(torch.log(x), -1), X, id="nanmean", dtypes=ONE),
    *(case(lambda x, f=f: f(x), X, id=f"{f.__name__}-all", dtypes=HALF) for f in (torch.max, torch.min)),
    case(torch.max, Bools(X), id="max-all-bool", dtypes=ONE),
    case(torch.aminmax, X, dtypes=ONE),
    case(lambda x: tuple(torch.aminmax(x, dim=-1, keepdim=True)), X, id="aminmax-dim", dtypes=ONE),
    case(lambda x: torch.count_nonzero(x, 1), Ints(X), id="count_nonzero", dtypes=ONE),
    case(torch.count_nonzero, Bools(X), dtypes=ONE),
    case(lambda x: torch.count_nonzero(x > 0, (0, -1)), X, id="count_nonzero-dims", dtypes=ONE),
)
def test_more_reductions(function, inputs, dtype):
    check(function, inputs, dtype)


FEW = Ints(X, 0, 2)


@cases(
    *(case(lambda x, f=f: f(x > 0), X, id=f"{f.__name__}-all", dtypes=HALF) for f in (torch.any, torch.all)),
    *(case(lambda x, f=f: f(x, -1), FEW, id=f"{f.__name__}-int", dtypes=ONE) for f in (torch.any, torch.all)),
    *(
        case(lambda x, f=f: f(x, (0, 1), True), FEW, id=f"{f.__name__}-dims", dtypes=ONE)
        for f in (torch.any, torch.all)
    ),
    *(case(lambda x, f=f: f(x, dim=()), FEW, id=f"{f.__name__}-no-dims", dtypes=ONE) for f in (torch.any, torch.all)),
    *(case(lambda x, f=f: f(x, 0), Bools(()), id=f"{f.__name__}-0d", dtypes=ONE) for f in (torch.any, torch.all)),
    case(lambda x: x.any(1, keepdim=True), X, id="any-float", dtypes=HALF),
)
def test_truths(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    *(case(f, X, id=f"{f.__name__}-all") for f in (torch.argmax, torch.argmin)),
    *(case(lambda x, f=f: f(x, 1), X, id=f.__name__) for f in (torch.argmax, torch.argmin)),
    *(case(lambda x, f=f: f(x, -1, True), X, id=f"{f.__name__}-keepdim") for f in (torch.argmax, torch.argmin)),
    *(case(lambda x, f=f: f(x, 1), FEW, id=f"{f.__name__}-equals", dtypes=ONE) for f in (torch.argmax, torch.argmin)),
    *(case(lambda x, f=f: f(x), (), id=f"{f.__name__}-0d", dtypes=ONE) for f in (torch.argmax, torch.argmin)),
    *(case(lambda x, f=f: f(x, 0), (5,), id=f"{f.__name__}-1d", dtypes=ONE) for f in (torch.argmax, torch.argmin)),
    case(lambda x: torch.argmax(x, keepdim=True), X, id="argmax-all-keepdim", dtypes=ONE),
    case(lambda x: torch.argmax(torch.log(x), 1), X, id="argmax-nan"),
    case(lambda x: torch.argmin(x * float("nan"), 1), X, id="argmin-nan", dtypes=ONE),
    case(lambda x: torch.argmax((x > 0).int(), -1), X, id="argmax-first-true", dtypes=ONE),
    *(case(lambda x, f=f: tuple(f(x, 1)), X, id=f"{f.__name__}-dim") for f in (torch.max, torch.min)),
    *(case(lambda x, f=f: f(x, -1, keepdim=True).values, X, id=f"{f.__name__}-values") for f in (torch.max, torch.min)),
    *(case(lambda x, f=f: f(x, 1)[1], FEW, id=f"{f.__name__}-int", dtypes=ONE) for f in (torch.max, torch.min)),
    case(lambda x: tuple(x.max(1)), Bools(X), id="max-bool", dtypes=ONE),
    case(lambda x: tuple(x.max(0)), (), id="max-0d", dtypes=ONE),
)
def test_extremes(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    *(case(f, X, id=f"{f.__name__}-all") for f in (torch.var, torch.std)),
    *(case(lambda x, f=f: f(x, 1), X, id=f.__name__) for f in (torch.var, torch.std)),
    *(
        case(lambda x, f=f: f(x, (0, -1), correction=0, keepdim=True), X, id=f"{f.__name__}-dims")
        for f in (torch.var, torch.std)
    ),
    *(case(lambda x, f=f: f(x, -1, unbiased=False), X, id=f"{f.__name__}-biased") for f in (torch.var, torch.std)),
    *(
        case(lambda x, f=f: f(x, 1, correction=1), (B, 1), id=f"{f.__name__}-of-one", dtypes=ONE)
        for f in (torch.var, torch.std)
    ),
    case(lambda x: torch.var_mean(x, 1), X, id="var_mean"),
    case(lambda x: torch.std_mean(x, (1, 2), correction=0, keepdim=True), X, id="std_mean"),
    case(lambda x: x.var(1) + 100, Uniform(X, 1000, 1001), id="var-far-from-0", dtypes=ONE),
    *(
        case(lambda x, p=p: torch.norm(x, p, -1), X, id=f"norm-{p}")
        for p in (1, 2, 3, 0.5, float("inf"), -float("inf"))
    ),
    case(torch.norm, X, id="norm-all"),
    case(lambda x: torch.linalg.vector_norm(x, 0, 1, keepdim=True), X, id="norm-0"),
    case(
        lambda x: torch.linalg.vector_norm(x, 2, (0, 1), dtype=wider(x)),
        X,
        id="norm-dtype",
        dtypes=HALF,
    ),
    case(lambda x: torch.linalg.norm(x, dim=(-2, -1)), X, id="norm-matrix"),
    case(torch.linalg.norm, X, id="norm-linalg"),
    case(lambda x: F.normalize(x, dim=-1), X, id="normalize"),
    case(lambda x: F.normalize(x, p=1, dim=1), X, id="normalize-1"),
    case(F.cosine_similarity, (B, 3, 5), (B, 3, 5)),
    case(lambda x, y: F.cosine_similarity(x, y, dim=-1), (B, 3, 5), (B, 1, 5), id="cosine_similarity-last"),
    case(F.pairwise_distance, X, X),
    case(lambda x: torch.renorm(x * 3, 1, -1, 1.0), X, id="renorm"),
    *(case(lambda x, o=o: torch.linalg.matrix_norm(x, o), (2, 3, 4), id=f"matrix_norm-{o}") for o in ("fro", 1, -1)),
    case(lambda x: torch.linalg.matrix_norm(x, float("inf")), (2, 3, 4), id="matrix_norm-inf", dtypes=ONE),
    case(lambda x: torch.logsumexp(x, 1), X, id="logsumexp"),
    case(lambda x: torch.logsumexp(x * 100, (0, -1), keepdim=True), X, id="logsumexp-dims"),
    case(lambda x: torch.logsumexp(x / 0, -1), Uniform(X, -1, -0.5), id="logsumexp-infinities", dtypes=ONE),
    case(lambda x: torch.logsumexp(x, -1), Ints(X), id="logsumexp-int", dtypes=ONE),
)
def test_moments_and_norms(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x, f, a: torch.cov(x, fweights=f, aweights=a), (3, 5), Ints((5,), 1, 4), Uniform((5,)), dtypes=ONE),
    case(lambda x, f: x.cov(fweights=f, correction=2), (3, 5), Ints((5,), 1, 4), id="cov-numbers", dtypes=ONE),
    case(lambda x, a: torch.cov(x, aweights=a, correction=0), (5,), Uniform((5,)), id="cov-vector", dtypes=ONE),
    case(lambda x: torch.cov(x, aweights=torch.tensor([0.5, 2, 1])), (2, 3), id="cov-constant", dtypes=ONE),
    case(torch.corrcoef, (3, 5), dtypes=ONE),
)
def test_covariance(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x: torch.cat([x[:0], x[:0]]).sum(), (3, 5), id="sum", dtypes=ONE),
    case(lambda x: (x[:, :0] @ x[:0], x[:0].repeat(2, 3)), (3, 3), id="matmul", dtypes=ONE),
    case(lambda x: torch.nonzero_static(x, size=4), (3, 0, 5), id="input", dtypes=ONE),
    case(lambda x, y: torch.cat([x, y], 1), (3, 0), (3, 2), id="with-others", dtypes=ONE),
    case(lambda x: x.expand(0, 3) + 1, (3,), id="result", dtypes=ONE),
)
def test_tensors_without_elements(function, inputs, dtype):
    check(function, inputs, dtype)


def test_of_a_part_of_which_some_sizes_leave_nothing():
    check_sizes(lambda x: (x[1:] > 0).all(), (2, 5), (1, 7), (3, 1))
