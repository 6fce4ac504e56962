"""The forms that calls come in: by position or by name, nested, with plain values among the tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from trtconv.calling.classes import is_object
from trtconv.calling.structure import BESIDE, PLAIN, map_leaves

TENSORS = (torch.Tensor, torch.nn.Parameter)
"""Torch's own classes of tensors that are run as they are."""


class Forms:
    """Where the tensors stand in calls of forms that are known to fit a plan.

    Args:
        tensors_of: The tensors among the arguments and keyword arguments of a call that fits, in the plan's order; None
            where there is no plan, and no call fits.
    """

    def __init__(self, tensors_of: Callable[[Sequence[Any], Mapping[str, Any]], Sequence[torch.Tensor]] | None) -> None:
        self._tensors_of = tensors_of
        self._places: dict[tuple[Any, ...], tuple[int, ...]] = {}

    def tensors(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor] | None:
        """The tensors of a call in the plan's order; None if its form isn't known. Their shapes aren't looked at."""
        leaves: list[torch.Tensor] = []
        form: list[Any] = [tuple(kwargs)]
        if not (_describe(args, leaves, form) and _describe(kwargs, leaves, form)):
            return None
        places = self._places.get(tuple(form))
        return None if places is None else [leaves[place] for place in places]

    def learn(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Know the form of a call that fits."""
        form: list[Any] = [tuple(kwargs)]
        stand_ins: list[torch.Tensor] = []

        def stand_in(leaf: Any) -> Any:
            if type(leaf) not in TENSORS:
                return leaf
            stand_ins.append(torch.empty(0))
            return stand_ins[-1]

        if self._tensors_of is None or not (_describe(args, [], form) and _describe(kwargs, [], form)):
            return
        if tuple(form) in self._places:
            return
        order = self._tensors_of(*map_leaves(stand_in, (tuple(args), dict(kwargs))))
        place = {id(each): number for number, each in enumerate(stand_ins)}
        self._places[tuple(form)] = tuple(place[id(each)] for each in order)


def _describe(value: Any, tensors: list[torch.Tensor], form: list[Any]) -> bool:
    """Add a value's tensors and its form without them; False if it holds what may mean anything."""
    kind = type(value)
    if kind in TENSORS:
        tensors.append(value)
        form.append(torch.Tensor)
        return True
    if kind in PLAIN:
        form += (kind, repr(value) if kind is float else value)  # 0.0 equals -0.0, and NaN not even itself
        return True
    if kind is tuple or kind is list:
        form += (kind, len(value))
        return all([_describe(each, tensors, form) for each in value])
    if kind is dict:
        form += (kind, tuple(value))
        return all([_describe(each, tensors, form) for each in value.values()])
    if kind in BESIDE or isinstance(value, type):
        form.append(value)
        return True
    if is_object(kind):
        attributes = sorted(vars(value).items())
        form += (kind, tuple([name for name, _ in attributes]))
        return all([_describe(each, tensors, form) for _, each in attributes])
    return False
