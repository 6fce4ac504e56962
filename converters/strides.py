"""Views by places in memory, which say something only of a contiguous tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trtconv.converters.creation import sequence
from trtconv.converters.indexing import written
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, is_same, is_static, product
from trtconv.sizes.bounds import larger

aten = torch.ops.aten


@converter(aten.as_strided.default, aten.as_strided_copy.default)
def as_strided(net: Network, x: Any, size: Sequence[Size], stride: Sequence[Size], storage_offset: Size | None) -> Any:
    _check_contiguous(x)
    if _is_row_major(size, stride) and is_same(storage_offset or 0, 0) and is_same(product(size), product(x.shape)):
        return net.reshape(x, size)
    places = _places(net, size, stride, storage_offset)
    return net.gather(net.reshape(x, [product(net.shape(x))]), places, 0)


@converter(aten.as_strided_scatter.default)
def as_strided_scatter(
    net: Network, x: Any, src: Any, size: Sequence[Size], stride: Sequence[Size], storage_offset: Size | None
) -> Any:
    """`x` with `src` in the place of a view."""
    _check_contiguous(x)
    count = product(size)
    places = net.reshape(_places(net, size, stride, storage_offset), [count])
    flat = net.reshape(x, [product(net.shape(x))])
    return net.reshape(written(net, flat, [0], [places], net.reshape(src, [count])), net.shape(x))


def _check_contiguous(x: torch.Tensor) -> None:
    if not _is_row_major(x.shape, x.stride()) or not is_same(x.storage_offset(), 0):
        raise UnsupportedArgumentError("a view by strides of a tensor that isn't contiguous has no layers")


def _places(net: Network, size: Sequence[Size], stride: Sequence[Size], storage_offset: Size | None) -> Any:
    """The places of a view's elements in the flattened tensor."""
    if all(map(is_static, (*size, *stride, storage_offset or 0))):
        places = torch.tensor(int(storage_offset or 0))
        for count, step in zip(size, stride, strict=True):
            places = places.unsqueeze(-1) + torch.arange(int(count)) * int(step)
        return places
    result = net.tensor(net.operands(net.number(storage_offset or 0), dtype=torch.int64)[0], rank=len(size))
    for axis, (count, step) in enumerate(zip(size, stride, strict=True)):
        along = net.mul(sequence(net, count), net.number(step))
        shape = [count if each == axis else 1 for each in range(len(size))]
        result = net.add(result, net.reshape(along, shape))
    return result


def _is_row_major(sizes: Sequence[Size], strides: Sequence[Size]) -> bool:
    """Whether elements lie in memory in their order, without gaps; along axes of size 1 any stride does."""
    expected: Size = 1
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if not is_same(size, 1):
            if not is_same(stride, expected):
                return False
            expected = expected * larger(size, 1)  # as torch counts them
    return True
