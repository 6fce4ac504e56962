import torch
from cases import B, Bools, Ints, Uniform, case, cases, check

X = (B, 3, 5)
POSITIVE, UNIT, ABOVE_ONE = Uniform(X, 0.05, 20), Uniform(X, -0.99, 0.99), Uniform(X, 1.01, 9)
TINY = Uniform(X, -1e-4, 1e-4)
ONE = (torch.float32,)
UNUSUAL = torch.tensor([float("inf"), float("-inf"), float("nan"), 0.0, -1.0])

EVERYWHERE = [
    "abs",
    "neg",
    "exp",
    "exp2",
    "expm1",
    "sin",
    "cos",
    "tan",
    "atan",
    "asinh",
    "sinh",
    "cosh",
    "sign",
    "sgn",
    "erf",
    "erfc",
]
EVERYWHERE += [
    "ceil",
    "floor",
    "round",
    "trunc",
    "frac",
    "square",
    "sinc",
    "deg2rad",
    "rad2deg",
    "logical_not",
    "positive",
    "fix",
]


@cases(
    *(case(getattr(torch, name), X) for name in EVERYWHERE),
    *(
        case(getattr(torch, name), POSITIVE)
        for name in ["log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal"]
    ),
    *(case(getattr(torch, name), UNIT) for name in ["asin", "acos", "atanh", "erfinv"]),
    *(case(getattr(torch, name), TINY, id=f"{name}-tiny") for name in ["expm1", "log1p", "erfinv"]),
    case(torch.acosh, ABOVE_ONE),
    case(torch.logit, Uniform(X, 0.1, 0.9)),
    case(lambda x: torch.logit(x, eps=0.2), Uniform(X, 0, 1), id="logit-eps"),
    case(lambda x: torch.logit(x, eps=0.6), Uniform(X, -0.5, 1.5), id="logit-eps-over-half"),
    case(lambda x: torch.logit(x, eps=1.0), Uniform(X, 0, 1), id="logit-eps-one"),
    case(torch.isreal, X),
    case(torch.exp, (), id="exp-0d"),
    case(lambda x: -x, X, id="negated", dtypes=ONE),
    case(abs, X, id="magnitude", dtypes=ONE),
    case(lambda x: x.clone().abs_().sqrt_().neg_(), X, id="in-place", dtypes=ONE),
    case(lambda x: torch.round(x * 0.5), Ints(X), id="round-halves", dtypes=ONE),
    case(lambda x: torch.round(x, decimals=2), X, id="round-decimals"),
    case(lambda x: torch.round(x * 1000, decimals=-2), X, id="round-tens", dtypes=ONE),
    case(lambda x: torch.trunc(x * 5), X, id="trunc-wide", dtypes=ONE),
)
def test_unary(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    *(
        case(getattr(torch, name), Ints(X), dtypes=ONE)
        for name in ["abs", "neg", "sign", "sgn", "ceil", "floor", "round", "trunc"]
    ),
    *(case(getattr(torch, name), Ints(X), dtypes=ONE) for name in ["exp", "sin", "atan", "erf", "logical_not"]),
    *(case(getattr(torch, name), Ints(X, 1, 9), dtypes=ONE) for name in ["log", "sqrt", "rsqrt", "log2"]),
    case(torch.square, Ints(X), dtypes=ONE),
    case(lambda x: ~x, Ints(X), id="bitwise_not", dtypes=ONE),
    case(torch.abs, Ints(X, dtype=torch.int32), id="abs-int32", dtypes=ONE),
    case(lambda x: ~x, Bools(X), id="not", dtypes=ONE),
    case(torch.logical_not, Bools(X), dtypes=ONE),
    case(torch.exp, Bools(X), dtypes=ONE),
    case(torch.sign, Bools(X), dtypes=ONE),
    case(torch.isnan, Ints(X), dtypes=ONE),
    case(torch.isinf, Ints(X), dtypes=ONE),
)
def test_integers(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    *(case(getattr(torch, n), X) for n in ["isnan", "isinf", "isfinite", "isposinf", "isneginf"]),
    case(torch.nan_to_num, X),
    case(lambda x: torch.nan_to_num(x, 1.5, 100, -7), X, id="nan_to_num-given"),
    case(torch.nan_to_num, Ints(X), id="nan_to_num-int", dtypes=ONE),
    case(torch.exp, X, id="exp-unusual", dtypes=ONE),
    case(torch.angle, X),
    case(lambda x: torch.special.entr(x * 0.3), X, id="entr"),
    case(torch.trunc, X, id="trunc-unusual", dtypes=ONE),
)
def test_unusual_values(function, inputs, dtype):
    check(lambda x: function(x + UNUSUAL.to(x.dtype) if x.is_floating_point() else x), inputs, dtype)


@cases(
    case(lambda x: x.half(), X, id="half"),
    case(lambda x: x.float(), X, id="float"),
    case(lambda x: x.to(torch.bfloat16), X, id="bfloat16"),
    case(lambda x: (x * 3).long(), X, id="long"),
    case(lambda x: (x * 3).to(torch.int32), X, id="int32"),
    case(lambda x: (x * 0.5).long().bool(), X, id="long-bool"),
    case(lambda x: x.bool(), X, id="bool"),
    case(lambda x: x.to("cpu"), X, id="device", dtypes=ONE),
    case(lambda x: x.to("cpu", torch.float16, copy=True), X, id="device-dtype", dtypes=ONE),
    case(lambda x: x.type(torch.float16), X, id="type", dtypes=ONE),
    case(lambda x, y: x.type_as(y), X, Ints(X), id="type_as", dtypes=ONE),
    case(lambda x: x.to(torch.float16), Bools(X), id="bool-half", dtypes=ONE),
    case(lambda x: x.int(), Bools(X), id="bool-int", dtypes=ONE),
    case(lambda x: x.int(), Ints(X), id="long-int", dtypes=ONE),
    case(lambda x: x.to(x.dtype), X, id="same", dtypes=ONE),
)
def test_casts(function, inputs, dtype):
    check(function, inputs, dtype)
