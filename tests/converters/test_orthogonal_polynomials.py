import torch
from cases import B, Function, Ints, Uniform, case, cases, check

import trtconv
from trtconv.converters.orthogonal_polynomials import FAMILIES

X = (B, 3, 5)
ONE = (torch.float32,)
T = torch.special.chebyshev_polynomial_t


@cases(
    *(
        case(getattr(torch.special, name), Uniform(X, -2, 2), Uniform((B, 1, 5), -2, 9), id=name, dtypes=ONE)
        for name in FAMILIES
    ),
    case(lambda x: torch.special.hermite_polynomial_h(x, 5), X, id="degree", dtypes=ONE),
    case(lambda n: torch.special.legendre_polynomial_p(0.75, n), Ints((B, 4), -2, 20), id="of-number", dtypes=ONE),
    case(T, Uniform((), -1, 1), Uniform((), 0, 30), id="0d", dtypes=ONE),
    case(T, (0, 3), Uniform((3,)), id="empty", dtypes=ONE),
    case(T, Ints(X, -1, 2), Ints(X, 0, 5), id="integers", dtypes=ONE),
    case(lambda x: T(x, torch.tensor([-3.0, -1.0])), (B, 2), id="none", dtypes=ONE),
)
def test_polynomials(function, inputs, dtype):
    check(function, inputs, dtype)


ENDS = torch.tensor([1.0, -1.0, 0.0])


@cases(
    *(
        case(
            lambda n, name=name, x=x: getattr(torch.special, name)(x, n),
            *(Ints((4, len(x)), 2**20, 2**24),),
            id=name,
            dtypes=ONE,
        )
        for name, x in {
            **dict.fromkeys([each for each in FAMILIES if each.startswith(("cheb", "leg"))], ENDS[:2]),
            **dict.fromkeys([each for each in FAMILIES if each.startswith("shifted")], ENDS[::2]),
            "laguerre_polynomial_l": ENDS[2:],
        }.items()
    )
)
def test_huge_degrees_at_ends(function, inputs, dtype):
    check(function, inputs, dtype)


def test_negative_degrees_are_zero_without_a_sign():
    function = Function(lambda n: T(0.5, n))
    n = torch.tensor([-3.0, -1.0])
    assert not trtconv.convert(function, (n,))(n).signbit().any()
