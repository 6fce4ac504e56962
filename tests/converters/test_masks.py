import torch
from cases import B, Bools, Ints, case, cases, check

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
