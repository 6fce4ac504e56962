"""Compute what has no converter by the operators that PyTorch itself says it is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch._decomp import decomposition_table
from torch._ops import OpOverload

from trtconv.capture.trace import Call, Trace, is_activation, live_calls, map_tensors, tensors_in
from trtconv.emit import registry
from trtconv.passes.recording import recorded


def decompose(trace: Trace) -> Trace:
    """Return the trace with its parts in the place of each call without a converter whose parts all have one."""
    if all(registry.find(call.target) for call in trace.calls):
        return trace
    calls: list[Call] = []
    replaced: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def current(tensor: torch.Tensor) -> torch.Tensor:
        return replaced.get(id(tensor), (tensor, tensor))[1]

    for call in trace.calls:
        now = call.with_arguments(*map_tensors(current, (call.args, call.kwargs)))
        parts = None if registry.find(call.target) else _parts(now)
        if parts is None:
            calls.append(now)
            continue
        calls += parts.calls
        results = zip(call.output_tensors(), parts.outputs, strict=True)
        replaced |= {id(old): (old, new) for old, new in results}
    outputs = list(map(current, trace.outputs))
    return Trace(trace.inputs, outputs, live_calls(calls, outputs))


def _parts(call: Call) -> Trace | None:
    """The calls that do what a call without a converter does, and its results among theirs; None if there are none."""
    function = decomposition_table.get(call.target) if isinstance(call.target, OpOverload) else None
    tensors = [*call.input_tensors(), *call.output_tensors()]
    if function is None or not any(map(is_activation, tensors)):
        return None
    mode: Any = next(filter(is_activation, tensors)).fake_mode  # type: ignore[attr-defined]  # it is a FakeTensor
    guards = 0 if mode.shape_env is None else len(mode.shape_env.guards)
    calls: list[Call] = []
    try:
        with recorded(calls, call.origin, *tensors):
            outputs = tensors_in(function(*call.args, **call.kwargs))
    except Exception:  # PyTorch's own, of any kind: the formula reads values, or isn't for these arguments
        return None
    if mode.shape_env is not None and len(mode.shape_env.guards) > guards:
        return None  # it is for some of the sizes only
    if [(each.dtype, each.dim()) for each in outputs] != [(each.dtype, each.dim()) for each in call.output_tensors()]:
        return None
    if any(part.target is call.target or _writes(part) for part in calls):
        return None  # calls in a trace have no side effects
    parts = decompose(Trace([], outputs, live_calls(calls, outputs)))
    return parts if all(registry.find(part.target) for part in parts.calls) else None


def _writes(call: Call) -> bool:
    return isinstance(call.target, OpOverload) and call.target._schema.is_mutable
