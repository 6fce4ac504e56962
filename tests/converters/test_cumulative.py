import math

import torch
from cases import FLOATS, B, Bools, Ints, case, cases, check

X = (B, 3, 5)
ONE = (torch.float32,)
HALF = (torch.float32, torch.float16)


def wider(x):
    """float32 for half precision; float64 stays what it is."""
    return torch.promote_types(x.dtype, torch.float32)


def each_form(function, name, dtypes=FLOATS):
    return [
        *case(lambda x: function(x, 1), X, id=name, dtypes=dtypes),
        *case(lambda x: function(x, -1), (B, 17), id=f"{name}-long", dtypes=ONE),
        *case(lambda x: function(x, 0), X, id=f"{name}-batch", dtypes=ONE),
        *case(lambda x: function(x, 0), (), id=f"{name}-0d", dtypes=ONE),
        *case(lambda x: function(x, 0), (5,), id=f"{name}-1d", dtypes=ONE),
    ]


def with_values(high, low):
    """Large and small elements replaced by these."""
    return lambda x: torch.where(x > 0.7, high, torch.where(x < -0.7, low, x))


@cases(
    each_form(torch.cumsum, "cumsum"),
    case(lambda x: torch.cumsum(x, -1, dtype=wider(x)), X, id="cumsum-dtype", dtypes=HALF),
    case(lambda x: x.cumsum(0), Ints(X), id="cumsum-int", dtypes=ONE),
    case(lambda x: x.cumsum(-1), Bools(X), id="cumsum-bool", dtypes=ONE),
    each_form(torch.cumprod, "cumprod"),
    case(lambda x: torch.cumprod(x, -1, dtype=wider(x)), X, id="cumprod-dtype", dtypes=HALF),
    case(lambda x: x.cumprod(1), Ints(X), id="cumprod-int", dtypes=ONE),
    case(lambda x: x.cumprod(1), Bools(X), id="cumprod-bool", dtypes=ONE),
    case(torch.vander, (4,), id="vander", dtypes=ONE),
    case(lambda x: torch.linalg.vander(x, N=3), X, id="linalg.vander", dtypes=ONE),
    each_form(torch.logcumsumexp, "logcumsumexp"),
    case(lambda x: with_values(math.inf, -math.inf)(x * 50).logcumsumexp(1), (B, 9), id="logcumsumexp-inf", dtypes=ONE),
)
def test_sums_and_products(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    each_form(lambda x, dim: tuple(x.cummax(dim)), "cummax", HALF),
    case(lambda x: tuple(with_values(math.nan, -math.inf)(x).cummax(1)), (B, 9), id="cummax-nan", dtypes=ONE),
    case(lambda x: tuple(x.cummax(1)), Ints(X), id="cummax-int", dtypes=ONE),
    case(lambda x: tuple(x.cummax(1)), Bools(X), id="cummax-bool", dtypes=ONE),
    each_form(lambda x, dim: tuple(x.cummin(dim)), "cummin", HALF),
    case(lambda x: tuple(with_values(math.nan, math.inf)(x).cummin(1)), (B, 9), id="cummin-nan", dtypes=ONE),
    case(lambda x: x.cummin(-1)[1], Ints(X, dtype=torch.int32), id="cummin-int32", dtypes=ONE),
)
def test_extremes(function, inputs, dtype):
    check(function, inputs, dtype)
