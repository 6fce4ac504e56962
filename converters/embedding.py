"""Rows of tables, alone and reduced in bags."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import wide_dtype
from trtconv.converters.creation import sequence
from trtconv.converters.reduction import renorm
from trtconv.converters.shape import part
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import product

aten = torch.ops.aten


@converter(aten.embedding.default)
def embedding(net: Network, weight: Any, indices: Any, padding_idx: int, scale_grad_by_freq: bool, sparse: bool) -> Any:
    """Rows of a table; the other arguments concern the gradient."""
    return net.gather(weight, indices, 0)


# Whole, since torch makes one sequence with offsets of bags that are the rows of a matrix.
@converter(aten.embedding_renorm.default)
def embedding_renorm(net: Network, x: Any, indices: Any, max_norm: float, norm_type: float) -> Any:
    """`x` with the rows that indices name scaled down to a norm of at most `max_norm`."""
    rows, count = net.shape(x)[0], product(net.shape(indices))
    places = net.reshape(net.cast(sequence(net, rows), torch.int64), [rows, 1])
    here = _layer(net, places, net.reshape(net.cast(indices, torch.int64), [1, count]), "EQUAL")
    named = net.reduce(net.cast(here, torch.int32), trt.ReduceOperation.MAX, [1], True)
    return net.select(net.cast(named, torch.bool), renorm(net, x, norm_type, 0, max_norm), x, net.output.dtype)


@converter(F.embedding_bag)
def embedding_bag(
    net: Network,
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """The sum, mean or maximum of the rows that the indices of each bag name."""
    if max_norm is not None:
        raise UnsupportedArgumentError(f"it scales rows of its table down (max_norm={max_norm}), which is a write")
    rows = _rows(net, weight, input, per_sample_weights)
    padding = -1 if padding_idx is None else padding_idx % int(net.shape(weight)[0])
    if len(net.shape(input)) == 1:
        members = _members(net, input, offsets, include_last_offset, padding)
        return _reduced(net, rows, members, mode)
    members = _layer(net, input, padding, "EQUAL")
    return _reduced(net, rows, net.unary(members, trt.UnaryOperation.NOT), mode)


@converter(aten._embedding_bag.default, aten._embedding_bag_forward_only.default)
def embedding_bag_with_offsets(
    net: Network,
    weight: Any,
    indices: Any,
    offsets: Any,
    scale_grad_by_freq: bool,
    mode: int,
    sparse: bool,
    per_sample_weights: Any,
    include_last_offset: bool,
    padding_idx: int,
) -> list[Any]:
    """The bags; what else the operators give concerns the gradient."""
    rows = _rows(net, weight, indices, per_sample_weights)
    members = _members(net, indices, offsets, include_last_offset, padding_idx)
    return [_reduced(net, rows, members, ("sum", "mean", "max")[mode]), None, None, None]


def _layer(net: Network, a: Any, b: Any, operation: str) -> Any:
    return net.elementwise(a, b, getattr(trt.ElementWiseOperation, operation))


def _rows(net: Network, weight: Any, indices: Any, factors: Any) -> Any:
    """A row for each index, times its factor if there are any, in the wide dtype."""
    rows = net.cast(net.gather(weight, indices, 0), wide_dtype(net.output.dtype))
    return rows if factors is None else net.mul(rows, net.reshape(factors, (*net.shape(factors), 1)))


def _members(net: Network, indices: Any, offsets: Any, include_last_offset: bool, padding: int) -> Any:
    """For each bag and each index whether it belongs there: between the bag's offset and the next one."""
    (count,), (starts,) = net.shape(indices), net.shape(offsets)
    offsets = net.cast(offsets, torch.int64)
    place = net.reshape(sequence(net, count), (1, count))
    bags = starts - 1 if include_last_offset else starts
    end = net.size_tensor([count])
    ends = part(net, offsets, 0, 1, starts - 1)
    if not include_last_offset:
        ends = net.concatenate([ends, end], 0)
    first, after = (net.reshape(each, (bags, 1)) for each in (part(net, offsets, 0, 0, bags), ends))
    before = _layer(net, _layer(net, place, first, "LESS"), _layer(net, place, after, "LESS"), "XOR")
    other = net.unary(_layer(net, net.reshape(indices, (1, count)), padding, "EQUAL"), trt.UnaryOperation.NOT)
    return _layer(net, before, other, "AND")


def _reduced(net: Network, rows: Any, members: Any, mode: str) -> Any:
    """The sum, mean or maximum of each bag's members, [bags, n]; 0 of none. Rows are [n, width] or [bags, n, width]."""
    dtype = net.dtype(rows)
    count = net.cast(net.reduce(net.cast(members, torch.int32), trt.ReduceOperation.SUM, [1], True), dtype)
    shared = len(net.shape(rows)) == 2
    column = net.reshape(members, (*net.shape(members), 1))
    if mode == "max":
        result = net.reduce(net.select(column, rows, -math.inf, dtype), trt.ReduceOperation.MAX, [1], False)
        result = net.select(_layer(net, count, 0, "EQUAL"), 0, result, dtype)
    elif shared:
        result = net.matmul(net.cast(members, dtype), rows)
    else:
        result = net.reduce(net.select(column, rows, 0, dtype), trt.ReduceOperation.SUM, [1], False)
    if mode == "mean":
        result = net.div(result, _layer(net, count, 1, "MAX"))
    return net.cast(result, net.output.dtype)
