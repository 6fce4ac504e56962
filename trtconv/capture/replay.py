"""Traces run on numbers: what tells whether two lists of calls compute the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy
import torch
from torch.utils import _pytree as pytree

from trtconv.capture.trace import Trace, map_tensors, tensors_in

_SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)


def same_results(symbolic: Trace, static: Trace, sizes: Mapping[sympy.Symbol, int], examples: Sequence[Any]) -> bool:
    """Whether a trace with symbols gives, at these sizes, what a trace of these very sizes gives.

    torch may take other ways to one result where a size is 1: it leaves out a transposition, or strips an axis.

    Args:
        examples: The example inputs; drawn are integers between those of the example, and floats at random.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    # Of both signs, to tell functions apart; and positive, for what isn't defined elsewhere.
    for draw in (torch.randn, torch.rand):
        inputs = [_drawn(example, fake, draw, generator) for example, fake in zip(examples, static.inputs, strict=True)]
        try:
            with torch.no_grad():
                expected, given = run(static, inputs, {}), run(symbolic, inputs, sizes)
        except (RuntimeError, ValueError, IndexError, TypeError):
            return False
        if not all(map(_is_close, given, expected)):
            return False
    return True


def run(trace: Trace, inputs: Sequence[torch.Tensor], sizes: Mapping[sympy.Symbol, int]) -> list[torch.Tensor]:
    """The outputs of a trace for real inputs, its symbols standing for these sizes.

    Raises:
        ValueError: a result doesn't have the size that the trace says.
    """
    values = {id(fake): value for fake, value in zip(trace.inputs, inputs, strict=True)}
    last_reader: dict[int, Any] = {id(tensor): call for call in trace.calls for tensor in call.input_tensors()}
    last_reader.update(dict.fromkeys(map(id, trace.outputs)))

    def real(tensor: torch.Tensor) -> torch.Tensor:
        return values.get(id(tensor), tensor)

    for call in trace.calls:
        args, kwargs = map_tensors(real, (call.args, call.kwargs))
        args, kwargs = pytree.tree_map_only(_SYMBOLIC, lambda size: _number(size, sizes), (args, kwargs))
        results = tensors_in(call.target(*args, **kwargs))
        for fake in call.input_tensors():
            if last_reader[id(fake)] is call:
                values.pop(id(fake), None)
        for fake, value in zip(call.output_tensors(), results, strict=True):
            if value.shape != tuple(_number(n, sizes) if isinstance(n, torch.SymInt) else n for n in fake.shape):
                raise ValueError(f"{call.origin}: {tuple(value.shape)} came, not {tuple(fake.shape)} at {sizes}")
            values[id(fake)] = value
    return [real(tensor) for tensor in trace.outputs]


def _number(size: Any, sizes: Mapping[sympy.Symbol, int]) -> Any:
    value = size.node.expr.subs(sizes)
    if isinstance(size, torch.SymBool):
        return bool(value)
    return int(value) if isinstance(size, torch.SymInt) else float(value)


def _drawn(
    example: torch.Tensor, fake: torch.Tensor, draw: Callable[..., torch.Tensor], generator: torch.Generator
) -> torch.Tensor:
    shape = tuple(map(int, fake.shape))
    if example.is_floating_point():
        return draw(shape, generator=generator, device="cpu").to(example.device, example.dtype)
    low, high = (int(example.min()), int(example.max())) if example.numel() else (0, 0)
    return torch.randint(low, high + 1, shape, generator=generator, device="cpu").to(example.device, example.dtype)


def _is_close(given: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether two results differ by no more than rounding."""
    if given.shape != expected.shape or given.dtype is not expected.dtype:
        return False
    if not expected.is_floating_point():
        return torch.equal(given, expected)
    finite = expected[expected.isfinite()]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    tolerance = math.sqrt(torch.finfo(expected.dtype).eps) * largest
    return torch.allclose(given, expected, rtol=0, atol=tolerance, equal_nan=True)
