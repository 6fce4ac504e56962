"""Compute in float32 what the module computes in float64, which TensorRT doesn't have.

The trace is rewritten as if all its float64 tensors were float32; at the module's edges `TRTModule`
casts, so that callers give and get float64 as before.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch.utils import _pytree as pytree

from trtconv.capture.trace import Trace, describe, is_activation
from trtconv.errors import PrecisionWarning
from trtconv.places import warn


def use_single_precision(trace: Trace) -> Trace:
    """Return the trace with float32 in the place of float64; warn once if there was any."""
    rewrite = _Rewrite()
    inputs = [rewrite(tensor) for tensor in trace.inputs]
    where = "an input is float64" if rewrite.changed else ""
    calls = []
    for call in trace.calls:
        args, kwargs, output = rewrite(call.args), rewrite(call.kwargs), rewrite(call.output)
        if rewrite.changed and not where:
            where = f"{call.origin}: {describe(call)} has float64 arguments or results"
        calls.append(dataclasses.replace(call, args=args, kwargs=kwargs, output=output))
    outputs = [rewrite(tensor) for tensor in trace.outputs]
    if not rewrite.changed:
        return trace
    warn(
        f"{where or 'a result is float64'}: TensorRT has no float64, so the converted module computes in float32 "
        "(relative error 1e-7 where PyTorch has 1e-16)",
        PrecisionWarning,
    )
    return Trace(inputs, outputs, calls)


class _Rewrite:
    """Replaces float64 tensors, always the same by the same, and the dtype itself among arguments."""

    def __init__(self) -> None:
        self.changed = False
        self._replaced: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, structure: Any) -> Any:
        return pytree.tree_map(self._leaf, structure)

    def _leaf(self, value: Any) -> Any:
        if value is torch.float64:
            self.changed = True
            return torch.float32
        if not isinstance(value, torch.Tensor) or value.dtype is not torch.float64:
            return value
        self.changed = True
        if id(value) not in self._replaced:
            self._replaced[id(value)] = (value, _in_single_precision(value))
        return self._replaced[id(value)][1]


def _in_single_precision(value: torch.Tensor) -> torch.Tensor:
    if not is_activation(value):
        return value.detach().float()
    mode: Any = value.fake_mode  # type: ignore[attr-defined]  # it is a FakeTensor
    with mode, mode.silenced:
        return torch.empty_like(value, dtype=torch.float32)
