import torch
from cases import B, Ints, Uniform, case, cases, check

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
