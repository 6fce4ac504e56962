"""Slices and their relatives where a size or a bound is a symbol.

torch's own code compares the bounds with the size, which decides for all sizes what holds for this one. Here bounds
are clamped by arithmetic, which becomes a part of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from trtconv.capture.trace import DependsOnInput
from trtconv.sizes import Size, expression
from trtconv.sizes.bounds import (
    bounds,
    counted_from_start,
    is_at_most,
    is_varying,
    larger,
    ranges_of,
    slice_of,
    smaller,
)

_aten = torch.ops.aten

# -- functions, as Python calls them ----------------------------------------------------------------


def getitem(depends: DependsOnInput, x: Any, key: Any) -> Any:
    found = _basic_part(x, key)
    if found is None:
        return NotImplemented
    part, rest = found
    return part[rest] if any(isinstance(each, torch.Tensor) for each in rest) else part


def setitem(depends: DependsOnInput, x: Any, key: Any, value: Any) -> Any:
    found = _basic_part(x, key)
    if found is None:
        return NotImplemented
    part, rest = found
    part[rest if any(isinstance(each, torch.Tensor) for each in rest) else ...] = value
    return None


def _basic_part(x: Any, key: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """The view that the numbers and slices of an index make, and the index into it that is left.

    None where no symbol is among the sizes and the bounds, or something else stands in the index.
    """
    places = list(key) if isinstance(key, tuple) else [key]
    if not is_varying(x.shape) and not any(map(_has_symbol, places)):
        return None
    if not all(map(_is_understood, places)) or not any(_is_size(each) or _is_bounded(each) for each in places):
        return None
    taken = sum(map(_axes_of, places))
    if taken > x.dim() or sum(each is Ellipsis for each in places) > 1:
        return None
    rest: list[Any] = []
    axis = 0
    for each in places:
        if each is Ellipsis:
            rest += [slice(None)] * (x.dim() - axis - taken)
            axis = len(rest)
            continue
        taken -= _axes_of(each)
        if each is None:
            x = x.unsqueeze(axis)
        elif _is_bounded(each):
            x = _sliced(x, axis, each.start, each.stop, 1 if each.step is None else each.step)
        elif isinstance(each, torch.Tensor):
            rest.append(each)
            axis += _axes_of(each)
            continue
        elif not isinstance(each, slice):
            x = x.select(axis, each)
            continue
        rest.append(slice(None))
        axis += 1
    return x, tuple(rest)


def _has_symbol(index: Any) -> bool:
    bounds = (index.start, index.stop, index.step) if isinstance(index, slice) else (index,)
    return is_varying(bounds)


def _is_understood(index: Any) -> bool:
    if isinstance(index, slice):
        return all(each is None or _is_size(each) for each in (index.start, index.stop, index.step))
    return index is None or index is Ellipsis or isinstance(index, torch.Tensor) or _is_size(index)


def _is_bounded(index: Any) -> bool:
    return isinstance(index, slice) and (index.start, index.stop, index.step) != (None, None, None)


def _is_size(value: object) -> bool:
    return type(value) in (int, torch.SymInt)


def _axes_of(index: Any) -> int:
    """How many axes a part of an index is for."""
    if isinstance(index, torch.Tensor):
        return index.dim() if index.dtype in (torch.bool, torch.uint8) else 1
    return 0 if index is None or index is Ellipsis else 1


def _sliced(x: Any, dim: int, start: Size | None, end: Size | None, step: Size = 1) -> Any:
    return _aten.slice.Tensor(x, dim, start, end, step)


def tensor_split(
    depends: DependsOnInput, input: Any, indices_or_sections: Any = None, dim: int = 0, **names: Any
) -> Any:
    """torch asks which parts have one element more."""
    places = names.get("indices", names.get("sections", indices_or_sections))
    if not isinstance(places, (int, list, tuple)) or not is_varying([input.shape[dim], *_several(places)]):
        return NotImplemented
    size = input.shape[dim]
    if isinstance(places, int):
        few, more = size // places, size % places
        places = [i * few + smaller(i, more) for i in range(1, places)]
    starts, ends = [0, *places], [*places, None]
    return tuple(_sliced(input, dim, start, end) for start, end in zip(starts, ends, strict=True))


def _several(places: Any) -> Sequence[Any]:
    return places if isinstance(places, (list, tuple)) else (places,)


def split_along(axis: int) -> Callable[..., Any]:
    """hsplit, vsplit or dsplit."""

    def split(depends: DependsOnInput, input: Any, indices: Any = None, **names: Any) -> Any:
        places = names.get("indices", indices)
        if not isinstance(places, (list, tuple)):
            return NotImplemented
        return tensor_split(depends, input, places, 0 if input.dim() == 1 else axis)

    return split


def unfold(depends: DependsOnInput, x: Any, dimension: int, size: Size, step: Size) -> Any:
    """torch takes numbers only, and what is written to windows with gaps would take the gaps for zeros.

    Windows that overlap can't be written to.
    """
    if not x.dim() or not step > 0 or not 0 <= size <= x.shape[dimension]:
        return NotImplemented
    dim = dimension % x.dim()
    count = (x.shape[dim] - size) // step + 1
    if is_at_most(size, step) and is_at_most(count * step, x.shape[dim]):
        parts = _sliced(x, dim, 0, count * step).unflatten(dim, (count, step))
        return _sliced(parts, dim + 1, 0, size).movedim(dim + 1, -1)
    if is_at_most(step + 1, size):
        if not is_varying((size, step)):
            return NotImplemented
        within, first = torch.arange(size, device=x.device), torch.arange(count, device=x.device)
        places: Any = first[:, None] * step + within
        return x.index_select(dim, places.flatten()).unflatten(dim, (count, size)).movedim(dim + 1, -1)
    if not is_varying((size, step)) and not x.is_contiguous():
        return NotImplemented
    sizes = [count if axis == dim else n for axis, n in enumerate(x.shape)]
    strides = [n * step if axis == dim else n for axis, n in enumerate(x.stride())]
    return x.as_strided([*sizes, size], [*strides, x.stride(dim)], x.storage_offset())


def diagonal(depends: DependsOnInput, input: Any, offset: Size = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """torch takes numbers only; the diagonal beside the main one is the main one of the matrix from there on."""
    if not is_varying((offset,)):
        return NotImplemented
    above = is_at_most(0, offset)
    part = _sliced(input, dim2, offset, None) if above else _sliced(input, dim1, -offset, None)
    return part.diagonal(0, dim1, dim2)


def triangle(function: Callable[..., Any], is_kept: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """tril or triu, of a diagonal that is a symbol: torch takes numbers only."""

    def run(depends: DependsOnInput, input: Any, diagonal: Size = 0, **options: Any) -> Any:
        if not is_varying((diagonal,)) or options:
            return NotImplemented
        rows, columns = (torch.arange(size, device=input.device) for size in input.shape[-2:])
        return torch.where(is_kept(columns - rows[:, None], diagonal), input, 0)

    return run


_tensor = torch.Tensor

SLICED: dict[Any, Callable[..., Any]] = {
    _tensor.__getitem__: getitem,
    _tensor.__setitem__: setitem,
    **dict.fromkeys((torch.tensor_split, _tensor.tensor_split), tensor_split),
    **dict.fromkeys((torch.hsplit, _tensor.hsplit), split_along(1)),
    **dict.fromkeys((torch.vsplit, _tensor.vsplit), split_along(0)),
    **dict.fromkeys((torch.dsplit, _tensor.dsplit), split_along(2)),
    **dict.fromkeys((torch.diagonal, _tensor.diagonal), diagonal),
    **dict.fromkeys((torch.tril, _tensor.tril), triangle(torch.tril, torch.le)),
    **dict.fromkeys((torch.triu, _tensor.triu), triangle(torch.triu, torch.ge)),
}
"""What runs instead of torch's functions; NotImplemented where torch's own code does."""


# -- operators on tensors without values ------------------------------------------------------------


def _view(x: Any, dim: int, start: Size, count: Size | None, step: Size = 1) -> Any:
    """`count` elements from `start` on along an axis; None is one element without the axis."""
    sizes, strides = list(x.shape), list(x.stride())
    offset = x.storage_offset() + start * strides[dim]
    if count is None:
        del sizes[dim], strides[dim]
    else:
        sizes[dim], strides[dim] = count, strides[dim] * step
    return x.as_strided(sizes, strides, offset)


def _slice(x: Any, dim: int = 0, start: Size | None = None, end: Size | None = None, step: Size = 1) -> Any:
    if not is_varying((*x.shape, start, end, step)):
        return NotImplemented
    dim %= x.dim()
    if step < 1:
        raise ValueError("slice step must be positive")
    first, count = slice_of(x.shape[dim], start, end, step)
    return _view(x, dim, first, count, step)


def _select(x: Any, dim: int, index: Size) -> Any:
    if not x.dim() or not is_varying((*x.shape, index)):
        return NotImplemented
    dim %= x.dim()
    size = x.shape[dim]
    if not (is_at_most(-size, index) and is_at_most(index + 1, size)) and not -size <= index < size:
        raise IndexError(f"index {index} is out of bounds for dimension {dim} with size {size}")
    return _view(x, dim, counted_from_start(index, size), None)


def _diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    if not is_varying(x.shape):
        return NotImplemented
    first, second = dim1 % x.dim(), dim2 % x.dim()
    others = [axis for axis in range(x.dim()) if axis not in (first, second)]
    below, right = max(-offset, 0), max(offset, 0)
    count = larger(smaller(x.shape[first] - below, x.shape[second] - right), 0)
    strides = x.stride()
    return x.as_strided(
        [*(x.shape[axis] for axis in others), count],
        [*(strides[axis] for axis in others), strides[first] + strides[second]],
        x.storage_offset() + below * strides[first] + right * strides[second],
    )


def _split(x: Any, split_size: Size, dim: int = 0) -> Any:
    dim %= x.dim()
    size = x.shape[dim]
    if not is_varying((size, split_size)):
        return NotImplemented
    count = (size + split_size - 1) // split_size
    least, most = bounds(expression(count), ranges_of(count))
    if least != most or least < 1:
        return NotImplemented  # torch decides by the size of this capture, and says so
    starts = [i * split_size for i in range(int(least))]
    return [_view(x, dim, *slice_of(size, start, start + split_size)) for start in starts]


def _written(x: Any, *args: Any, **kwargs: Any) -> Any:
    return x.new_empty_strided(x.shape, x.stride()) if is_varying(x.shape) else NotImplemented


SLICES: dict[Any, Callable[..., Any]] = {
    _aten.slice.Tensor: _slice,
    _aten.select.int: _select,
    _aten.split.Tensor: _split,
    _aten.diagonal.default: _diagonal,
    _aten.slice_scatter.default: _written,
    _aten.select_scatter.default: _written,
}
"""What says the shapes of operators' results; NotImplemented leaves it to torch."""
