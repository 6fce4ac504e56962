"""What functions of complex numbers compute, as functions of real and imaginary parts."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from trtconv.capture.names import canonical_name
from trtconv.capture.trace import Target
from trtconv.errors import UnsupportedArgumentError
from trtconv.passes.fourier import real_transform, transform, transform_of_real
from trtconv.sizes import product

aten = torch.ops.aten
Formula = Callable[..., Any]


class Complex:
    """A complex tensor, or number, as two real ones."""

    def __init__(self, real: Any, imaginary: Any) -> None:
        self.real, self.imaginary = real, imaginary


def formula(target: Target) -> Formula | None:
    """The formula for calls of a function or an operator, or None.

    It takes and gives `Complex` in the place of complex tensors.
    """
    operator = target.overloadpacket if isinstance(target, OpOverload) else canonical_name(target)
    if operator in _FORMULAS:
        return _FORMULAS[operator]
    if operator in _PART_BY_PART:
        return functools.partial(_part_by_part, target)
    if operator in _PRODUCTS:
        return functools.partial(_product, target)
    return None


def _part_by_part(target: Target, *args: Any, **kwargs: Any) -> Any:
    """The same for the real and the imaginary parts; of real operands these are 0."""
    results = [target(*_mapped(part, args), **_mapped(part, kwargs)) for part in (_real, _imaginary)]
    real, imaginary = (pytree.tree_leaves(result) for result in results)
    pairs = [Complex(*pair) for pair in zip(real, imaginary, strict=True)]
    return pairs if isinstance(results[0], (list, tuple)) else pairs[0]


def _mapped(part: Callable[[Any], Any], structure: Any) -> Any:
    return pytree.tree_map(part, structure, is_leaf=lambda leaf: isinstance(leaf, Complex))


def _real(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return value.to_real()
    return value.real if isinstance(value, (Complex, complex)) else value


def _imaginary(value: Any) -> Any:
    """Integers and truth values are places, sizes and masks: they stay."""
    if isinstance(value, torch.dtype):
        return value.to_real()
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return torch.zeros_like(value)
    if isinstance(value, complex):
        return value.imag
    return value.imaginary if isinstance(value, Complex) else 0.0 if isinstance(value, float) else value


def _product(target: Target, *args: Any, **kwargs: Any) -> Complex:
    """(a + bi)(c + di) = ac - bd + (ad + bc)i for what is linear in each of two operands."""
    leaves, nesting = pytree.tree_flatten((args, kwargs), is_leaf=lambda leaf: isinstance(leaf, Complex))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, (Complex, complex))]

    def of(*parts: Callable[[Any], Any]) -> torch.Tensor:
        chosen = list(leaves)
        for place, part in zip(places, parts, strict=True):
            chosen[place] = part(leaves[place])
        args, kwargs = pytree.tree_unflatten(chosen, nesting)
        result: torch.Tensor = target(*args, **kwargs)
        return result

    if len(places) == 1:
        return Complex(of(_real), of(_imaginary))
    if len(places) > 2:
        raise UnsupportedArgumentError("products of more than two complex operands at once have no formula")
    real = of(_real, _real) - of(_imaginary, _imaginary)
    return Complex(real, of(_real, _imaginary) + of(_imaginary, _real))


def _times(a: Any, b: Any) -> Complex:
    return _product(torch.mul, a, b)


def _plus(a: Any, b: Any, *, alpha: float = 1) -> Complex:
    return _sum(torch.add, a, b, alpha=alpha)


def _sum(target: Formula, a: Any, b: Any, *, alpha: float = 1) -> Complex:
    """A sum or difference; an integer is an operand here."""
    a, b = (float(each) if isinstance(each, int) else each for each in (a, b))
    result: Complex = _part_by_part(target, a, b, alpha=alpha)
    return result


def _from_real(x: Any) -> Complex:
    return x if isinstance(x, Complex) else Complex(x, torch.zeros_like(x))


def _conjugate(z: Complex) -> Complex:
    return Complex(z.real, -z.imaginary)


def _quotient(a: Any, b: Any) -> Complex:
    """a / b = a conj(b) / |b|^2"""
    if isinstance(b, complex):
        return _times(a, 1 / b)
    if not isinstance(b, Complex):
        return Complex(a.real / b, a.imaginary / b)
    square = b.real * b.real + b.imaginary * b.imaginary
    z = _times(a, _conjugate(b))
    return Complex(z.real / square, z.imaginary / square)


def _power(z: Complex, exponent: float) -> Complex:
    if exponent != int(exponent) or not 1 <= exponent <= 4:
        raise UnsupportedArgumentError(f"complex numbers to the power of {exponent} have no formula")
    return functools.reduce(_times, [z] * int(exponent))


def _converted(x: Any, *, dtype: torch.dtype | None = None, **options: Any) -> Any:
    """To another dtype: real numbers become complex, or the imaginary parts are lost."""
    if dtype is None:
        return x
    if not dtype.is_complex:
        return aten._to_copy(x.real, dtype=dtype)
    return _part_by_part(aten._to_copy, _from_real(x), dtype=dtype)


def _filled(z: Complex, value: Any) -> Complex:
    if isinstance(value, (Complex, torch.Tensor)):
        result: Complex = _part_by_part(aten.copy.default, z, value)
        return result
    number = complex(value)
    return Complex(torch.full_like(z.real, number.real), torch.full_like(z.imaginary, number.imag))


def _polar(size: torch.Tensor, angle: torch.Tensor) -> Complex:
    return Complex(size * angle.cos(), size * angle.sin())


def _padded(x: Complex, pad: Sequence[int], value: float | None = 0) -> Complex:
    result: Complex = _part_by_part(aten.constant_pad_nd, x, pad, float(value or 0))
    return result


def _pad(x: Complex, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Complex:
    if mode == "constant":
        return _padded(x, pad, value)
    return Complex(*(F.pad(part, pad, mode) for part in (x.real, x.imaginary)))


def _linear(x: Any, weight: Any, bias: Any = None) -> Complex:
    result = _product(torch.matmul, x, _part_by_part(torch.t, weight) if isinstance(weight, Complex) else weight.t())
    return result if bias is None else _plus(result, bias)


def _added(x: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Complex:
    """beta x + alpha a b"""
    result = _product(torch.matmul, a, b)
    result = result if alpha == 1 else _times(result, alpha)
    return _plus(result, x if beta == 1 else _times(x, beta))


def _equal(a: Any, b: Any) -> Any:
    pair = [Complex(each.real, each.imag) if isinstance(each, complex) else each for each in (a, b)]
    a, b = (each if isinstance(each, Complex) else Complex(each, 0.0) for each in pair)
    return torch.logical_and(a.real == b.real, b.imaginary == a.imaginary)


# -- Fourier transforms, by ATen's numbers for how they are normalized: not, by the root of n, by n ------------


def _normalized(z: Any, normalization: int, count: Any) -> Any:
    if normalization == 0:
        return z
    factor = 1 / count if normalization == 2 else 1 / math.sqrt(count)
    return Complex(z.real * factor, z.imaginary * factor) if isinstance(z, Complex) else z * factor


def _count(z: Any, dims: Sequence[int]) -> Any:
    return product(z.real.shape[dim] for dim in dims)


def _transforms(z: Complex, dims: Sequence[int], sign: int) -> Complex:
    for dim in dims:
        z = Complex(*transform((z.real, z.imaginary), dim, sign))
    return z


def _fft(z: Complex, dim: Sequence[int], normalization: int, forward: bool) -> Complex:
    result: Complex = _normalized(_transforms(z, dim, -1 if forward else 1), normalization, _count(z, dim))
    return result


def _fft_of_real(x: torch.Tensor, dim: Sequence[int], normalization: int, onesided: bool) -> Complex:
    *others, last = dim
    z = _transforms(Complex(*transform_of_real(x, last, onesided=onesided)), others, -1)
    result: Complex = _normalized(z, normalization, _count(Complex(x, x), dim))
    return result


def _fft_to_real(z: Complex, dim: Sequence[int], normalization: int, last_dim_size: int) -> torch.Tensor:
    *others, last = dim
    z = _transforms(z, others, 1)
    x = real_transform((z.real, z.imaginary), last, last_dim_size)
    result: torch.Tensor = _normalized(x, normalization, _count(z, others) * last_dim_size)
    return result


# They do the same to both parts: they move elements or add them up.
_PART_BY_PART = {
    *(aten.view, aten._unsafe_view, aten.reshape, aten._reshape_alias, aten.expand, aten.permute, aten.transpose),
    *(aten.t, aten.squeeze, aten.unsqueeze, aten.slice, aten.select, aten.split, aten.split_with_sizes),
    *(aten.unsafe_split, aten.unbind, aten.clone, aten.alias, aten.detach, aten.lift_fresh_copy, aten.diagonal),
    *(aten.flip, aten.roll, aten.repeat, aten.unfold, aten.index, aten.index_select, aten.gather, aten.where),
    *(aten.sum, aten.mean, aten.cumsum, aten.neg, aten.tril, aten.triu, aten.cat, aten.stack, aten.copy),
    *(aten.slice_scatter, aten.select_scatter, aten.index_put, aten.zeros, aten.empty, aten.zeros_like),
    *(aten.empty_like, aten.new_zeros, aten.new_empty, aten.as_strided),
}

# They are linear in each of two operands.
_PRODUCTS = {
    *(aten.mul, aten.mm, aten.bmm, aten.mv, aten.dot),
    *("torch.matmul", "torch.einsum", "torch.tensordot"),
}

_FORMULAS: dict[Any, Formula] = {
    aten.view_as_complex: lambda x: Complex(*x.unbind(-1)),
    aten.view_as_real: lambda z: torch.stack([z.real, z.imaginary], -1),
    aten.complex: lambda a, b: Complex(a + torch.zeros_like(b), b + torch.zeros_like(a)),
    aten.polar: _polar,
    aten._to_copy: _converted,
    aten.add: functools.partial(_sum, torch.add),
    aten.sub: functools.partial(_sum, torch.sub),
    aten.rsub: functools.partial(_sum, torch.rsub),
    aten.div: _quotient,
    aten.reciprocal: lambda z: _quotient(1.0, z),
    aten.pow: _power,
    aten.fill: _filled,
    aten._conj: _conjugate,
    aten._conj_physical: _conjugate,
    aten.conj_physical: _conjugate,
    aten.abs: lambda z: torch.hypot(z.real, z.imaginary),
    aten.angle: lambda z: torch.atan2(z.imaginary, z.real),
    aten.exp: lambda z: _polar(z.real.exp(), z.imaginary),
    aten.log: lambda z: Complex(torch.hypot(z.real, z.imaginary).log(), torch.atan2(z.imaginary, z.real)),
    aten.eq: _equal,
    aten.ne: lambda a, b: torch.logical_not(_equal(a, b)),
    aten.addmm: _added,
    aten.baddbmm: _added,
    aten.constant_pad_nd: _padded,
    "torch.nn.functional.pad": _pad,
    "torch.nn.functional.linear": _linear,
    aten._fft_c2c: _fft,
    aten._fft_r2c: _fft_of_real,
    aten._fft_c2r: _fft_to_real,
}
