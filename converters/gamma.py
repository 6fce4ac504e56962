"""The gamma function's logarithm and its derivatives, and Hurwitz's zeta function, of real numbers.

Up to 20 by pieces (see `fitted`), beyond by Stirling's series (DLMF 5.11), below 0 by reflection (5.5). Zeta by its
terms and Euler and Maclaurin's formula (25.11.5); derivatives are zeta's values (5.15.1, 25.11.12).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import wide, widened
from trtconv.converters.fitted import Piece, equal, evaluate, horner, less, where
from trtconv.converters.unary import unary
from trtconv.emit.network import Network
from trtconv.emit.registry import converter

aten = torch.ops.aten

FAR = 20.0
"""From here on Stirling's series."""

TERMS = 9
"""Terms of zeta's series that are added before the rest is."""

LOG_GAMMA = [
    Piece(lambda m, x: m.loggamma(x) / ((x - 1) * (x - 2)), 1, 2, 9),
    Piece(lambda m, x: m.loggamma(x) / (x - 2) if x != 2 else 1 - m.euler, 2, 4, 9),
    Piece(lambda m, x: m.loggamma(x), 4, 8, 9),
    Piece(lambda m, x: m.loggamma(x), 8, FAR, 9),
]
DIGAMMA = [
    Piece(lambda m, x: m.digamma(x), 1, 2, 10),
    Piece(lambda m, x: m.digamma(x), 2, 4, 9),
    Piece(lambda m, x: m.digamma(x), 4, 8, 9),
]
COTANGENT = Piece(lambda m, z: (1 / m.sqrt(z) - m.pi * m.cot(m.pi * m.sqrt(z))) / m.sqrt(z), 0, 0.25, 7)
"""(1/r - pi cot(pi r)) / r of r^2"""


def _by_interval(net: Network, x: Any, values: Sequence[Any], ends: Sequence[float]) -> Any:
    """The first value where x is below the first end, ..., else the last value."""
    result = values[-1]
    for value, end in reversed(list(zip(values, ends, strict=False))):
        result = where(net, less(net, x, end), value, result)
    return result


def _from_integer(net: Network, x: Any) -> Any:
    """How far x is from the next integer, from -1/2 to 1/2"""
    return net.sub(x, unary(net, x, "ROUND"))


def lgamma(net: Network, x: Any) -> Any:
    """log |gamma(x)|; below 0 log(pi / |x sin(pi x)|) - lgamma(-x)"""
    negative = less(net, x, 0)
    y = unary(net, x, "ABS")
    logarithm = unary(net, y, "LOG")
    small = less(net, y, 1)  # then log gamma(y + 1) - log(y)
    z = where(net, small, net.add(y, 1), y)
    low, middle, *high = (evaluate(net, piece, z) for piece in LOG_GAMMA)
    below_two = net.sub(z, 2)
    low = net.mul(net.mul(low, below_two), net.sub(z, 1))
    values = (low, net.mul(middle, below_two), *high, _stirling(net, y, logarithm))
    value = _by_interval(net, z, values, (2, 4, 8, FAR))
    value = where(net, small, net.sub(value, logarithm), value)
    sine = unary(net, unary(net, net.mul(_from_integer(net, x), math.pi), "SIN"), "ABS")
    reflected = net.sub(net.sub(unary(net, net.div(math.pi, sine), "LOG"), logarithm), value)
    result = where(net, negative, reflected, value)
    return where(net, unary(net, x, "ISINF"), math.inf, result)


def _stirling(net: Network, x: Any, logarithm: Any) -> Any:
    """(x - 1/2) (log x - 1) + (log(2 pi) - 1) / 2 + 1/(12 x) - 1/(360 x^3) + 1/(1260 x^5)"""
    inverse = unary(net, x, "RECIP")
    series = net.mul(horner(net, (1 / 1260, -1 / 360, 1 / 12), net.mul(inverse, inverse)), inverse)
    main = net.mul(net.sub(x, 0.5), net.sub(logarithm, 1))
    return net.add(main, net.add(series, (math.log(2 * math.pi) - 1) / 2))


def digamma(net: Network, x: Any) -> Any:
    """Below 0 digamma(1 - x) - pi / tan(pi x), without a value at integers"""
    negative = less(net, x, 0)
    y = where(net, negative, net.sub(1, x), x)
    inverse = unary(net, y, "RECIP")
    small = less(net, y, 1)  # then digamma(y + 1) - 1/y
    z = where(net, small, net.add(y, 1), y)
    squared = net.mul(inverse, inverse)
    series = net.mul(horner(net, (-1 / 240, 1 / 252, -1 / 120, 1 / 12), squared), squared)
    far = net.sub(net.sub(unary(net, y, "LOG"), net.mul(inverse, 0.5)), series)
    value = _by_interval(net, z, (*(evaluate(net, piece, z) for piece in DIGAMMA), far), (2, 4, 8))
    value = where(net, small, net.sub(value, inverse), value)
    r = _from_integer(net, x)
    rest = net.mul(evaluate(net, COTANGENT, net.mul(r, r)), r)
    reflected = net.sub(net.add(value, rest), unary(net, r, "RECIP"))
    reflected = where(net, equal(net, r, 0), math.nan, reflected)
    return where(net, negative, reflected, value)


def _power(net: Network, a: Any, b: Any) -> Any:
    return net.elementwise(a, b, trt.ElementWiseOperation.POW, torch.float32)


