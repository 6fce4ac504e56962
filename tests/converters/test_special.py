import math

import pytest
import torch
from cases import B, Function, Ints, Uniform, case, cases, check

import trtconv
from trtconv.inspect import compare

ONE = (torch.float32,)
S = torch.special
WIDE = {"log_ndtr": -30, "i0": -80, "i1": -80, "i0e": -200, "i1e": -200, "bessel_j0": -40, "bessel_j1": -40}
EVERYWHERE = [*WIDE, "erfcx", "spherical_bessel_j0", "modified_bessel_i0", "modified_bessel_i1", "gammaln", "digamma"]
POSITIVE = [
    *("bessel_y0", "bessel_y1", "modified_bessel_k0", "modified_bessel_k1"),
    *("scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "gammaln", "digamma"),
]


def uniform(low, high, count=40):
    return Uniform((B, count), low, high)


@cases(
    *(case(getattr(S, name), uniform(-9, 9), id=name, dtypes=ONE) for name in EVERYWHERE),
    *(case(getattr(S, name), uniform(low, -low), id=f"{name}-wide", dtypes=ONE) for name, low in WIDE.items()),
    *(case(getattr(S, name), uniform(0.01, 30), id=f"{name}-positive", dtypes=ONE) for name in POSITIVE),
    *(case(getattr(S, name), uniform(0.5, 3), id=f"{name}-near", dtypes=ONE) for name in (*EVERYWHERE, *POSITIVE)),
    # From -3 to -2.09 torch's float64 isn't precise.
    *(case(S.airy_ai, uniform(*ends), id=f"airy-{ends[0]}", dtypes=ONE) for ends in ((-9, -3.2), (-2, 2), (2, 9))),
    case(S.gammaln, uniform(20, 1e6), id="gammaln-large", dtypes=ONE),
    case(S.ndtri, uniform(0, 1), id="ndtri", dtypes=ONE),
    case(S.ndtri, uniform(0, 1e-6), id="ndtri-tail", dtypes=ONE),
    *(case(lambda x, n=n: torch.polygamma(n, x), uniform(-9, 9), id=f"polygamma-{n}", dtypes=ONE) for n in range(5)),
    case(lambda x: torch.polygamma(2, x), uniform(5, 500), id="polygamma-far", dtypes=ONE),
    *(case(lambda x, p=p: torch.mvlgamma(x, p), uniform(3, 9), id=f"mvlgamma-{p}", dtypes=ONE) for p in (1, 3)),
    case(torch.lgamma, Ints((B, 9), 1, 20), id="lgamma-integers", dtypes=ONE),
    case(torch.lgamma, (), id="lgamma-0d", dtypes=ONE),
    case(torch.lgamma, uniform(0.1, 9), id="lgamma-half", dtypes=(torch.float16, torch.bfloat16)),
)
def test_special_functions(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(S.zeta, uniform(0.5, 9), uniform(0.1, 9), id="zeta", dtypes=ONE),
    case(lambda s, q: S.zeta(s.round(), q), uniform(2, 9), uniform(-9, 9), id="zeta-negative", dtypes=ONE),
    case(S.zeta, uniform(1.5, 4), uniform(-2, 2), id="zeta-undefined", dtypes=ONE),
    case(lambda q: S.zeta(2.5, q), uniform(1, 90), id="zeta-of-number", dtypes=ONE),
    case(lambda s: S.zeta(s, 3.0), uniform(1.5, 20), id="zeta-number", dtypes=ONE),
)
def test_zeta(function, inputs, dtype):
    check(function, inputs, dtype)


OF_ONE = [getattr(S, name) for name in dict.fromkeys([*EVERYWHERE, *POSITIVE, "airy_ai", "ndtri"])]
OF_ONE += [lambda x: torch.polygamma(2, x), lambda x: S.zeta(x, x * 0 + 2), lambda x: S.zeta(x * 0 + 3, x)]


@pytest.mark.parametrize("function", OF_ONE, ids=lambda function: function.__name__)
def test_poles_and_infinities(function):
    x = torch.tensor([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, -1.5, 0.5, math.inf, -math.inf, math.nan])
    comparison = compare(Function(function), trtconv.convert(Function(function), x), x)
    assert not comparison.outputs[0].problem, comparison
