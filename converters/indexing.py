"""Reading and writing at places that indices name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.capture.trace import is_constant
from trtconv.converters.accumulation import added_at
from trtconv.converters.creation import sequence
from trtconv.converters.masks import rank_among_true
from trtconv.converters.shape import part
from trtconv.emit.definition import Scalar
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, Sizes, broadcast, is_same, is_static, product, same
from trtconv.sizes.bounds import counted_from_start as from_start
from trtconv.sizes.bounds import slice_of

aten = torch.ops.aten

Indices = Sequence[Any]
"""For each axis of a tensor the indices along it, or None for all; axes at the end may be left out."""


def counted_from_start(net: Network, index: Any, size: Size) -> Any:
    """Indices along an axis of this size, the negative ones counted from the start too."""
    if is_constant(index):
        if not bool((index < 0).any()):
            return index
        if is_static(size):
            return torch.where(index < 0, index + int(size), index)
    negative = net.elementwise(index, 0, trt.ElementWiseOperation.LESS)
    return net.select(negative, net.add(index, net.number(size)), index, net.dtype(index))


# -- reading ----------------------------------------------------------------------------------------


@converter(aten.index_select.default)
def index_select(net: Network, x: Any, dim: int, index: Any) -> Any:
    shape = net.shape(x)
    if not shape:
        return net.tensor(x)
    return net.gather(x, net.reshape(index, [product(net.shape(index))]), dim % len(shape))


@converter(aten.gather.default)
def gather(net: Network, x: Any, dim: int, index: Any, sparse_grad: bool) -> Any:
    """For each element of `index` the element of `x` that lies there along `dim` and else at the same place."""
    shape, wanted = net.shape(x), net.shape(index)
    if not (shape and wanted):
        return net.reshape(net.gather(net.reshape(x, [product(shape)]), index, 0), net.output.shape)
    dim %= len(shape)
    sizes = [size if axis == dim else wanted[axis] for axis, size in enumerate(shape)]
    x = net.tensor(x) if same(sizes, shape) else net.slice(x, [0] * len(shape), sizes)
    layer = net.add_gather_v2(x, net.tensor(index), trt.GatherMode.ELEMENT)
    layer.axis = dim
    return net.known(layer.get_output(0), wanted)


@converter(aten.take.default)
def take(net: Network, x: Any, index: Any) -> Any:
    """Elements of the flattened tensor."""
    count = product(net.shape(x))
    return net.gather(net.reshape(x, [count]), _wrapped(net, index, count), 0)


def _wrapped(net: Network, index: Any, size: Size) -> Any:
    """Indices for a layer, which counts negative ones from the start by itself where the size is static."""
    return index if is_static(size) else counted_from_start(net, index, size)


@converter(aten.index.Tensor, aten._unsafe_index.Tensor)
def index(net: Network, x: Any, indices: Indices) -> Any:
    """The elements at all given places: one axis as `numpy.take`, several made into one axis before."""
    axes = _indexed_axes(net, indices)
    if len(axes) == 1:
        return net.gather(x, _wrapped(net, indices[axes[0]], net.shape(x)[axes[0]]), axes[0])
    shape = net.shape(x)
    others = [axis for axis in range(len(shape)) if axis not in axes]
    rest = [shape[axis] for axis in others]
    flat = net.reshape(net.permute(x, [*axes, *others]), [product(shape[axis] for axis in axes), *rest])
    result = net.gather(flat, _flat_place(net, [indices[axis] for axis in axes], [shape[axis] for axis in axes]), 0)
    return _from_front(net, result, axes, len(net.shape(result)) - len(rest))


def _indexed_axes(net: Network, indices: Indices) -> list[int]:
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    if any(net.dtype(indices[axis]) in (torch.bool, torch.uint8) for axis in axes):
        raise UnsupportedArgumentError(
            "how many elements a mask picks depends on its values, and sizes in a network must not; "
            "multiply by the mask or use torch.where"
        )
    return axes


def _flat_place(net: Network, indices: Indices, lengths: Sequence[Size]) -> Any:
    """The places that indices along several axes name, along the one that these make together."""
    place: Any = None
    for index, length in zip(indices, lengths, strict=True):
        along = counted_from_start(net, index, length)
        place = along if place is None else _sum(net, _times(net, place, length), along)
    return place


def _times(net: Network, index: Any, size: Size) -> Any:
    if is_constant(index) and is_static(size):
        return index * int(size)
    return net.mul(index, net.number(size))


def _sum(net: Network, a: Any, b: Any) -> Any:
    if is_constant(a) and is_constant(b):
        return a + b
    return net.elementwise(a, b, trt.ElementWiseOperation.SUM, torch.int64)


def _from_front(net: Network, x: Any, axes: Sequence[int], count: int) -> Any:
    """The first `count` axes in the place of `axes` if these are adjacent; otherwise they stay in front."""
    rank, first = len(net.shape(x)), axes[0]
    if axes[-1] - first != len(axes) - 1:
        return net.tensor(x)
    return net.permute(x, [*range(count, count + first), *range(count), *range(count + first, rank)])


# -- writing ----------------------------------------------------------------------------------------


@converter(aten.scatter.src)
def scatter(net: Network, x: Any, dim: int, index: Any, src: Any) -> Any:
    """`x` with the elements of `src` at the places along `dim` that `index` names."""
    shape = net.shape(index)
    if not net.shape(x):
        return net.reshape(net.cast(src, net.output.dtype), ())
    if not same(net.shape(src), shape):
        src = net.slice(src, [0] * len(shape), shape)
    dim %= len(shape)
    count, given = net.shape(x)[dim], shape[dim]
    few = is_same(count, given) or (is_static(given) and is_static(count) and given <= count)
    data = net.tensor(x) if few else _followed_by(net, x, dim, given)  # the layer wants no fewer places than indices
    layer = net.add_scatter(data, net.tensor(index), net.tensor(src), trt.ScatterMode.ELEMENT)
    layer.axis = dim
    result = net.known(layer.get_output(0), net.shape(data))
    return result if few else part(net, result, dim, 0, count)


def _followed_by(net: Network, x: Any, dim: int, count: Size) -> Any:
    """`x` and `count` more places along `dim`."""
    shape = [size + count if axis == dim else size for axis, size in enumerate(net.shape(x))]
    return net.slice(x, [0] * len(shape), shape, mode=trt.SampleMode.FILL)


@converter(aten.scatter.value)
def scatter_number(net: Network, x: Any, dim: int, index: Any, value: float) -> Any:
    shape = net.shape(index)
    return scatter(net, x, dim, index, net.expand(net.scalar(value, net.output.dtype, len(shape)), shape))


@converter(aten.index_copy.default)
def index_copy(net: Network, x: Any, dim: int, index: Any, source: Any) -> Any:
    """`x` with the parts of `source` along `dim` at the places that `index` names."""
    if not net.shape(x):
        return net.reshape(source, ())
    dim %= len(net.shape(x))
    return written(net, x, [dim], [net.reshape(index, [product(net.shape(index))])], source)


@converter(aten.index_fill.int_Scalar, aten.index_fill.int_Tensor)
def index_fill(net: Network, x: Any, dim: int, index: Any, value: Any) -> Any:
    value = net.scalar(value, net.output.dtype) if isinstance(value, Scalar) else value
    if not net.shape(x):
        return net.tensor(value, net.output.dtype)
    return written(net, x, [dim % len(net.shape(x))], [net.reshape(index, [product(net.shape(index))])], value)


@converter(aten.index_put.default, aten._unsafe_index_put.default)
def index_put(net: Network, x: Any, indices: Indices, values: Any, accumulate: bool) -> Any:
    """`x` with `values` at all given places, or where a mask holds."""
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    if len(axes) == 1 and net.dtype(indices[axes[0]]) is torch.bool:
        return _written_by_mask(net, x, indices[axes[0]], axes[0], values, accumulate)
    axes = _indexed_axes(net, indices)
    write = _added if accumulate else written
    return write(net, x, axes, [indices[axis] for axis in axes], values)


def _written_by_mask(net: Network, x: Any, mask: Any, axis: int, values: Any, accumulate: bool) -> Any:
    """A choice by the mask: of the same value for all places that it names, or of one after the other."""
    shape, covered = net.shape(x), net.shape(mask)
    after = len(shape) - axis - len(covered)
    values = net.tensor(values, net.output.dtype, rank=axis + 1 + after)
    if is_same(net.shape(values)[axis], 1):
        given = net.shape(values)
        values = net.reshape(values, (*given[:axis], *(1 for _ in covered), *given[axis + 1 :]))
    else:
        values = net.gather(values, rank_among_true(net, mask), axis)
    if accumulate:
        values = net.add(x, values)
    mask = net.reshape(mask, [*(1 for _ in range(axis)), *covered, *(1 for _ in range(after))])
    return net.select(mask, values, x, net.output.dtype)


def written(net: Network, x: Any, axes: Sequence[int], indices: Indices, values: Any) -> Any:
    """`x` with `values` at the places along `axes`; those of `values` stand where indexing would put them."""
    shape = net.shape(x)
    others = [axis for axis in range(len(shape)) if axis not in axes]
    places, sizes = _coordinates(net, indices, [shape[axis] for axis in axes])
    values = _places_in_front(net, values, shape, axes, sizes)
    order = [*axes, *others]
    layer = net.add_scatter(net.permute(x, order), places, values, trt.ScatterMode.ND)
    result = net.known(layer.get_output(0), [shape[axis] for axis in order])
    return net.permute(result, [order.index(axis) for axis in range(len(shape))])


def _added(net: Network, x: Any, axes: Sequence[int], indices: Indices, values: Any) -> Any:
    """`x` with `values` added at the places along `axes`, which are made one axis for that."""
    shape = net.shape(x)
    others = [axis for axis in range(len(shape)) if axis not in axes]
    rest = [shape[axis] for axis in others]
    place = _flat_place(net, indices, [shape[axis] for axis in axes])
    values = _places_in_front(net, values, shape, axes, net.shape(place))
    count = product(net.shape(place))
    order = [*axes, *others]
    rows = net.reshape(net.permute(x, order), [product(shape[axis] for axis in axes), *rest])
    result = added_at(net, rows, net.reshape(place, [count]), net.reshape(values, [count, *rest]))
    result = net.reshape(result, [shape[axis] for axis in order])
    return net.permute(result, [order.index(axis) for axis in range(len(shape))])


def _places_in_front(net: Network, values: Any, shape: Sizes, axes: Sequence[int], sizes: Sizes) -> Any:
    """The values for places of the shape `sizes`, broadcast, with the axes of the places before all others."""
    rest = [size for axis, size in enumerate(shape) if axis not in axes]
    first = axes[0] if axes[-1] - axes[0] == len(axes) - 1 else 0
    values = net.expand(net.cast(values, net.output.dtype), [*rest[:first], *sizes, *rest[first:]])
    count, rank = len(sizes), len(sizes) + len(rest)
    return net.permute(values, [*range(first, first + count), *range(first), *range(first + count, rank)])


def _coordinates(net: Network, indices: Indices, lengths: Sequence[Size]) -> tuple[Any, Sizes]:
    """The indices, broadcast, beside each other along a new last axis; and their shape."""
    counted = [counted_from_start(net, index, size) for index, size in zip(indices, lengths, strict=True)]
    operands = net.operands(*counted, dtype=torch.int64)
    sizes = broadcast(*map(net.shape, operands))
    columns = [net.reshape(net.expand(each, sizes), [*sizes, 1]) for each in operands]
    return net.concatenate(columns, len(sizes)), sizes


@converter(aten.put.default)
def put(net: Network, x: Any, index: Any, source: Any, accumulate: bool) -> Any:
    """`x` with the elements of `source` at places of the flattened tensor."""
    flat = net.reshape(x, [product(net.shape(x))])
    write = _added if accumulate else written
    return net.reshape(write(net, flat, [0], [index], source), net.shape(x))


# -- slices of a tensor written over ----------------------------------------------------------------


@converter(aten.slice_scatter.default)
def slice_scatter(net: Network, x: Any, src: Any, dim: int, start: Size | None, end: Size | None, step: Size) -> Any:
    """`x` with `src` in the place of a slice."""
    dim %= len(net.shape(x))
    size = net.shape(x)[dim]
    begin, count = slice_of(size, start, end, step)
    x, src = net.tensor(x), net.tensor(src, net.output.dtype)
    if is_same(size, count):
        return src
    if is_same(step, 1):
        return _between(net, x, src, dim, begin, count)
    # Both one after the other, then each element by its place there.
    if all(map(is_static, (size, begin, step))):
        places = torch.arange(int(size))
        places[begin : begin + count * step : step] = int(size) + torch.arange(int(count))
    else:
        places = _places_of_slice(net, size, begin, count, step)
    return net.gather(net.concatenate([x, src], dim), places, dim)


def _places_of_slice(net: Network, size: Size, start: Size, count: Size, step: Size) -> Any:
    """For each place along an axis itself, or where it is the i-th of a slice, size + i."""
    place = sequence(net, size)
    offset = net.sub(place, net.number(start))
    number = net.elementwise(offset, net.number(step), trt.ElementWiseOperation.FLOOR_DIV)
    is_written = net.elementwise(net.mul(number, net.number(step)), offset, trt.ElementWiseOperation.EQUAL)
    for bound, operation in ((-1, "GREATER"), (net.number(count), "LESS")):
        is_within = net.elementwise(number, bound, getattr(trt.ElementWiseOperation, operation))
        is_written = net.elementwise(is_written, is_within, trt.ElementWiseOperation.AND)
    return net.select(is_written, net.add(number, net.number(size)), place, torch.int64)


def _between(net: Network, x: Any, src: Any, dim: int, start: Size, count: Size) -> Any:
    """`x` with `src` in the place of `count` elements from `start` on."""
    after = net.shape(x)[dim] - start - count
    parts = [part(net, x, dim, 0, start), src, part(net, x, dim, start + count, after)]
    return net.concatenate([each for each in parts if not is_same(net.shape(each)[dim], 0)], dim)


@converter(aten.select_scatter.default)
def select_scatter(net: Network, x: Any, src: Any, dim: int, index: Size) -> Any:
    """`x` with `src` in the place of a selected part."""
    shape = list(net.shape(x))
    dim %= len(shape)
    start = from_start(index, shape[dim])
    shape[dim] = 1
    return _between(net, net.tensor(x), net.reshape(net.tensor(src, net.output.dtype), shape), dim, start, 1)


@converter(aten.diagonal_scatter.default)
def diagonal_scatter(net: Network, x: Any, src: Any, offset: int, dim1: int, dim2: int) -> Any:
    """`x` with `src` in the place of a diagonal."""
    shape = net.shape(x)
    first, second = dim1 % len(shape), dim2 % len(shape)
    count = net.shape(src)[-1]
    if is_static(count):
        places = torch.arange(int(count))
        rows, columns = places - min(offset, 0), places + max(offset, 0)
    else:
        rows, columns = (net.add(sequence(net, count), start) for start in (-min(offset, 0), max(offset, 0)))
    others = [axis for axis in range(len(shape)) if axis not in (first, second)]
    order = [first, second, *others]
    back = [order.index(axis) for axis in range(len(shape))]
    values = net.permute(net.cast(src, net.output.dtype), [len(others), *range(len(others))])
    return net.permute(written(net, net.permute(x, order), [0, 1], [rows, columns], values), back)
