"""Torch functions in Python whose own code, in C++, reads sizes or values that stand-ins don't have.

Each gives NotImplemented where torch's own code does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

DependsOnInput = Callable[[torch.Tensor], bool]

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8)


def take_along_dim(
    depends: DependsOnInput, input: torch.Tensor, indices: torch.Tensor, dim: int | None = None, *, out: Any = None
) -> Any:
    """torch broadcasts by numbers, which it takes from the symbols."""
    if dim is None or out is not None or input.dim() != indices.dim():
        return NotImplemented
    dim %= input.dim()
    count = input.shape[dim]
    shape = [n if m == 1 else m for n, m in zip(input.shape, indices.shape, strict=True)]
    places = indices.expand([*shape[:dim], indices.shape[dim], *shape[dim + 1 :]])
    data = input.expand([*shape[:dim], count, *shape[dim + 1 :]])
    return data.gather(dim, torch.where(places < 0, places + count, places))


def getitem(depends: DependsOnInput, x: Any, key: Any) -> Any:
    """torch reads the values of an index without axes, and those of masks."""
    places = list(key) if isinstance(key, tuple) else [key]
    indices = [each.nonzero().unbind(1) if _is_mask(each) and not depends(each) else (each,) for each in places]
    if any(index[0] is not place for index, place in zip(indices, places, strict=True)):
        return x[tuple(index for each in indices for index in each)]
    number = _number(depends, places)
    if number is None:
        return NotImplemented
    places[number] = places[number].reshape(1)
    return x[tuple(places)].squeeze(-1 - _axes_after(x, places, number))


def setitem(depends: DependsOnInput, x: Any, key: Any, value: Any) -> Any:
    """torch reads the value of an index without axes."""
    places = list(key) if isinstance(key, tuple) else [key]
    number = _number(depends, places)
    if number is None:
        return NotImplemented
    places[number] = places[number].reshape(1)
    if isinstance(value, torch.Tensor) and value.dim() >= _axes_after(x, places, number):
        value = value.unsqueeze(value.dim() - _axes_after(x, places, number))
    x[tuple(places)] = value
    return None


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8) and index.dim() > 0


def _number(depends: DependsOnInput, places: list[Any]) -> int | None:
    """The place of the only tensor among the indices, if that has no axes and depends on an input."""
    tensors = [i for i, each in enumerate(places) if isinstance(each, (torch.Tensor, list, bool))]
    if len(tensors) != 1 or not isinstance(places[tensors[0]], torch.Tensor):
        return None
    index = places[tensors[0]]
    return tensors[0] if index.dim() == 0 and index.dtype in _INTEGERS and depends(index) else None


def _axes_after(x: torch.Tensor, places: list[Any], place: int) -> int:
    """How many axes of the result come after the one of the index at this place."""
    rest = x.dim() - sum(each is not None and each is not Ellipsis for each in places)
    if any(each is Ellipsis for each in places[:place]):
        rest = 0
    return rest + sum(each is None or isinstance(each, slice) for each in places[place + 1 :])


REWRITTEN: dict[Any, Callable[..., Any]] = {
    torch.take_along_dim: take_along_dim,
    torch.Tensor.take_along_dim: take_along_dim,
    torch.Tensor.__getitem__: getitem,
    torch.Tensor.__setitem__: setitem,
}
