"""Torch functions that take numbers, or tensors made of them, where a number is a symbol.

Each gives NotImplemented where torch's own code does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from trtconv.capture.trace import DependsOnInput

_SYMBOLIC = (torch.SymInt, torch.SymFloat)


def tensor_of_numbers(
    depends: DependsOnInput, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """torch takes numbers from symbols, and from tensors."""
    if isinstance(data, _SYMBOLIC):
        if dtype is None:
            dtype = torch.int64 if isinstance(data, torch.SymInt) else torch.get_default_dtype()
        return torch.scalar_tensor(data, dtype=dtype, device=device)
    if isinstance(data, torch.Tensor) and depends(data):
        return data.to(dtype=dtype or data.dtype, device=device, copy=True)
    if not isinstance(data, (list, tuple)) or not any(_is_unknown(depends, x) for x in pytree.tree_leaves(data)):
        return NotImplemented
    parts = [tensor_of_numbers(depends, each, dtype=dtype, device=device) for each in data]
    given = zip(parts, data, strict=True)
    parts = [torch.tensor(x, dtype=dtype, device=device) if part is NotImplemented else part for part, x in given]
    common = functools.reduce(torch.promote_types, (part.dtype for part in parts))
    return torch.stack([part.to(common) for part in parts])


def _is_unknown(depends: DependsOnInput, leaf: Any) -> bool:
    return isinstance(leaf, _SYMBOLIC) or (isinstance(leaf, torch.Tensor) and depends(leaf))


def new_tensor(
    depends: DependsOnInput, x: torch.Tensor, data: Any, *, dtype: Any = None, device: Any = None, **options: Any
) -> Any:
    """torch takes numbers from symbols."""
    return tensor_of_numbers(depends, data, dtype=dtype or x.dtype, device=device or x.device)


def linspace(depends: DependsOnInput, start: Any, end: Any, steps: Any, *, out: Any = None, **options: Any) -> Any:
    """torch takes the number of steps from a symbol. As torch does, the second half is counted from the end."""
    numbers = not isinstance(start, torch.Tensor) and not isinstance(end, torch.Tensor)
    if not numbers or not any(isinstance(x, _SYMBOLIC) for x in (start, end, steps)) or out is not None:
        return NotImplemented
    dtype = options.get("dtype") or torch.get_default_dtype()
    if not dtype.is_floating_point:
        return NotImplemented
    place = torch.arange(steps, **{**options, "dtype": dtype})
    step = (end - start) / torch.sym_max(steps - 1, 1)
    return torch.where(place < steps / 2, start + step * place, end - step * (steps - 1 - place))


def logspace(depends: DependsOnInput, start: Any, end: Any, steps: Any, base: float = 10.0, **options: Any) -> Any:
    """base ** linspace"""
    exponents = linspace(depends, start, end, steps, **options)
    return exponents if exponents is NotImplemented else base**exponents


def affine_grid(depends: DependsOnInput, theta: torch.Tensor, size: Any, align_corners: bool) -> Any:
    """torch takes numbers from symbols. The places of an image from -1 to 1, (x, y, 1), times the matrices."""
    if not any(isinstance(n, torch.SymInt) for n in size):
        return NotImplemented
    _, _, *spatial = size
    dims = len(spatial)
    columns = [torch.ones((), device=theta.device).expand(spatial)]
    for axis, count in enumerate(spatial):
        step = torch.sym_max(count - 1, 1) if align_corners else count
        place = (2 * torch.arange(count, device=theta.device) - (count - 1)).float() / step
        columns.insert(0, place.reshape([-1 if each == axis else 1 for each in range(dims)]).expand(spatial))
    places = torch.stack(columns, -1).reshape(1, -1, dims + 1)
    grid = places @ theta.float().transpose(1, 2)
    return grid.reshape(theta.shape[0], *spatial, dims).to(theta.dtype)


def one_hot(depends: DependsOnInput, tensor: torch.Tensor, num_classes: Any = -1) -> Any:
    """torch takes the number of classes from a symbol."""
    if not isinstance(num_classes, torch.SymInt):
        return NotImplemented
    return (tensor[..., None] == torch.arange(num_classes, device=tensor.device)).long()


OF_NUMBERS: dict[Any, Callable[..., Any]] = {
    torch.affine_grid_generator: affine_grid,
    torch.tensor: tensor_of_numbers,
    torch.as_tensor: tensor_of_numbers,
    torch.Tensor.new_tensor: new_tensor,
    torch.linspace: linspace,
    torch.logspace: logspace,
    torch.nn.functional.one_hot: one_hot,
}
