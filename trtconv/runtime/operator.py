"""A converted module as one operator of torch's, for torch.compile: it is called there and not looked into."""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch

from trtconv.calling.signature import Signature
from trtconv.sizes.ranges import Range, Relation

Runs = Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]
"""Runs a module on its input tensors and returns its output tensors."""

_numbers = itertools.count()
_modules: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def register(module: Any) -> int:
    """A number for a module, to call it by in a graph; it has `run_flat` and a `plan`. The module isn't kept alive."""
    _define()
    number = next(_numbers)
    _modules[number] = module
    return number


def call(tensors: list[torch.Tensor], number: int) -> list[torch.Tensor]:
    """Call a module by its number, as an operator that torch.compile keeps as it is."""
    results: list[torch.Tensor] = torch.ops.trtconv.call(tensors, number)
    return results


@functools.cache
def _define() -> None:
    """Define the operator: not at import, which it would make slower, but before anything traces a call."""

    def run(tensors: Sequence[torch.Tensor], module: int) -> list[torch.Tensor]:
        results: list[torch.Tensor] = _modules[module].run_flat(list(tensors))
        return results

    def describe(tensors: Sequence[torch.Tensor], module: int) -> list[torch.Tensor]:
        return _empty_results(_modules[module].plan.signature, tensors)

    schema = "(Tensor[] tensors, int module) -> Tensor[]"
    operator = torch.library.custom_op("trtconv::call", run, mutates_args=(), schema=schema)
    operator.register_fake(describe)


def _empty_results(signature: Signature, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Tensors like a call's results. A size that isn't one of the inputs' sizes is left open."""
    sizes = {
        str(allowed) if isinstance(allowed, Relation) else allowed.name: size
        for spec, tensor in zip(signature.taken, tensors, strict=True)
        for allowed, size in zip(spec.shape, tensor.shape, strict=True)
        if isinstance(allowed, (Range, Relation))
    }

    def size_of(size: int | Range | Relation | str) -> Any:
        if isinstance(size, int):
            return size
        known = sizes.get(size.name if isinstance(size, Range) else str(size))
        return torch.library.get_ctx().new_dynamic_size() if known is None else known

    device = tensors[0].device if tensors else torch.device("cpu")
    return [
        torch.empty([size_of(size) for size in spec.shape], dtype=spec.dtype, device=device)
        for spec in signature.outputs
    ]
