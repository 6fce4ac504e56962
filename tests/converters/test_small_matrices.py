import pytest
import torch
from cases import B, Function, case, cases, check

import trtconv
from trtconv.errors import UnsupportedArgumentError
from trtconv.inspect import compare

ONE = (torch.float32,)
M1, M3, M8 = (B, 1, 1), (B, 3, 3), (2, 8, 8)


def definite(x):
    return x @ x.mT + x.shape[-1] * torch.eye(x.shape[-1], device=x.device, dtype=x.dtype)


def exchanged(x):
    """Zeros where elimination begins, so that rows have to be exchanged."""
    return torch.where(torch.eye(x.shape[-1], device=x.device) > 0, 0.0, x)


@cases(
    *(
        case(function, shape, id=f"{name}-{shape[-1]}", dtypes=ONE)
        for name, function in (
            ("inv", lambda x: torch.linalg.inv(definite(x))),
            ("inv_ex", torch.linalg.inv_ex),
            ("inverse-exchanged", lambda x: exchanged(x).inverse() if x.shape[-1] > 1 else x.inverse()),
            ("det", torch.linalg.det),
            ("slogdet", torch.linalg.slogdet),
            ("logdet", lambda x: torch.logdet(definite(x))),
            ("cholesky", lambda x: torch.linalg.cholesky(definite(x))),
        )
        for shape in (M1, M3, (4, 4))
    ),
    case(lambda x: torch.linalg.inv(definite(x)), M8, id="inv-8", dtypes=ONE),
    case(lambda x: torch.linalg.det(exchanged(x)), (B, 4, 4), id="det-exchanged", dtypes=ONE),
    case(lambda x: torch.linalg.det(x[:, :, None] * x[:, None, :2].repeat(1, 1, 2)), (B, 4), id="singular", dtypes=ONE),
    case(lambda x: torch.linalg.matrix_power(definite(x), -2), M3, id="matrix_power", dtypes=ONE),
    case(lambda x: torch.linalg.cholesky_ex(definite(x), upper=True), M3, id="cholesky-upper", dtypes=ONE),
    case(lambda x: torch.linalg.cholesky_ex(-definite(x)).info, M3, id="cholesky-info", dtypes=ONE),
    case(lambda x: torch.linalg.inv_ex(x * 0).info, M3, id="inv-info", dtypes=ONE),
    case(torch.linalg.lu_factor_ex, M3, dtypes=ONE),
    *(
        case(function, shape, id=f"{name}-{shape[-2]}-{shape[-1]}", dtypes=ONE)
        for name, function in (
            ("lu", lambda x: torch.linalg.lu(exchanged(x) if x.shape[-1] == x.shape[-2] else x)),
            ("lu_factor", torch.linalg.lu_factor),
            ("lu_unpack", lambda x: torch.lu_unpack(*torch.linalg.lu_factor(x))),
        )
        for shape in ((B, 4, 4), (B, 3, 5), (B, 5, 3))
    ),
    case(lambda x: torch.lu_unpack(*torch.linalg.lu_factor(x), unpack_data=False)[0], (4, 4), id="pivots", dtypes=ONE),
)
def test_of_one_matrix(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda a, b: torch.linalg.solve(definite(a), b), M3, (B, 3, 2), id="solve", dtypes=ONE),
    case(lambda a, b: torch.linalg.solve(definite(a), b), M3, (B, 3), id="solve-vectors", dtypes=ONE),
    case(lambda a, b: torch.linalg.solve(definite(a), b), (3, 3), (3,), id="solve-vector", dtypes=ONE),
    case(lambda a, b: torch.linalg.solve(definite(a), b, left=False), M3, (B, 2, 3), id="solve-right", dtypes=ONE),
    case(lambda a, b: torch.linalg.solve(definite(a), b), (3, 3), (B, 3, 2), id="solve-batches", dtypes=ONE),
    *(
        case(
            lambda a, b, left=left, adjoint=adjoint: torch.linalg.lu_solve(
                *torch.linalg.lu_factor(exchanged(a) + 0.1), b if left else b.mT, left=left, adjoint=adjoint
            ),
            (4, 4),
            (B, 4, 2),
            id=f"lu_solve-{left}-{adjoint}",
            dtypes=ONE,
        )
        for left in (True, False)
        for adjoint in (True, False)
    ),
    case(lambda a, b: torch.linalg.solve_ex(exchanged(a), b), (B, 4, 4), (B, 4, 2), id="solve_ex", dtypes=ONE),
    *(
        case(
            lambda a, b, upper=upper, unit=unit: torch.linalg.solve_triangular(
                torch.triu(definite(a)) if upper else torch.tril(definite(a)), b, upper=upper, unitriangular=unit
            ),
            M3,
            (B, 3, 2),
            id=f"triangular-{upper}-{unit}",
            dtypes=ONE,
        )
        for upper in (True, False)
        for unit in (True, False)
    ),
    case(
        lambda a, b: torch.linalg.solve_triangular(definite(a), b, upper=True, left=False),
        *(M3, (B, 2, 3)),
        id="triangular-right",
        dtypes=ONE,
    ),
    case(lambda a, b: torch.triangular_solve(b, definite(a), transpose=True), M3, (B, 3, 2), id="old", dtypes=ONE),
    case(lambda a, b: torch.cholesky_solve(b, definite(a).tril()), M3, (B, 3, 2), id="cholesky_solve", dtypes=ONE),
    case(lambda a, b: torch.cholesky_solve(b, definite(a).triu(), upper=True), M3, (B, 3, 2), id="upper", dtypes=ONE),
    case(lambda a: torch.cholesky_inverse(definite(a).tril()), M3, id="cholesky_inverse", dtypes=ONE),
)
def test_of_equations(function, inputs, dtype):
    check(function, inputs, dtype)


@pytest.mark.parametrize("function", [torch.linalg.inv, torch.linalg.det, torch.linalg.cholesky], ids=str)
def test_empty_matrices(function):
    module, x = Function(function), torch.randn(2, 0, 0)
    assert compare(module, trtconv.convert(module, x), x).correct


def test_large_matrices_are_refused():
    with pytest.raises(UnsupportedArgumentError, match=r"9 rows and 9 columns.*constant size up to 8"):
        trtconv.convert(Function(torch.linalg.inv), torch.randn(9, 9))


def test_a_size_that_varies_is_refused():
    with pytest.raises(UnsupportedArgumentError, match="constant size up to 8"):
        size = trtconv.Dim(min=2, max=5, name="n")
        sizes = {0: {0: size, 1: size}}
        trtconv.convert(Function(torch.linalg.det), torch.randn(3, 3), dynamic_shapes={"args": sizes})
