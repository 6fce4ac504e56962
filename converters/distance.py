"""Distances between the rows of two tensors, or of one."""

from __future__ import annotations

from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import wide_dtype
from trtconv.converters.reduction import norm_of, reduced
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import is_static

aten = torch.ops.aten


@converter(aten.dist.default)
def dist(net: Network, x: Any, other: Any, p: float) -> Any:
    """The norm of the difference of all elements."""
    return _norm(net, x, other, p, None)


@converter(aten._cdist_forward.default)
def cdist(net: Network, x: Any, x2: Any, p: float, compute_mode: object) -> Any:
    """The norm of the difference of each row of `x` and each of `x2`."""
    (*batch, rows, width), (*batch2, rows2, _) = net.shape(x), net.shape(x2)
    first = net.reshape(x, (*batch, rows, 1, width))
    return _norm(net, first, net.reshape(x2, (*batch2, 1, rows2, width)), p, -1)


def _norm(net: Network, a: Any, b: Any, p: float, dim: int | None) -> Any:
    difference = net.elementwise(a, b, trt.ElementWiseOperation.SUB, wide_dtype(net.output.dtype))
    return norm_of(net, difference, p, dim, False)


@converter(aten._euclidean_dist.default)
def euclidean_distance(net: Network, x1: Any, x2: Any) -> Any:
    """sqrt(|a|^2 + |b|^2 - 2 a b), as torch computes it for many rows."""
    (*batch, rows, _), (*batch2, rows2, _) = net.shape(x1), net.shape(x2)
    squares, squares2 = (reduced(net, net.mul(each, each), "SUM", -1) for each in (x1, x2))
    total = net.add(net.reshape(squares, (*batch, rows, 1)), net.reshape(squares2, (*batch2, 1, rows2)))
    total = net.sub(total, net.mul(net.matmul(x1, x2, transpose_b=True), 2))
    positive = net.elementwise(total, 0, trt.ElementWiseOperation.MAX)
    return net.unary(positive, trt.UnaryOperation.SQRT)


@converter(aten._pdist_forward.default)
def pdist(net: Network, x: Any, p: float) -> Any:
    """The distance of each row and each later one."""
    rows = net.shape(x)[0]
    if not is_static(rows):
        raise UnsupportedArgumentError("the pairs of a dynamic number of rows have no layers; use torch.cdist")
    first, second = torch.triu_indices(int(rows), int(rows), 1)
    return _norm(net, net.gather(x, first, 0), net.gather(x, second, 0), p, -1)
