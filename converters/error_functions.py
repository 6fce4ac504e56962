"""The scaled error function, and the normal distribution's logarithm and inverse (DLMF 7.2, 7.17, 7.19)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import widened
from trtconv.converters.fitted import Piece, equal, evaluate, less, where
from trtconv.converters.unary import log1p, unary
from trtconv.emit.network import Network
from trtconv.emit.registry import converter

aten = torch.ops.aten


def _scaled(m: Any, u: Any) -> Any:
    """(1 + x) e^(x^2) erfc(x) of 4 / (4 + x), which takes [0, inf) to (0, 1]"""
    x = 4 / u - 4
    return (1 + x) * (m.exp(x * x) * m.erfc(x) if x < 1e4 else 1 / (m.sqrt(m.pi) * x))


SCALED = Piece(_scaled, 0, 1, 13)

CENTRAL = 0.125
"""Up to here, and from 1 minus it, the normal distribution's inverse is computed as a tail's."""


def _quantile(m: Any, p: Any) -> Any:
    return m.sqrt(2) * m.erfinv(2 * p - 1)


def _tail(m: Any, u: Any) -> Any:
    """The x above which lies a share of e^(-s^2 / 2) of a normal distribution, less s, of u = 1/s"""
    s = 1 / u
    share = m.exp(-s * s / 2)
    start = s - m.log(s * m.sqrt(2 * m.pi)) / s
    return m.findroot(lambda x: m.erfc(x / m.sqrt(2)) / 2 / share - 1, start) - s


# The smallest positive number of float32 is 1.4e-45, of which s is 14.37.
QUANTILE_CENTRE = Piece(lambda m, z: _quantile(m, m.sqrt(z) + 0.5) / m.sqrt(z), 0, (0.5 - CENTRAL) ** 2, 9)
QUANTILE_TAILS = [Piece(_tail, 1 / 14.4, 1 / 5, 9), Piece(_tail, 1 / 5, 1 / math.sqrt(-2 * math.log(CENTRAL)), 10)]


def erfcx(net: Network, x: Any) -> Any:
    """e^(x^2) erfc(x), of negative x by erfc(-x) = 2 - erfc(x)"""
    size = unary(net, x, "ABS")
    above = net.div(evaluate(net, SCALED, net.div(4, net.add(size, 4))), net.add(size, 1))
    growth = net.mul(unary(net, net.mul(x, x), "EXP"), 2)
    below = where(net, unary(net, growth, "ISINF"), math.inf, net.sub(growth, above))
    return where(net, less(net, x, 0), below, above)


def _bell(net: Network, x: Any) -> Any:
    """e^(-x^2) with x = a + b, where a has few digits: the square of x itself would be rounded."""
    a = net.mul(unary(net, net.mul(x, 64), "ROUND"), 1 / 64)
    rest = net.mul(net.sub(x, a), net.add(x, a))
    square, rest = (unary(net, each, "NEG") for each in (net.mul(a, a), rest))
    return net.mul(unary(net, square, "EXP"), unary(net, rest, "EXP"))


def _erfc(net: Network, x: Any) -> Any:
    """1 - erf(x), and where that leaves few digits e^(-x^2) times the scaled function"""
    size = net.elementwise(x, 12, trt.ElementWiseOperation.MIN)  # beyond it is 0
    tail = net.mul(erfcx(net, size), _bell(net, size))
    return where(net, less(net, x, 0.5), net.sub(1, unary(net, x, "ERF")), tail)


def _log_ndtr(net: Network, x: Any) -> Any:
    """log(erfc(-x / sqrt(2)) / 2); of x > -1 by what is missing to 1, else without the exponential of -x^2 / 2"""
    size = net.mul(unary(net, x, "ABS"), math.sqrt(0.5))
    scaled = net.mul(erfcx(net, size), 0.5)
    exponent = net.mul(net.mul(x, x), -0.5)
    tail = net.mul(scaled, unary(net, exponent, "EXP"))  # what lies beyond |x|
    missing = where(net, less(net, x, 0), net.sub(1, tail), tail)
    near = log1p(net, unary(net, missing, "NEG"))
    return where(net, less(net, x, -1), net.add(unary(net, scaled, "LOG"), exponent), near)


def _ndtri(net: Network, p: Any) -> Any:
    centred = net.sub(p, 0.5)
    centre = net.mul(evaluate(net, QUANTILE_CENTRE, net.mul(centred, centred)), centred)
    above = less(net, 0.5, p)
    share = where(net, above, net.sub(1, p), p)
    s = unary(net, net.mul(unary(net, share, "LOG"), -2), "SQRT")
    inverse = unary(net, s, "RECIP")
    far, near = (evaluate(net, piece, inverse) for piece in QUANTILE_TAILS)
    tail = net.add(where(net, less(net, 5, s), far, near), s)
    tail = where(net, equal(net, share, 0), math.inf, tail)
    tail = where(net, above, tail, unary(net, tail, "NEG"))
    return where(net, less(net, unary(net, centred, "ABS"), 0.5 - CENTRAL), centre, tail)


FUNCTIONS: dict[Any, Callable[[Network, Any], Any]] = {
    aten.erfc.default: _erfc,
    aten.special_erfcx.default: erfcx,
    aten.special_log_ndtr.default: _log_ndtr,
    aten.special_ndtri.default: _ndtri,
}


for _target, _function in FUNCTIONS.items():
    converter(_target)(widened(_function))
