"""GATHER, NON_ZERO, ONE_HOT and SCATTER."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trtconv.reference.layers.registry import Kernel, LayerContext, implements


def _wrapped(indices: Tensor, size: int) -> Tensor:
    """Indices as int64, negative ones counted from the end."""
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


def _checked(indices: Tensor, size: int) -> tuple[Tensor, Tensor | None]:
    """Valid indices, and where they replace ones out of bounds (None: nowhere)."""
    indices = _wrapped(indices, size)
    outside = (indices < 0) | (indices >= size)
    if not bool(outside.any()):
        return indices, None
    return indices.clamp(0, max(size - 1, 0)), outside


def _blank(x: Tensor, outside: Tensor | None) -> Tensor:
    """Zeros where ``outside``, aligned with the first dimensions of x, holds."""
    if outside is None:
        return x
    mask = outside.reshape([*outside.shape, *[1] * (x.dim() - outside.dim())])
    return x.masked_fill(mask, 0) if x.dtype != torch.bool else x & ~mask


@implements("GATHER")
def gather(context: LayerContext) -> Kernel:
    """Elements by index: DEFAULT as numpy.take, ELEMENT as take_along_axis, ND by coordinate tuples.

    Negative indices count from the end. What lies out of bounds reads as zero, as TensorRT-RTX does at
    run time.
    """
    mode, axis, batch = context["mode"], context["axis"], context["num_elementwise_dims"]
    if mode == "ELEMENT":
        return lambda x, indices: _gather_elements(x, indices, axis)
    if mode == "ND":
        return lambda x, indices: _gather_nd(x, indices, batch)
    return lambda x, indices: _gather_default(x, indices, axis, batch)


def _gather_elements(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    valid, outside = _checked(indices, x.shape[axis])
    return _blank(x.gather(axis, valid), outside)


def _gather_default(x: Tensor, indices: Tensor, axis: int, batch: int) -> Tensor:
    axis %= x.dim()
    valid, outside = _checked(indices, x.shape[axis])
    if batch == 0:
        y = x.index_select(axis, valid.reshape(-1)) if x.shape[axis] else x.narrow(axis, 0, 0)
        if outside is not None:
            y = _blank(y.movedim(axis, 0), outside.reshape(-1)).movedim(0, axis)
        return y.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])
    items = []
    for item, index in enumerate(valid):
        y = x[item].index_select(axis - 1, index.reshape(-1))
        if outside is not None:
            y = _blank(y.movedim(axis - 1, 0), outside[item].reshape(-1)).movedim(0, axis - 1)
        items.append(y.reshape([*x.shape[1:axis], *indices.shape[1:], *x.shape[axis + 1 :]]))
    return torch.stack(items)


def _flat_coordinates(sizes: tuple[int, ...], indices: Tensor) -> tuple[Tensor, Tensor]:
    """Row-major positions of coordinate tuples in the last dimension, and which are out of bounds."""
    flat = indices.new_zeros(indices.shape[:-1], dtype=torch.int64)
    outside = torch.zeros_like(flat, dtype=torch.bool)
    for i, size in enumerate(sizes):
        coordinate = _wrapped(indices[..., i], size)
        outside |= (coordinate < 0) | (coordinate >= size)
        flat = flat * size + coordinate.clamp(0, max(size - 1, 0))
    return flat, outside


def _batch_offsets(flat: Tensor, batch_shape: tuple[int, ...], size: int) -> Tensor:
    """Move positions inside a batch item to positions in all items laid one after the other."""
    items = torch.arange(math.prod(batch_shape), device=flat.device) * size
    return flat + items.reshape([*batch_shape, *[1] * (flat.dim() - len(batch_shape))])


def _gather_nd(x: Tensor, indices: Tensor, batch: int) -> Tensor:
    depth = indices.shape[-1]
    sizes = tuple(x.shape[batch : batch + depth])
    flat, outside = _flat_coordinates(sizes, indices)
    flat = _batch_offsets(flat, tuple(x.shape[:batch]), math.prod(sizes))
    rest = x.shape[batch + depth :]
    y = x.reshape(-1, *rest).index_select(0, flat.reshape(-1)).reshape([*flat.shape, *rest])
    return _blank(y, outside) if bool(outside.any()) else y


@implements("SCATTER")
def scatter(context: LayerContext) -> Kernel:
    """A copy of the data with updates set in: ELEMENT along ``axis``, ND by coordinate tuples.

    Of several updates to one element TensorRT leaves open which stays. Those out of bounds are ignored.
    """
    if context["mode"] == "ND":
        return _scatter_nd
    axis = context["axis"]
    return lambda x, indices, updates: _scatter_elements(x, indices, updates, axis)


def _scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, axis: int) -> Tensor:
    valid, outside = _checked(indices, x.shape[axis])
    if outside is not None:
        # A place that an ignored update is sent to must keep its value: send it to an extra row.
        axis %= x.dim()
        extra = x.narrow(axis, 0, 1)
        longer = torch.cat((x, extra), axis)
        valid = torch.where(outside, x.shape[axis], valid)
        return longer.scatter(axis, valid, updates).narrow(axis, 0, x.shape[axis])
    return x.scatter(axis, valid, updates)


def _scatter_nd(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    depth = indices.shape[-1]
    flat, outside = _flat_coordinates(tuple(x.shape[:depth]), indices)
    rest = x.shape[depth:]
    inside = ~outside.reshape(-1)
    y = x.reshape(-1, *rest).clone()
    y[flat.reshape(-1)[inside]] = updates.reshape(-1, *rest)[inside]
    return y.reshape(x.shape)


@implements("ONE_HOT")
def one_hot(context: LayerContext) -> Kernel:
    """Off-values with an on-value at each index along a new dimension; values is [off, on].

    Negative indices count from the end; one outside the depth sets nothing.
    """
    axis = context["axis"]

    def kernel(indices: Tensor, values: Tensor, depth: Tensor) -> Tensor:
        count = int(depth)
        place = axis % (indices.dim() + 1)
        context.check_sizes([*indices.shape[:place], count, *indices.shape[place:]])
        positions = torch.arange(count, device=indices.device)
        positions = positions.reshape(-1, *[1] * (indices.dim() - place))
        hot = _wrapped(indices, count).unsqueeze(place) == positions
        return torch.where(hot, values[1], values[0])

    return kernel


@implements("NON_ZERO")
def non_zero(context: LayerContext) -> Kernel:
    """Coordinates of the non-zero elements, one column each, in row-major order."""
    dtype = context.output_type().dtype.carrier
    return lambda x: torch.nonzero(x).T.to(dtype)
