"""Buffers that calls of a module keep: which they are, and what a forward pass leaves in their places."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from trtconv.calling.signature import memory_of
from trtconv.dtypes import name_of
from trtconv.errors import CaptureError, ConversionError
from trtconv.places import Origin


def kept_buffers(module: torch.nn.Module, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """The buffers of these names, which calls read and write.

    Raises:
        ConversionError: one shares memory with another of the module's tensors.
        TypeError: the names aren't a sequence of names.
        ValueError: a name isn't that of a buffer, or one buffer is named twice.
    """
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"state={names!r}: it takes a sequence of names of buffers, as ['cache.keys', 'cache.values']")
    buffers = dict(module.named_buffers(remove_duplicate=False))
    if unknown := [name for name in names if name not in buffers]:
        has = f"it has {', '.join(map(repr, list(buffers)[:20]))}" if buffers else "it has none"
        parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
        why = "; a parameter can't be state" if not parameters.isdisjoint(unknown) else ""
        raise ValueError(f"state={list(names)!r}: the module has no buffer {unknown[0]!r}{why}; {has}")
    if taken := [name for name in names if name == "plan" or re.match(r"segment_\d+\.", name)]:
        raise ValueError(
            f"state={list(names)!r}: converted modules save something else as {taken[0]!r}: rename the buffer"
        )
    kept = {name: buffers[name] for name in names}
    others = [*module.named_parameters(), *buffers.items()]
    spans = [(name, tensor, *memory_of(tensor)) for name, tensor in others if names]
    for name, buffer in kept.items():
        if next(each for each, tensor in kept.items() if tensor is buffer) != name or len(kept) != len(names):
            raise ValueError(f"state={list(names)!r}: a buffer is named twice")
        first, last = memory_of(buffer)
        for other, tensor, start, stop in spans:
            if tensor is not buffer and start < last and first < stop:
                raise ConversionError(
                    f"the buffer {name!r} shares memory with {other!r}: what a call writes to the one would be in the "
                    "other; state has memory of its own (clone one of them)"
                )
    return kept


def now_in_places_of(
    kept: Mapping[str, torch.Tensor], module: torch.nn.Module, made_at: Callable[[torch.Tensor], Origin | None]
) -> Iterator[torch.Tensor]:
    """What a forward pass left in the places of buffers: themselves, or tensors that it put there.

    Raises:
        CaptureError: it left one of another shape or dtype, or none.
    """
    for name, buffer in kept.items():
        path, _, attribute = name.rpartition(".")
        now: Any = getattr(module.get_submodule(path), attribute, None)
        if isinstance(now, torch.Tensor) and (now.shape, now.dtype) == (buffer.shape, buffer.dtype):
            yield now
            continue
        at = made_at(now) if isinstance(now, torch.Tensor) else None
        came = _shown(now) if isinstance(now, torch.Tensor) else f"a {type(now).__name__}"
        raise CaptureError(
            f"{f'{at}: ' if at else ''}the forward pass puts {came} in the place of {name}, which is {_shown(buffer)}: "
            "what calls keep has the same shape and dtype from call to call"
        )


def _shown(tensor: torch.Tensor) -> str:
    return f"{name_of(tensor.dtype)}{list(tensor.shape)}"
