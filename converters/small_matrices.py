"""Factors, determinants, inverses and equations of small matrices, written out step by step.

As LAPACK's getrf and potrf: elimination takes the largest element of each column for the pivot, which keeps torch's
precision where a formula of cofactors would not. TensorRT has no layers for it, so every step is a few of them;
a matrix has at most `LARGEST` rows. What torch raises on (a singular matrix) gives inf or NaN.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.shape import part
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, is_static, same

aten = torch.ops.aten

LARGEST = 8
"""Rows of the largest matrix that is written out; it takes some 300 layers."""


@dataclasses.dataclass
class Elimination:
    """A matrix after Gaussian elimination with the rows exchanged, P A = L U.

    Attributes:
        rows: The rows [..., 1, columns] of U and of what stood beside A, zeros before each pivot left as they are.
        factors: Of each row the elements of L before its diagonal, [..., 1, 1] each.
        pivots: Which row, from 0 on, was exchanged with each, [..., 1, 1] of int32.
        order: Which row of A each row was, likewise.
        diagonal: The diagonal of U, [..., 1, 1] each.
    """

    rows: list[Any]
    factors: list[list[Any]]
    pivots: list[Any]
    order: list[Any]
    diagonal: list[Any]


def _size(net: Network, x: Any) -> int:
    rows, columns = net.shape(x)[-2:]
    if rows != columns:
        raise UnsupportedArgumentError(f"the matrix has {rows} rows and {columns} columns, not as many")
    return _sizes(net, x)[0]


def _sizes(net: Network, x: Any) -> tuple[int, int]:
    rows, columns = net.shape(x)[-2:]
    if not is_static(rows) or not is_static(columns) or max(rows, columns) > LARGEST:
        raise UnsupportedArgumentError(
            f"the matrix has {rows} rows and {columns} columns; written out layer by layer are those of a "
            f"constant size up to {LARGEST}: compute it outside of the module and make the result an input"
        )
    return int(rows), int(columns)


def _eliminate(net: Network, x: Any, count: int, steps: int | None = None) -> Elimination:
    """Of `count` rows, by as many columns, or by `steps`."""
    rows = [part(net, x, -2, i, 1) for i in range(count)]
    dtype = net.dtype(x)
    batch = net.shape(x)[:-2]
    ones = (*batch, 1, 1)
    order = [net.expand(net.scalar(i, torch.int32, len(ones)), ones) for i in range(count)]
    done = Elimination(rows, [[] for _ in range(count)], [], order, [])
    for k in range(count if steps is None else steps):
        chosen = net.expand(net.scalar(k, torch.int32, len(ones)), ones)
        pivot = rows[k]
        for i in range(k + 1, count):
            ahead = net.elementwise(_magnitude(net, rows[i], k), _magnitude(net, pivot, k), _operation("GREATER"))
            pivot = net.select(ahead, rows[i], pivot, dtype)
            chosen = net.select(ahead, i, chosen, torch.int32)
        _exchange(net, done, k, pivot, chosen)
        element = part(net, pivot, -1, k, 1)
        done.diagonal.append(element)
        done.pivots.append(chosen)
        divisor = net.select(net.elementwise(element, 0, _operation("EQUAL")), 1, element, dtype)
        for i in range(k + 1, count):
            factor = net.div(part(net, rows[i], -1, k, 1), divisor)
            done.factors[i].append(factor)
            rows[i] = net.sub(rows[i], net.mul(factor, pivot))
    return done


def _exchange(net: Network, done: Elimination, k: int, pivot: Any, chosen: Any) -> None:
    """Put the row k in the place of the one that was chosen, and that one in its place."""
    moved, label, factors = done.rows[k], done.order[k], list(done.factors[k])
    taken_label, taken = label, list(factors)
    for i in range(k + 1, len(done.rows)):
        here = net.elementwise(chosen, i, _operation("EQUAL"))
        taken_label = net.select(here, done.order[i], taken_label, torch.int32)
        done.order[i] = net.select(here, label, done.order[i], torch.int32)
        done.rows[i] = net.select(here, moved, done.rows[i], net.dtype(moved))
        for j, factor in enumerate(factors):
            taken[j] = net.select(here, done.factors[i][j], taken[j], net.dtype(factor))
            done.factors[i][j] = net.select(here, factor, done.factors[i][j], net.dtype(factor))
    done.rows[k], done.order[k], done.factors[k] = pivot, taken_label, taken


def _operation(name: str) -> Any:
    return getattr(trt.ElementWiseOperation, name)


def _magnitude(net: Network, row: Any, column: int) -> Any:
    return net.unary(part(net, row, -1, column, 1), trt.UnaryOperation.ABS)


def _turned(net: Network, x: Any) -> Any:
    rank = len(net.shape(x))
    return net.permute(x, [*range(rank - 2), rank - 1, rank - 2])


def _substituted(net: Network, coefficients: Sequence[Sequence[Any]], rows: Sequence[Any], upper: bool) -> Any:
    """The solution of a triangular system; `coefficients[i][j]` and the right sides `rows[i]`."""
    count = len(rows)
    solved: dict[int, Any] = {}
    for i in reversed(range(count)) if upper else range(count):
        value = rows[i]
        for j in range(i + 1, count) if upper else range(i):
            value = net.sub(value, net.mul(coefficients[i][j], solved[j]))
        diagonal = coefficients[i][i]
        solved[i] = value if diagonal is None else net.div(value, diagonal)
    return net.concatenate([solved[i] for i in range(count)], len(net.shape(rows[0])) - 2)


def _solved(net: Network, a: Any, b: Any) -> tuple[Any, Elimination]:
    """The solution X of A X = B for matrices of the same batch."""
    count, width = _size(net, a), net.shape(b)[-1]
    done = _eliminate(net, net.concatenate([a, b], len(net.shape(a)) - 1), count)
    coefficients = [[part(net, row, -1, j, 1) for j in range(count)] for row in done.rows]
    return _substituted(net, coefficients, [part(net, row, -1, count, width) for row in done.rows], True), done


def _info(net: Network, tests: Sequence[Any], shape: Sequence[Size]) -> Any:
    """The number, from 1 on, of the first step that failed; 0 where none did."""
    result = net.expand(net.scalar(0, torch.int32, len(shape)), shape)
    if tests:
        result = net.reshape(result, (*shape, 1, 1))
    for k, failed in reversed(list(enumerate(tests))):
        result = net.select(failed, k + 1, result, torch.int32)
    return net.reshape(result, shape)


def _zeros(net: Network, values: Sequence[Any]) -> list[Any]:
    return [net.elementwise(value, 0, _operation("EQUAL")) for value in values]


@converter(aten.linalg_inv_ex.default)
def inverse(net: Network, x: Any, check_errors: bool) -> Any:
    count, shape = _size(net, x), net.shape(x)
    if not count:
        return net.tensor(x), lambda: _info(net, [], shape[:-2])
    result, done = _solved(net, x, net.expand(torch.eye(count, dtype=net.dtype(x)), shape))
    return result, lambda: _info(net, _zeros(net, done.diagonal), shape[:-2])


@converter(aten._linalg_solve_ex.default)
def solve(net: Network, x: Any, B: Any, left: bool, check_errors: bool) -> Any:
    """X of A X = B, or of X A = B, which is A^T X^T = B^T; B may hold vectors."""
    shape = net.shape(x)
    given, wanted = net.shape(B), tuple(net.output.shape)
    is_vector = len(given) == 1 or (len(given) == len(shape) - 1 and same(given, shape[:-1]))
    if not _size(net, x):
        return net.reshape(B, wanted), None, None, None
    b = net.reshape(B, (*given, 1)) if is_vector else net.tensor(B)
    batch = wanted[: len(wanted) - (1 if is_vector else 2)]
    a, b = (net.expand(each, (*batch, *net.shape(each)[-2:])) for each in (x, b))
    if not left:
        a, b = _turned(net, a), b if is_vector else _turned(net, b)
    result, done = _solved(net, a, b)
    result = result if left or is_vector else _turned(net, result)
    return net.reshape(result, wanted), None, None, lambda: _info(net, _zeros(net, done.diagonal), batch)


@converter(aten._linalg_det.default)
def determinant(net: Network, x: Any) -> Any:
    sign, values = _sign_and_diagonal(net, x)
    for value in values:
        sign = net.mul(sign, value)
    return net.reshape(sign, net.output.shape), None, None


@converter(aten._linalg_slogdet.default)
def log_determinant(net: Network, x: Any) -> Any:
    """The sign and the logarithm of the magnitude of a determinant."""
    sign, values = _sign_and_diagonal(net, x)
    total: Any = None
    for value in values:
        sign = net.mul(sign, net.unary(value, trt.UnaryOperation.SIGN))
        logarithm = net.unary(net.unary(value, trt.UnaryOperation.ABS), trt.UnaryOperation.LOG)
        total = logarithm if total is None else net.add(total, logarithm)
    total = net.mul(sign, 0) if total is None else total
    return *(net.reshape(each, net.output.shape) for each in (sign, total)), None, None


def _sign_and_diagonal(net: Network, x: Any) -> tuple[Any, list[Any]]:
    """The sign of the permutation, [..., 1, 1], and the diagonal of U."""
    count, ones = _size(net, x), (*net.shape(x)[:-2], 1, 1)
    sign = net.expand(net.scalar(1, net.dtype(x), len(ones)), ones)
    done = _eliminate(net, x, count)
    for k, chosen in enumerate(done.pivots):
        stays = net.elementwise(chosen, k, _operation("EQUAL"))
        sign = net.mul(sign, net.select(stays, 1, -1, net.dtype(x)))
    return sign, done.diagonal


@converter(aten.linalg_lu_factor_ex.default)
def lu_factor(net: Network, x: Any, pivot: bool, check_errors: bool) -> Any:
    (count, columns), shape = _factored_sizes(net, x, pivot), net.shape(x)
    steps = min(count, columns)
    done = _eliminate(net, x, count, steps)
    axis = len(shape) - 2
    both = [net.concatenate([*done.factors[i], *_rest(net, row, i, columns)], axis + 1) for i, row in _rows(done)]
    pivots = net.add(net.concatenate(done.pivots, axis), 1)
    return (
        net.concatenate(both, axis),
        net.reshape(pivots, (*shape[:-2], steps)),
        lambda: _info(net, _zeros(net, done.diagonal), shape[:-2]),
    )


@converter(aten.linalg_lu.default)
def lu(net: Network, x: Any, pivot: bool) -> Any:
    """P, L and U with A = P L U."""
    (count, columns), shape = _factored_sizes(net, x, pivot), net.shape(x)
    steps = min(count, columns)
    done = _eliminate(net, x, count, steps)
    axis = len(shape) - 2
    identity = torch.eye(count, steps, dtype=net.dtype(x))
    ends = [net.expand(identity[i : i + 1], (*shape[:-2], 1, steps)) for i in range(count)]
    lower = [[*done.factors[i], *_rest(net, ends[i], i, steps)] for i in range(count)]
    upper = [net.mul(row, (torch.arange(columns) >= i).to(net.dtype(x))) for i, row in _rows(done)[:steps]]
    return (
        _permutation(net, done.order, net.dtype(x)),
        net.concatenate([net.concatenate(row, axis + 1) for row in lower], axis),
        net.concatenate(upper, axis),
    )


def _permutation(net: Network, order: Sequence[Any], dtype: torch.dtype) -> Any:
    """P, which has a 1 in the place of each row of A."""
    columns = net.concatenate(order, len(net.shape(order[0])) - 1)  # [..., 1, n]: the row of A that each row was
    rows = torch.arange(len(order), dtype=torch.int32)[:, None]
    return net.cast(net.elementwise(columns, rows, _operation("EQUAL")), dtype)


def _rest(net: Network, row: Any, start: int, end: int) -> list[Any]:
    """A row from a column on, if it has that."""
    return [part(net, row, -1, start, end - start)] if start < end else []


def _factored_sizes(net: Network, x: Any, pivot: bool) -> tuple[int, int]:
    sizes = _sizes(net, x)
    if not pivot or not all(sizes):
        raise UnsupportedArgumentError(
            f"factors of {sizes[0]} rows and {sizes[1]} columns with pivot={pivot}; some rows, some columns and "
            "pivot=True are needed"
        )
    return sizes


def _order(net: Network, pivots: Any, count: int) -> list[Any]:
    """Which row of A each row of P A is, [..., 1, 1] each, from the exchanges [..., steps] numbered from 1 on."""
    *batch, steps = net.shape(pivots)
    exchanges = net.sub(net.reshape(net.cast(pivots, torch.int32), (*batch, 1, steps)), 1)
    ones = (*batch, 1, 1)
    order = [net.expand(net.scalar(i, torch.int32, len(ones)), ones) for i in range(count)]
    for k in range(int(steps)):
        chosen, moved = part(net, exchanges, -1, k, 1), order[k]
        for i in range(k + 1, count):
            here = net.elementwise(chosen, i, _operation("EQUAL"))
            order[k] = net.select(here, order[i], order[k], torch.int32)
            order[i] = net.select(here, moved, order[i], torch.int32)
    return order


@converter(aten.lu_unpack.default)
def lu_unpack(net: Network, x: Any, LU_pivots: Any, unpack_data: bool, unpack_pivots: bool) -> Any:
    (count, columns), dtype = _sizes(net, x), net.dtype(x)
    steps = min(count, columns)
    row, column = torch.arange(count)[:, None], torch.arange(steps)
    left = part(net, x, -1, 0, steps)
    lower = net.add(net.mul(left, (column < row).to(dtype)), torch.eye(count, steps, dtype=dtype))
    upper = net.mul(part(net, x, -2, 0, steps), (torch.arange(columns) >= torch.arange(steps)[:, None]).to(dtype))
    return (
        _permutation(net, _order(net, LU_pivots, count), dtype) if unpack_pivots else None,
        *((lower, upper) if unpack_data else (None, None)),
    )


@converter(aten.linalg_lu_solve.default)
def lu_solve(net: Network, x: Any, pivots: Any, B: Any, left: bool, adjoint: bool) -> Any:
    """A X = B, X A = B, and with A^T in the place of A, by the factors P A = L U"""
    count = _size(net, x)
    batch = tuple(net.output.shape)[:-2]
    a, b = (net.expand(each, (*batch, *net.shape(each)[-2:])) for each in (x, B))
    p = _permutation(net, _order(net, net.expand(pivots, (*batch, count)), count), net.dtype(x))
    if not left:
        b, adjoint = _turned(net, b), not adjoint
    if adjoint:  # U^T L^T P^T X = B
        a = _turned(net, a)
        solved = _triangular(net, a, b, False)
        result = net.matmul(p, _triangular(net, a, solved, True, unit=True))
    else:
        solved = _triangular(net, a, net.matmul(p, b, transpose_a=True), False, unit=True)
        result = _triangular(net, a, solved, True)
    return result if left else _turned(net, result)


def _rows(done: Elimination) -> list[tuple[int, Any]]:
    return list(enumerate(done.rows))


@converter("aten.cholesky.default")
def cholesky_of(net: Network, x: Any, upper: bool) -> Any:
    return cholesky(net, x, upper, True)[0]


@converter(aten.linalg_cholesky_ex.default)
def cholesky(net: Network, x: Any, upper: bool, check_errors: bool) -> Any:
    """Column by column: what is left of A's column, over the root of its element on the diagonal."""
    count, shape, dtype = _size(net, x), net.shape(x), net.dtype(x)
    if not count:
        return net.tensor(x), lambda: _info(net, [], shape[:-2])
    a = _turned(net, x) if upper else x
    columns: list[Any] = []
    tests: list[Any] = []
    for j in range(count):
        left = part(net, a, -1, j, 1)
        for column in columns:
            left = net.sub(left, net.mul(column, part(net, column, -2, j, 1)))
        square = part(net, left, -2, j, 1)
        tests.append(net.unary(net.elementwise(square, 0, _operation("GREATER")), trt.UnaryOperation.NOT))
        below = (torch.arange(count) >= j)[:, None]
        columns.append(net.select(below, net.div(left, net.unary(square, trt.UnaryOperation.SQRT)), 0, dtype))
    result = net.concatenate(columns, len(shape) - 1)
    return _turned(net, result) if upper else result, lambda: _info(net, tests, shape[:-2])


