"""Tensors that have one value at all of their places, whatever the sizes of the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from trtconv.capture.trace import Call, bind
from trtconv.capture.unseen import unseen

_aten = torch.ops.aten
_ONES = frozenset({_aten.ones, _aten.ones_like, _aten.new_ones})
_ZEROS = frozenset({_aten.zeros, _aten.zeros_like, _aten.new_zeros})
_FILLS = frozenset({_aten.full, _aten.full_like, _aten.new_full, _aten.fill})
_SAME = frozenset(
    {
        *(_aten._to_copy, _aten.clone, _aten.alias, _aten.detach, _aten.expand, _aten.view, _aten._unsafe_view),
        *(_aten.slice, _aten.select, _aten.squeeze, _aten.unsqueeze, _aten.permute, _aten.all, _aten.any),
    }
)
"""Operators that give the value of their argument, which has at least one element, perhaps as another type."""


def read_uniform(tensor: torch.Tensor, reader: str, calls: Sequence[Call]) -> Any:
    """What a method of a tensor without axes reads of a value that doesn't depend on sizes; None if it does."""
    if tensor.dim() or reader == "__array__":
        return None
    with unseen():
        value = _value(tensor, calls)
        return None if value is None else getattr(value, reader)()


def _value(tensor: torch.Tensor, calls: Sequence[Call]) -> torch.Tensor | None:
    """The only value of a tensor that these calls compute, without axes; None if they don't tell it."""
    call = next((call for call in calls if call.output is tensor), None)
    if call is None or not isinstance(call.target, OpOverload):
        return None
    operator = call.target.overloadpacket
    if operator in _SAME:
        value = _value(call.args[0], calls)
        return None if value is None else value.to(tensor.dtype)
    fill = 1 if operator in _ONES else 0 if operator in _ZEROS else None
    if operator in _FILLS:
        arguments = bind(call.target, call.args, call.kwargs)
        fill = arguments.get("fill_value", arguments.get("value"))
    return torch.tensor(fill, dtype=tensor.dtype) if isinstance(fill, (bool, int, float)) else None
