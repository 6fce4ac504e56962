"""Sizes of tensors: numbers, or symbols where a dimension is dynamic.

A symbolic size is a `torch.SymInt`, whose sympy expression says how it follows from the sizes of the
inputs. Python arithmetic on it gives further expressions; comparing one decides it for all sizes, so
the functions here compare expressions instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import sympy
import torch

Size: TypeAlias = int | torch.SymInt
Sizes: TypeAlias = tuple[Size, ...]


def is_static(size: Size) -> bool:
    """Whether a size is the same for all inputs."""
    return not isinstance(size, torch.SymInt) or expression(size).is_number


def most(size: Size) -> int:
    """The largest that a size becomes over the ranges of the inputs' sizes."""
    if not isinstance(size, torch.SymInt) or is_static(size):
        return int(expression(size))
    limits: Any = size.node.shape_env
    return int(limits.bound_sympy(expression(size)).upper)


def expression(size: Size) -> Any:
    """The sympy expression of a size."""
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)


def settled(sizes: Iterable[Size]) -> Sizes:
    """The sizes with plain integers wherever they are static."""
    return tuple(int(expression(size)) if is_static(size) else size for size in sizes)


def same(a: Sequence[Size], b: Sequence[Size]) -> bool:
    """Whether two shapes are equal for all sizes of the inputs."""
    return len(a) == len(b) and all(is_same(x, y) for x, y in zip(a, b, strict=True))


def is_same(a: Size, b: Size) -> bool:
    """Whether two sizes are equal for all sizes of the inputs."""
    if isinstance(a, torch.SymInt) or isinstance(b, torch.SymInt):
        return bool(sympy.expand(expression(a) - expression(b)) == 0)
    return a == b


def product(sizes: Iterable[Size]) -> Size:
    """The product of sizes; 1 of none."""
    return math.prod(sizes)


def broadcast(*shapes: Sequence[Size]) -> Sizes:
    """The shape that shapes of one rank broadcast to; of a symbol and a number other than 1, the number."""
    result = list(shapes[0])
    for shape in shapes[1:]:
        for axis, size in enumerate(shape):
            have = result[axis]
            if is_same(have, 1) or (is_static(size) and not is_static(have) and not is_same(size, 1)):
                result[axis] = size
    return tuple(result)
