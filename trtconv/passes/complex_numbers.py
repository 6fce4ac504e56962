"""Compute with pairs of real numbers what the module computes with complex ones, which TensorRT doesn't have.

Each call that takes or gives complex tensors is replaced by the calls that a formula of torch's functions
makes on their real and imaginary parts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

from trtconv.capture.reasons import COMPLEX
from trtconv.capture.trace import Call, Origin, Trace, describe, is_activation, live_calls, map_tensors
from trtconv.errors import UnsupportedArgumentError
from trtconv.passes.complex_formulas import Complex, formula
from trtconv.passes.recording import recorded


def use_real_numbers(trace: Trace) -> Trace:
    """Return the trace without complex tensors; inputs and outputs have both parts along a new last axis.

    Raises:
        UnsupportedArgumentError: a call on complex tensors has no formula.
    """
    edges = (*trace.inputs, *trace.outputs)
    if not any(tensor.is_complex() for tensor in edges) and not any(map(_is_complex, trace.calls)):
        return trace
    rewrite = _Rewrite()
    inputs = [rewrite.input(tensor) for tensor in trace.inputs]
    for call in trace.calls:
        rewrite(call)
    outputs = [rewrite.output(tensor) for tensor in trace.outputs]
    return Trace(inputs, outputs, live_calls(rewrite.calls, outputs))


def _is_complex(call: Call) -> bool:
    return any(tensor.is_complex() for tensor in (*call.input_tensors(), *call.output_tensors()))


_EDGE = Origin("", "", 0, "")


class _Rewrite:
    """The calls so far, and what stands for the tensors of the trace that they don't compute themselves."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._stand_ins: dict[int, tuple[torch.Tensor, torch.Tensor | Complex]] = {}

    def __call__(self, call: Call) -> None:
        if not _is_complex(call):
            self.calls.append(call.with_arguments(*map_tensors(self.real, (call.args, call.kwargs))))
            return
        compute = formula(call.target)
        if compute is None:
            raise UnsupportedArgumentError(f"{call.origin}: {describe(call)}: {COMPLEX}")
        args, kwargs = map_tensors(self._stand_in, (call.args, call.kwargs))
        try:
            with recorded(self.calls, call.origin, *call.input_tensors(), *call.output_tensors()):
                results = compute(*args, **kwargs)
        except UnsupportedArgumentError as error:
            raise UnsupportedArgumentError(f"{call.origin}: {describe(call)}: {error}") from error
        leaves = pytree.tree_leaves(results, is_leaf=lambda leaf: isinstance(leaf, Complex))
        for tensor, result in zip(call.output_tensors(), leaves, strict=True):
            self._stand_ins[id(tensor)] = (tensor, result)

    def input(self, tensor: torch.Tensor) -> torch.Tensor:
        """An input as the engine takes it."""
        if not tensor.is_complex():
            return tensor
        mode: Any = tensor.fake_mode  # type: ignore[attr-defined]  # it is a FakeTensor
        with mode, mode.silenced:
            pairs = torch.empty((*tensor.shape, 2), dtype=tensor.dtype.to_real(), device=tensor.device)
        with recorded(self.calls, _EDGE, pairs):
            self._stand_ins[id(tensor)] = (tensor, Complex(*pairs.unbind(-1)))
        return pairs

    def output(self, tensor: torch.Tensor) -> torch.Tensor:
        """A result as the engine gives it."""
        result = self._stand_in(tensor)
        if isinstance(result, torch.Tensor):
            return result
        parts = [result.real, result.imaginary]
        if not any(map(is_activation, parts)):
            return torch.stack(parts, -1)
        with recorded(self.calls, _EDGE, *parts):
            return torch.stack(parts, -1)

    def real(self, tensor: torch.Tensor) -> torch.Tensor:
        """What stands for a real tensor."""
        result = self._stand_in(tensor)
        assert isinstance(result, torch.Tensor)
        return result

    def _stand_in(self, tensor: torch.Tensor) -> torch.Tensor | Complex:
        if id(tensor) not in self._stand_ins and tensor.is_complex():
            constant = tensor.detach().resolve_conj()
            self._stand_ins[id(tensor)] = (tensor, Complex(constant.real.contiguous(), constant.imag.contiguous()))
        return self._stand_ins.get(id(tensor), (tensor, tensor))[1]
