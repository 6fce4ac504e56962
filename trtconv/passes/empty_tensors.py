"""Take tensors without elements for the constants that they are; TensorRT refuses them in places."""

from __future__ import annotations

from typing import Any

import torch

from trtconv.capture.trace import Call, Trace, is_activation, map_tensors, tensors_in
from trtconv.sizes import is_static


def fold_empty_tensors(trace: Trace) -> Trace:
    """Return the trace with constants for activations that have no elements, and for what depends on such alone."""
    known: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def current(tensor: torch.Tensor) -> torch.Tensor:
        return known.get(id(tensor), (tensor, tensor))[1]

    def define(fakes: list[torch.Tensor], reals: list[torch.Tensor]) -> None:
        known.update({id(fake): (fake, real) for fake, real in zip(fakes, reals, strict=True)})

    empty = list(filter(_is_empty, trace.inputs))
    define(empty, list(map(_real, empty)))
    calls = []
    for call in trace.calls:
        outputs = call.output_tensors()
        empty = list(filter(_is_empty, outputs))
        define(empty, list(map(_real, empty)))
        if empty and len(empty) == len(outputs):
            continue
        given = call.input_tensors()
        now = call.with_arguments(*map_tensors(current, (call.args, call.kwargs)))
        if any(id(each) in known for each in given) and not any(map(is_activation, now.input_tensors())):
            define(outputs, _computed(now))
        else:
            calls.append(now)
    return Trace(trace.inputs, list(map(current, trace.outputs)), calls) if known else trace


def _is_empty(tensor: torch.Tensor) -> bool:
    return is_activation(tensor) and all(map(is_static, tensor.shape)) and 0 in tensor.shape


def _real(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty([int(size) for size in tensor.shape], dtype=tensor.dtype)


def _computed(call: Call) -> list[torch.Tensor]:
    target: Any = call.target
    with torch.no_grad():
        return tensors_in(target(*call.args, **call.kwargs))