def _zeta_of_positive(net: Network, s: Any, q: Any) -> Any:
    """The sum of (q + k)^-s over all k >= 0: some terms, and the rest by Euler and Maclaurin's formula.

    Of large q, where the terms would only add rounding, by the formula alone.
    """
    minus = -s if isinstance(s, int) else unary(net, s, "NEG")
    near = less(net, q, _plus(net, s, 8))
    w = where(net, near, net.add(q, TERMS), q)
    last = _power(net, w, minus)
    # w^(1 - s) / (s - 1) + b/2 + b (s / w)/12 - b s (s + 1) (s + 2) / w^3 / 720 + ..., with b = w^-s
    factor = net.mul(net.div(last, w), s)
    inverse = unary(net, net.mul(w, w), "RECIP")
    rest = net.mul(last, 0.5)
    for k, divisor in enumerate((12, -720, 30240, -1209600)):
        if k:
            factor = net.mul(factor, inverse)
            factor = net.mul(net.mul(factor, _plus(net, s, 2 * k - 1)), _plus(net, s, 2 * k))
        rest = net.add(rest, net.mul(factor, 1 / divisor))
    rest = net.add(net.div(_power(net, w, _plus(net, minus, 1)), _plus(net, s, -1)), rest)
    total = rest
    for k in reversed(range(TERMS)):  # the smallest first
        total = net.add(total, _power(net, net.add(q, k) if k else q, minus))
    return where(net, near, total, rest)


def _plus(net: Network, s: Any, number: int) -> Any:
    return s + number if isinstance(s, int) else net.add(s, number)


def zeta(net: Network, s: Any, q: Any, odd: Any) -> Any:
    """Hurwitz's function, below 0 for whole s: the terms there are those of two sums over positive numbers.

    Args:
        net: The builder.
        s: A tensor, or a whole number above 1.
        q: A tensor.
        odd: Whether s is odd, as a tensor or as a truth value.
    """
    negative = less(net, q, 0)
    y = where(net, negative, net.sub(q, unary(net, q, "FLOOR")), q)
    above = _zeta_of_positive(net, s, y)
    below = net.sub(
        _zeta_of_positive(net, s, net.sub(unary(net, q, "CEIL"), q)), _zeta_of_positive(net, s, net.sub(1, q))
    )
    if isinstance(odd, bool):
        both = net.sub(above, below) if odd else net.add(above, below)
    else:
        both = where(net, odd, net.sub(above, below), net.add(above, below))
    result = where(net, negative, both, above)
    result = where(net, unary(net, q, "ISINF"), math.nan, result)  # as torch, for the 0 that it would be
    pole = net.elementwise(_is_whole(net, q), _not(net, less(net, 0, q)), trt.ElementWiseOperation.AND)
    return where(net, pole, math.inf, result)


def _is_whole(net: Network, x: Any) -> Any:
    return equal(net, x, unary(net, x, "FLOOR"))


def _not(net: Network, condition: Any) -> Any:
    return unary(net, condition, "NOT")


def _zeta_of_tensors(net: Network, x: Any, other: Any) -> Any:
    s, q = net.operands(x, other, dtype=torch.float32)
    result = zeta(net, s, q, _not(net, _is_whole(net, net.mul(s, 0.5))))
    neither = _not(net, net.elementwise(_is_whole(net, s), _is_whole(net, q), trt.ElementWiseOperation.OR))
    undefined = net.elementwise(neither, less(net, q, 0), trt.ElementWiseOperation.AND)
    result = where(net, undefined, math.nan, result)
    result = where(net, equal(net, s, 1), math.inf, result)
    return where(net, less(net, s, 1), math.nan, result)


for _overload in (aten.special_zeta.default, aten.special_zeta.other_scalar, aten.special_zeta.self_scalar):
    converter(_overload)(lambda net, x, other: net.cast(_zeta_of_tensors(net, x, other), net.output.dtype))


converter(aten.lgamma.default)(widened(lgamma))
converter(aten.digamma.default)(widened(digamma))


@converter(aten.polygamma.default)
def polygamma(net: Network, n: int, self: Any) -> Any:
    """digamma, and of n > 0 its n-th derivative, (-1)^(n + 1) n! zeta(n + 1, x)"""
    (x,) = wide(net, self)
    if n == 0:
        return net.cast(digamma(net, x), net.output.dtype)
    value = zeta(net, n + 1, x, n % 2 == 0)
    if n == 1:  # alone torch gives these their values at infinity
        value = where(net, unary(net, x, "ISINF"), net.select(less(net, 0, x), 0, math.nan, torch.float32), value)
    return net.cast(net.mul(value, math.factorial(n) * (1.0 if n % 2 else -1.0)), net.output.dtype)


@converter(aten.mvlgamma.default)
def mvlgamma(net: Network, x: Any, p: int) -> Any:
    """p (p - 1) / 4 log(pi) + the sum of lgamma(x - i / 2) over i < p (DLMF 35.3.4)"""
    (x,) = wide(net, x)
    shape = net.shape(x)
    steps = torch.arange(p).reshape(p, *(1 for _ in shape)) * 0.5
    each = lgamma(net, net.sub(net.reshape(x, (1, *shape)), steps.to(net.dtype(x))))
    total = net.reduce(each, trt.ReduceOperation.SUM, (0,), False)
    return net.cast(net.add(total, p * (p - 1) / 4 * math.log(math.pi)), net.output.dtype)
