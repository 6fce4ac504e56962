"""Bessel functions and what belongs to them, of real numbers.

Near 0 they are power series in x^2 (DLMF 10.2, 10.8, 10.25, 10.31), far away a root, an exponential or an oscillation
times a series in 1/x (10.17, 10.40). Airy's function likewise (9.2, 9.7); PyTorch's values of it in float64 are up to
3e-6 beside the true ones from -3 to -2.09 (seen with 2.14). The series are interpolated, see `fitted`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch

from trtconv.converters.arithmetic import widened
from trtconv.converters.fitted import Piece, equal, evaluate, less, where
from trtconv.converters.unary import unary
from trtconv.emit.network import Network
from trtconv.emit.registry import converter

aten = torch.ops.aten

NEAR, MIDDLE = 5.0, 2.5
"""Up to the middle the oscillating ones are power series, from `NEAR` on waves."""
NEAR_MODIFIED = 4.0
NEAR_DECAYING = 2.0


# -- the series -------------------------------------------------------------------------------------


def _modified_near(order: int) -> Piece:
    """I[n](x) / x^n of x^2"""
    return Piece(lambda m, z: m.besseli(order, m.sqrt(z)) / m.sqrt(z) ** order, 0, NEAR_MODIFIED**2, 8)


def _modified_far(order: int, low: float, high: float, degree: int) -> Piece:
    """e^-x sqrt(x) I[n](x) of 1/x"""
    return Piece(lambda m, u: m.exp(-1 / u) * m.besseli(order, 1 / u) / m.sqrt(u), low, high, degree)


def _decaying_near(order: int) -> Piece:
    """What is left of K[n](x) without its logarithm and its pole, over x^n, of x^2"""

    def rest(m: Any, z: Any) -> Any:
        x = m.sqrt(z)
        logarithm = (-1) ** order * m.log(x / 2) * m.besseli(order, x)
        return (m.besselk(order, x) + logarithm - (1 / x if order else 0)) / x**order

    return Piece(rest, 0, NEAR_DECAYING**2, 7)


def _decaying_far(order: int) -> Piece:
    """e^x sqrt(x) K[n](x) of 1/x"""
    return Piece(lambda m, u: m.exp(1 / u) * m.besselk(order, 1 / u) / m.sqrt(u), 0, 1 / NEAR_DECAYING, 9)


def _first_near(order: int) -> Piece:
    """J[n](x) / x^n of x^2"""
    return Piece(lambda m, z: m.besselj(order, m.sqrt(z)) / m.sqrt(z) ** order, 0, MIDDLE**2, 7)


def _second_near(order: int) -> Piece:
    """What is left of Y[n](x) without its logarithm and its pole, over x^n, of x^2"""

    def rest(m: Any, z: Any) -> Any:
        x = m.sqrt(z)
        pole = 1 / x if order else 0
        return (m.bessely(order, x) - 2 / m.pi * (m.log(x) * m.besselj(order, x) - pole)) / x**order

    return Piece(rest, 0, MIDDLE**2, 7)


def _amplitudes(order: int) -> tuple[Piece, Piece]:
    """P and x Q of J[n] + i Y[n] = sqrt(2 / (pi x)) e^(i (x - n pi/2 - pi/4)) (P + i Q), of (5/x)^2

    By PyTorch's values in float64, which from 5 to 7 are up to 7e-7 beside the true ones (seen with 2.14).
    """
    first, second = [
        (torch.special.bessel_j0, torch.special.bessel_y0),
        (torch.special.bessel_j1, torch.special.bessel_y1),
    ][order]

    def amplitude(part: str, m: Any, u: Any) -> Any:
        x = NEAR / m.sqrt(u)
        at = torch.tensor(float(x), dtype=torch.float64)
        wave = m.mpc(first(at).item(), second(at).item()) * m.exp(-1j * (x - order * m.pi / 2 - m.pi / 4))
        return getattr(wave, part) * m.sqrt(m.pi * x / 2)

    return (
        Piece(functools.partial(amplitude, "real"), 0, 1, 6),
        Piece(lambda m, u: amplitude("imag", m, u) * NEAR / m.sqrt(u), 0, 1, 7),
    )


def _first_itself(order: int, m: Any, x: Any) -> Any:
    return m.besselj(order, x)


def _second_itself(order: int, m: Any, x: Any) -> Any:
    return m.bessely(order, x)


# Of the orders 0 and 1.
MODIFIED_NEAR = [_modified_near(order) for order in (0, 1)]
MODIFIED_MIDDLE = [_modified_far(order, 1 / 10, 1 / NEAR_MODIFIED, 9) for order in (0, 1)]
MODIFIED_FAR = [_modified_far(order, 0, 1 / 10, 5) for order in (0, 1)]
DECAYING_NEAR = [_decaying_near(order) for order in (0, 1)]
DECAYING_FAR = [_decaying_far(order) for order in (0, 1)]
FIRST_NEAR = [_first_near(order) for order in (0, 1)]
FIRST_MIDDLE = [Piece(functools.partial(_first_itself, order), MIDDLE, NEAR, 9) for order in (0, 1)]
SECOND_NEAR = [_second_near(order) for order in (0, 1)]
SECOND_MIDDLE = [Piece(functools.partial(_second_itself, order), MIDDLE, NEAR, 9) for order in (0, 1)]
AMPLITUDES = [_amplitudes(order) for order in (0, 1)]


# -- modified ones ----------------------------------------------------------------------------------


def _near_modified(net: Network, order: int, x: Any) -> Any:
    series = evaluate(net, MODIFIED_NEAR[order], net.mul(x, x))
    return net.mul(series, x) if order else series


def _modified(order: int, *, scaled: bool) -> Callable[[Network, Any], Any]:
    """I[n](x), or e^-|x| of it; odd for n = 1"""

    def convert(net: Network, x: Any) -> Any:
        size = unary(net, x, "ABS")
        inverse = unary(net, size, "RECIP")
        near = _near_modified(net, order, x)
        far = where(
            net,
            less(net, size, 10),
            evaluate(net, MODIFIED_MIDDLE[order], inverse),
            evaluate(net, MODIFIED_FAR[order], inverse),
        )
        far = net.div(far, unary(net, size, "SQRT"))
        if order:
            far = net.mul(far, unary(net, x, "SIGN"))
        if scaled:
            near = net.mul(near, unary(net, unary(net, size, "NEG"), "EXP"))
        else:
            far = net.mul(far, unary(net, size, "EXP"))
        return where(net, less(net, size, NEAR_MODIFIED), near, far)

    return convert


def _decaying(order: int, *, scaled: bool) -> Callable[[Network, Any], Any]:
    """K[n](x), or e^x of it; infinite at 0 and NaN below"""

    def convert(net: Network, x: Any) -> Any:
        inverse = unary(net, x, "RECIP")
        logarithm = net.mul(unary(net, net.mul(x, 0.5), "LOG"), _near_modified(net, order, x))
        rest = evaluate(net, DECAYING_NEAR[order], net.mul(x, x))
        near = net.add(net.add(net.mul(rest, x), inverse), logarithm) if order else net.sub(rest, logarithm)
        far = net.mul(evaluate(net, DECAYING_FAR[order], inverse), unary(net, inverse, "SQRT"))
        if scaled:
            near = net.mul(near, unary(net, x, "EXP"))
        else:
            far = net.mul(far, unary(net, unary(net, x, "NEG"), "EXP"))
        result = where(net, less(net, NEAR_DECAYING, x), far, near)
        result = where(net, equal(net, x, 0), math.inf, result)
        return where(net, less(net, x, 0), math.nan, result)

    return convert


# -- oscillating ones -------------------------------------------------------------------------------


def _far_waves(net: Network, order: int, x: Any, *, second: bool) -> Any:
    """J[n], or Y[n], far from 0"""
    inverse = net.div(NEAR, x)
    p, q = (evaluate(net, piece, net.mul(inverse, inverse)) for piece in AMPLITUDES[order])
    q = net.mul(q, net.mul(inverse, 1 / NEAR))
    # sqrt(2) times the sine and the cosine of x - pi/4, or of x - 3 pi/4: the difference itself would be rounded
    sine, cosine = unary(net, x, "SIN"), unary(net, x, "COS")
    total, difference = net.add(sine, cosine), net.sub(sine, cosine)
    sine, cosine = (unary(net, total, "NEG"), difference) if order else (difference, total)
    wave = net.add(net.mul(p, sine), net.mul(q, cosine)) if second else net.sub(net.mul(p, cosine), net.mul(q, sine))
    return net.mul(wave, unary(net, net.div(1 / math.pi, x), "SQRT"))


def _near_first(net: Network, order: int, x: Any) -> Any:
    series = evaluate(net, FIRST_NEAR[order], net.mul(x, x))
    return net.mul(series, x) if order else series


def _first(order: int) -> Callable[[Network, Any], Any]:
    """J[n](x), odd for n = 1"""

    def convert(net: Network, x: Any) -> Any:
        size = unary(net, x, "ABS")
        far = _far_waves(net, order, size, second=False)
        far = where(net, less(net, NEAR, size), far, evaluate(net, FIRST_MIDDLE[order], size))
        if order:
            far = net.mul(far, unary(net, x, "SIGN"))
        return where(net, less(net, MIDDLE, size), far, _near_first(net, order, x))

    return convert


def _second(order: int) -> Callable[[Network, Any], Any]:
    """Y[n](x), -inf at 0 and NaN below"""

    def convert(net: Network, x: Any) -> Any:
        logarithm = net.mul(unary(net, x, "LOG"), _near_first(net, order, x))
        rest = evaluate(net, SECOND_NEAR[order], net.mul(x, x))
        if order:
            logarithm, rest = net.sub(logarithm, unary(net, x, "RECIP")), net.mul(rest, x)
        near = net.add(net.mul(logarithm, 2 / math.pi), rest)
        far = _far_waves(net, order, x, second=True)
        far = where(net, less(net, NEAR, x), far, evaluate(net, SECOND_MIDDLE[order], x))
        result = where(net, less(net, MIDDLE, x), far, near)
        result = where(net, equal(net, x, 0), -math.inf, result)
        return where(net, less(net, x, 0), math.nan, result)

    return convert


def _spherical(net: Network, x: Any) -> Any:
    """sin(x) / x, 1 at 0 and 0 at infinity (DLMF 10.49.3)"""
    ratio = net.div(unary(net, x, "SIN"), x)
    ratio = where(net, equal(net, x, 0), 1, ratio)
    return where(net, unary(net, x, "ISINF"), 0, ratio)


# -- Airy's -----------------------------------------------------------------------------------------

AIRY_NEAR = 2.0


def _airy_far(m: Any, u: Any) -> Any:
    """2 sqrt(pi) x^(1/4) e^z Ai(x) with z = 2/3 x^(3/2), of 1/z"""
    x = (1.5 / u) ** (m.mpf(2) / 3)
    return 2 * m.sqrt(m.pi) * x**0.25 * m.exp(1 / u) * m.airyai(x)


def _airy_wave(m: Any, u: Any) -> Any:
    """sqrt(pi) x^(1/4) e^(i (z - pi/4)) (Ai - i Bi)(-x), of 1/z, with the real part even in it and the other odd"""
    x = (1.5 / u) ** (m.mpf(2) / 3)
    wave = m.airyai(-x) + 1j * m.airybi(-x)
    return m.sqrt(m.pi) * x**0.25 * wave * m.exp(1j * (1 / u - m.pi / 4))


_FARTHEST = 1.5 / AIRY_NEAR**1.5
AIRY_PIECES = {
    "near": Piece(lambda m, x: m.airyai(x), -AIRY_NEAR, AIRY_NEAR, 13),
    "far": Piece(_airy_far, 0, _FARTHEST, 8),
    "cosine": Piece(lambda m, u: _airy_wave(m, m.sqrt(u)).real, 0, _FARTHEST**2, 10),
    "sine": Piece(lambda m, u: _airy_wave(m, m.sqrt(u)).imag / m.sqrt(u), 0, _FARTHEST**2, 10),
}


def _airy(net: Network, x: Any) -> Any:
    size = unary(net, x, "ABS")
    root = unary(net, size, "SQRT")
    z = net.mul(net.mul(size, root), 2 / 3)
    inverse = unary(net, z, "RECIP")
    scale = net.mul(unary(net, unary(net, root, "SQRT"), "RECIP"), 1 / math.sqrt(math.pi))
    far = net.mul(evaluate(net, AIRY_PIECES["far"], inverse), net.mul(scale, 0.5))
    far = net.mul(far, unary(net, unary(net, z, "NEG"), "EXP"))
    squared = net.mul(inverse, inverse)
    sine, cosine = unary(net, z, "SIN"), unary(net, z, "COS")  # of z - pi/4, times sqrt(2), by sum and difference
    even = net.mul(evaluate(net, AIRY_PIECES["cosine"], squared), net.add(cosine, sine))
    odd = net.mul(net.mul(evaluate(net, AIRY_PIECES["sine"], squared), inverse), net.sub(sine, cosine))
    wave = net.mul(net.add(even, odd), net.mul(scale, math.sqrt(0.5)))
    outside = where(net, less(net, x, 0), wave, far)
    result = where(net, less(net, size, AIRY_NEAR), evaluate(net, AIRY_PIECES["near"], x), outside)
    return where(net, unary(net, x, "ISINF"), math.nan, result)  # as torch, for the 0 that it would be


FUNCTIONS: dict[Any, Callable[[Network, Any], Any]] = {
    aten.i0.default: _modified(0, scaled=False),
    aten.special_i0e.default: _modified(0, scaled=True),
    aten.special_i1.default: _modified(1, scaled=False),
    aten.special_i1e.default: _modified(1, scaled=True),
    aten.special_modified_bessel_i0.default: _modified(0, scaled=False),
    aten.special_modified_bessel_i1.default: _modified(1, scaled=False),
    aten.special_modified_bessel_k0.default: _decaying(0, scaled=False),
    aten.special_modified_bessel_k1.default: _decaying(1, scaled=False),
    aten.special_scaled_modified_bessel_k0.default: _decaying(0, scaled=True),
    aten.special_scaled_modified_bessel_k1.default: _decaying(1, scaled=True),
    aten.special_bessel_j0.default: _first(0),
    aten.special_bessel_j1.default: _first(1),
    aten.special_bessel_y0.default: _second(0),
    aten.special_bessel_y1.default: _second(1),
    aten.special_spherical_bessel_j0.default: _spherical,
    aten.special_airy_ai.default: _airy,
}


for _target, _function in FUNCTIONS.items():
    converter(_target)(widened(_function))
