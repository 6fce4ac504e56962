"""The places where masks hold, one after the other."""

from __future__ import annotations

from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.creation import filled, sequence
from trtconv.converters.cumulative import running_sum
from trtconv.converters.shape import part
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.sizes import is_same, is_static, product

aten = torch.ops.aten


def rank_among_true(net: Network, mask: Any) -> Any:
    """For each place of a mask that holds how many do before it; some number elsewhere."""
    count = product(net.shape(mask))
    until = running_sum(net, net.cast(net.reshape(mask, (count,)), torch.int64), 0)
    before = net.elementwise(net.sub(until, 1), 0, trt.ElementWiseOperation.MAX)
    return net.reshape(before, net.shape(mask))


@converter(aten.masked_scatter.default)
def masked_scatter(net: Network, x: Any, mask: Any, source: Any) -> Any:
    """`x` with the elements of `source` one after the other at the places where the mask holds."""
    shape = net.output.shape
    mask = net.expand(mask, shape)
    values = net.gather(net.reshape(source, [product(net.shape(source))]), rank_among_true(net, mask), 0)
    return net.select(mask, values, x, net.output.dtype)


@converter(aten.nonzero_static.default)
def nonzero_static(net: Network, x: Any, size: int, fill_value: int) -> Any:
    """The coordinates of the first `size` elements that aren't 0, a row each, and rows of `fill_value` behind them."""
    shape = net.shape(x)
    count = product(shape)
    if not shape or any(is_same(length, 0) for length in shape):  # no coordinates, or nothing that could be found
        return filled(net, fill_value)
    mask = net.reshape(net.cast(x, torch.bool), (count,))
    # Each place is written at its rank; those of zeros, and those beyond `size`, behind the end.
    rank = net.elementwise(rank_among_true(net, mask), size, trt.ElementWiseOperation.MIN)
    rank = net.select(mask, rank, size, torch.int64)
    # The layer wants at least as many places as it writes.
    nowhere = net.expand(net.scalar(-1, torch.int64, 1), (size + 1 + count,))
    written = net.add_scatter(nowhere, rank, net.tensor(sequence(net, count)), trt.ScatterMode.ELEMENT)
    place = part(net, net.known(written.get_output(0), (size + 1 + count,)), 0, 0, size)
    found = net.elementwise(place, -1, trt.ElementWiseOperation.GREATER)
    columns: list[Any] = []
    for length in reversed(shape):
        number = net.number(length)
        if not is_static(length):  # of nothing there is no coordinate, but each layer is computed
            number = net.elementwise(number, 1, trt.ElementWiseOperation.MAX)
        quotient = net.elementwise(place, number, trt.ElementWiseOperation.FLOOR_DIV)
        column = net.select(found, net.sub(place, net.mul(quotient, number)), fill_value, torch.int64)
        columns.insert(0, net.reshape(column, (size, 1)))
        place = quotient
    return net.concatenate(columns, 1)
