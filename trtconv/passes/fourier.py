"""Discrete Fourier transforms as products with matrices of cosines and sines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.utils._python_dispatch import _disable_current_modes

from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, is_static

Pair = tuple[torch.Tensor, torch.Tensor]
"""Real and imaginary parts."""

LONGEST = 16
"""Longer transforms are composed of shorter ones where their length has factors: fewer steps, smaller errors."""


def transform(z: Pair, dim: int, sign: int) -> Pair:
    """The sums of z_j exp(sign 2 pi i j k / n) over j along `dim`, for each k."""
    n = _length(z[0].shape[dim])
    real, imaginary = _along_last([part.movedim(dim, -1) for part in z], n, n, sign)
    return real.movedim(-1, dim), imaginary.movedim(-1, dim)


def transform_of_real(x: torch.Tensor, dim: int, *, onesided: bool) -> Pair:
    """The forward transform of real numbers; of its frequencies the first half if `onesided`."""
    n = _length(x.shape[dim])
    real, imaginary = _along_last([x.movedim(dim, -1)], n, n // 2 + 1 if onesided else n, -1)
    return real.movedim(-1, dim), imaginary.movedim(-1, dim)


def real_transform(z: Pair, dim: int, size: Size) -> torch.Tensor:
    """The backward transform to `size` real numbers of the first half of their frequencies.

    The other half are the conjugates of these in reverse; in a direct transform they count twice instead.
    """
    n = _length(size)
    real, imaginary = (part.movedim(dim, -1)[..., : n // 2 + 1] for part in z)
    if _first_factor(n) > 1:
        again = [part[..., 1 : (n + 1) // 2].flip(-1) for part in (real, imaginary)]
        whole = [torch.cat([real, again[0]], -1), torch.cat([imaginary, -again[1]], -1)]
        return _along_last(whole, n, n, 1)[0].movedim(-1, dim)
    with _disable_current_modes():
        weight = torch.full((n // 2 + 1, 1), 2.0, dtype=torch.float64)
        weight[:: n // 2 if n % 2 == 0 else n] = 1  # the first, and the one in the middle
        cosines, sines = (each[: n // 2 + 1] * weight for each in _turns(n, n, n, 1))
        matrix = torch.cat([cosines, -sines]).to(real.device, real.dtype)
    return (torch.cat([real, imaginary], -1) @ matrix).movedim(-1, dim)


def _length(size: Size) -> int:
    if not is_static(size):
        raise UnsupportedArgumentError(f"a Fourier transform along a dynamic dimension (of {size}) has no layers")
    return int(size)


def _along_last(z: Sequence[torch.Tensor], n: int, count: int, sign: int) -> Pair:
    """The first `count` frequencies of real and imaginary parts, or of real numbers alone.

    With n = n1 n2: transforms of n1 elements, each n2 after the one before; their results, each turned by an
    angle; and transforms of n2 of those.
    """
    first = _first_factor(n)
    if first == 1:
        return _direct(z, n, count, sign)
    second, shape = n // first, z[0].shape[:-1]
    columns = [part.reshape(*shape, first, second).transpose(-1, -2) for part in z]
    real, imaginary = (part.transpose(-1, -2) for part in _along_last(columns, first, first, sign))
    with _disable_current_modes():
        cosines, sines = (each.to(real.device, real.dtype) for each in _turns(first, second, n, sign))
    turned = [real * cosines - imaginary * sines, real * sines + imaginary * cosines]
    results = (part.transpose(-1, -2).reshape(*shape, n) for part in _along_last(turned, second, second, sign))
    real, imaginary = (part[..., :count] for part in results)
    return real, imaginary


def _direct(z: Sequence[torch.Tensor], n: int, count: int, sign: int) -> Pair:
    with _disable_current_modes():
        cosines, sines = (each[:, :count] for each in _turns(n, n, n, sign))
        rows = [torch.cat([cosines, sines], 1), torch.cat([-sines, cosines], 1)]
        matrix = torch.cat(rows[: len(z)]).to(z[0].device, z[0].dtype)
    both = torch.cat(list(z), -1) @ matrix
    return both[..., :count], both[..., count:]


def _turns(rows: int, columns: int, n: int, sign: int) -> Pair:
    """Cosine and sine of row * column / n turns, in float64."""
    parts = torch.outer(torch.arange(rows), torch.arange(columns)) % n
    angle = parts.double() * (sign * 2 * math.pi / n)
    return angle.cos(), angle.sin()


def _first_factor(n: int) -> int:
    """The factor of n that is next to its square root, if n is to be split; else 1."""
    if n <= LONGEST:
        return 1
    return max(factor for factor in range(1, math.isqrt(n) + 1) if n % factor == 0)