def _triangular(net: Network, a: Any, b: Any, upper: bool, unit: bool = False) -> Any:
    """The solution of a triangular system, A and B broadcast over their batches."""
    count = _size(net, a)
    if not count:
        return net.tensor(b)
    coefficients = [
        [None if unit and i == j else part(net, part(net, a, -2, i, 1), -1, j, 1) for j in range(count)]
        for i in range(count)
    ]
    return _substituted(net, coefficients, [part(net, b, -2, i, 1) for i in range(count)], upper)


def _pair(net: Network, a: Any, b: Any) -> tuple[Any, Any]:
    batch = tuple(net.output.shape)[:-2]
    expanded = [net.expand(each, (*batch, *net.shape(each)[-2:])) for each in (a, b)]
    return expanded[0], expanded[1]


@converter(aten.linalg_solve_triangular.default)
def solve_triangular(net: Network, x: Any, B: Any, upper: bool, left: bool, unitriangular: bool) -> Any:
    a, b = _pair(net, x, B)
    if left:
        return _triangular(net, a, b, upper, unitriangular)
    return _turned(net, _triangular(net, _turned(net, a), _turned(net, b), not upper, unitriangular))


@converter(aten.triangular_solve.default)
def triangular_solve(net: Network, x: Any, A: Any, upper: bool, transpose: bool, unitriangular: bool) -> Any:
    a, b = _pair(net, A, x)
    if transpose:
        return _triangular(net, _turned(net, a), b, not upper, unitriangular), lambda: a
    return _triangular(net, a, b, upper, unitriangular), lambda: a


@converter(aten.cholesky_solve.default)
def cholesky_solve(net: Network, x: Any, input2: Any, upper: bool) -> Any:
    """A X = B by the factors of A, L L^T or U^T U"""
    factor, b = _pair(net, input2, x)
    return _by_cholesky(net, factor, b, upper)


@converter(aten.cholesky_inverse.default)
def cholesky_inverse(net: Network, x: Any, upper: bool) -> Any:
    identity = torch.eye(_size(net, x), dtype=net.dtype(x))
    factor, b = _pair(net, x, identity)
    return _by_cholesky(net, factor, b, upper)


def _by_cholesky(net: Network, factor: Any, b: Any, upper: bool) -> Any:
    turned = _turned(net, factor)
    lower, higher = (turned, factor) if upper else (factor, turned)
    return _triangular(net, higher, _triangular(net, lower, b, False), True)
