"""Functions by pieces, each a polynomial that interpolates the function itself.

A piece is the polynomial through the function's values at Chebyshev's points (DLMF 3.11(ii)), which mpmath gives to
all digits; its variable runs from -1 to 1, so that Horner's rule in float32 loses nothing. What isn't smooth (roots,
logarithms, poles, oscillations) is a factor that the converter multiplies with.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

from trtconv import tensorrt as trt
from trtconv.emit.network import Network


@dataclasses.dataclass(frozen=True)
class Piece:
    """A function of one real number on an interval.

    Attributes:
        function: Takes mpmath and one of its numbers.
        low, high: The ends of the interval.
        degree: Of the polynomial.
    """

    function: Callable[[Any, Any], Any]
    low: float
    high: float
    degree: int


@functools.cache
def coefficients(piece: Piece) -> tuple[float, ...]:
    """Of the powers of a variable from -1 to 1, the highest first."""
    import mpmath  # comes with PyTorch, by way of sympy

    count = piece.degree + 1
    angles = [math.pi * (i + 0.5) / count for i in range(count)]
    middle, half = (piece.high + piece.low) / 2, (piece.high - piece.low) / 2
    values = [float(piece.function(mpmath, mpmath.mpf(middle + half * math.cos(angle)))) for angle in angles]
    powers = [0.0] * count
    before, here = [1.0] + [0.0] * piece.degree, [0.0, 1.0] + [0.0] * piece.degree
    for k in range(count):  # T[k] in powers is `before`
        weight = sum(value * math.cos(k * angle) for value, angle in zip(values, angles, strict=True))
        weight *= (1 if k == 0 else 2) / count
        powers = [power + weight * each for power, each in zip(powers, before, strict=False)]
        following = [2 * shifted - old for shifted, old in zip([0.0, *here], [*before, 0.0], strict=False)]
        before, here = here, following
    return tuple(reversed(powers))


def evaluate(net: Network, piece: Piece, x: Any) -> Any:
    """The piece's function of `x`; outside of its interval some number."""
    middle, half = (piece.high + piece.low) / 2, (piece.high - piece.low) / 2
    t = net.mul(net.sub(x, middle), 1 / half)
    return horner(net, coefficients(piece), t)


def horner(net: Network, powers: tuple[float, ...], t: Any) -> Any:
    """A polynomial, by its coefficients from the highest power on."""
    first, second, *rest = powers
    result = net.add(net.mul(t, first), second)
    for coefficient in rest:
        result = net.add(net.mul(result, t), coefficient)
    return result


def where(net: Network, condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b`, one of them a tensor."""
    return net.select(condition, a, b, net.dtype(b if isinstance(a, (int, float)) else a))


def less(net: Network, a: Any, b: Any) -> Any:
    """Whether a < b; of NaN no."""
    return net.elementwise(a, b, trt.ElementWiseOperation.LESS)


def equal(net: Network, a: Any, b: Any) -> Any:
    """Whether a = b; of NaN no."""
    return net.elementwise(a, b, trt.ElementWiseOperation.EQUAL)
