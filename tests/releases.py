"""What a release of PyTorch lacks: it is asked itself, and the cases that need it are left out by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import sympy
import torch
from cases import Varying
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

_REFUSALS = (AttributeError, IndexError, NotImplementedError, RuntimeError)


def runs(function: Callable[[], Any]) -> bool:
    """Whether PyTorch itself does this."""
    try:
        function()
    except _REFUSALS:
        return False
    return True


def takes_symbols(function: Callable[..., Any], *shapes: tuple[int, ...]) -> bool:
    """Whether PyTorch itself runs a function of float tensors of these shapes whose varying sizes are a symbol.

    A release that settles the symbol on the way, or compares it with a number, doesn't.
    """
    env = ShapeEnv()
    mode = FakeTensorMode(shape_env=env)

    def fake(shape: tuple[int, ...]) -> torch.Tensor:
        kinds = [DimDynamic.DYNAMIC if isinstance(size, Varying) else DimDynamic.STATIC for size in shape]
        sizes = [97 if isinstance(size, Varying) else size for size in shape]
        return mode.from_tensor(torch.rand(sizes), symbolic_context=StatelessSymbolicContext(dynamic_sizes=kinds))

    tensors = list(map(fake, shapes))
    try:
        with mode, enable_python_dispatcher():
            function(*tensors)
    except (*_REFUSALS, RecursionError):
        return False
    # What is left are equal sizes: Eq(s0, s1).
    return not any(guard.expr.atoms(sympy.Integer) for guard in env.guards)


def skipped_without(answer: bool, rows: list[Any]) -> list[Any]:
    """Rows of `case`, skipped where the answer is no."""
    reason = f"PyTorch {torch.__version__} doesn't run it itself"
    marks = [] if answer else [pytest.mark.skip(reason=reason)]
    return [pytest.param(*row.values, id=row.id, marks=[*row.marks, *marks]) for row in rows]


def static_without(answer: bool, rows: list[Any]) -> list[Any]:
    """Rows of `case`, for fixed sizes only where the answer is no."""

    def fixed(spec: Any) -> Any:
        if isinstance(spec, tuple):
            return tuple(map(int, spec))
        return dataclasses.replace(spec, shape=fixed(spec.shape))

    if answer:
        return rows
    return [
        pytest.param(function, tuple(map(fixed, inputs)), dtype, id=f"{row.id}-static", marks=row.marks)
        for row in rows
        for function, inputs, dtype in [row.values]
    ]
