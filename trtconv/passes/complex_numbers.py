"""Compute with pairs of real numbers what the module computes with complex ones, which TensorRT doesn't have.

Each call that takes or gives complex tensors is replaced by the calls that a formula of torch's functions
makes on their real and imaginary parts.
"""

from __future__ import annotations

import torch
from torch.utils import _pytree as pytree

from trtconv.capture.trace import Call, Trace, map_tensors
from trtconv.definition import describe
from trtconv.dtypes import name_of
from trtconv.errors import ConversionError, UnsupportedArgumentError
from trtconv.passes.complex_formulas import Complex, formula
from trtconv.passes.recording import recorded
from trtconv.reasons import COMPLEX


def use_real_numbers(trace: Trace) -> Trace:
    """Return the trace without complex tensors.

    Raises:
        UnsupportedArgumentError: a call on complex tensors has no formula.
        ConversionError: the module takes or returns complex tensors.
    """
    edges = [tensor for tensor in (*trace.inputs, *trace.outputs) if tensor.is_complex()]
    if edges:
        raise ConversionError(
            f"an input or a result of the module is {name_of(edges[0].dtype)}: {COMPLEX} (torch.view_as_real, "
            "torch.view_as_complex)"
        )
    if not any(_is_complex(call) for call in trace.calls):
        return trace
    rewrite = _Rewrite()
    for call in trace.calls:
        rewrite(call)
    outputs = [rewrite.real(tensor) for tensor in trace.outputs]
    return Trace(trace.inputs, outputs, _needed(rewrite.calls, outputs))


def _is_complex(call: Call) -> bool:
    return any(tensor.is_complex() for tensor in (*call.input_tensors(), *call.output_tensors()))


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


def _needed(calls: list[Call], outputs: list[torch.Tensor]) -> list[Call]:
    """The calls that the outputs need."""
    needed = {id(tensor) for tensor in outputs}
    kept = []
    for call in reversed(calls):
        if needed.isdisjoint(id(tensor) for tensor in call.output_tensors()):
            continue
        needed.update(id(tensor) for tensor in call.input_tensors())
        kept.append(call)
    return kept[::-1]
