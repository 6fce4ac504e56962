"""Comparing a converted module with the module it came from.

The measure is the float64 result of PyTorch. PyTorch in the module's own dtype differs from it by
rounding; a converted module is correct if it differs by at most twice as much, plus one unit in the
last place of the largest magnitude.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch

from trtconv.dtypes import name_of
from trtconv.structure import map_leaves, take_apart


@dataclasses.dataclass(frozen=True)
class OutputComparison:
    """One output tensor against float64.

    Attributes:
        dtype, shape: Of the converted module's output.
        error: Largest absolute difference of the converted module from float64.
        torch_error: Largest absolute difference of PyTorch in the module's dtype from float64.
        unit: One unit in the last place of the largest magnitude, in the output's dtype.
        problem: Why the output is wrong whatever the numbers say (another shape or dtype, NaN where
            PyTorch has none, another integer); "" if nothing.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    error: float
    torch_error: float
    unit: float
    problem: str = ""

    @property
    def allowed(self) -> float:
        """The largest error that counts as correct."""
        return 2 * self.torch_error + self.unit

    @property
    def correct(self) -> bool:
        """Whether the output is as right as PyTorch's own."""
        return not self.problem and self.error <= self.allowed

    def __str__(self) -> str:
        verdict = "correct" if self.correct else f"WRONG{self.problem and ': ' + self.problem}"
        return (
            f"{name_of(self.dtype)}{list(self.shape)}: error {self.error:.3g}, PyTorch's own {self.torch_error:.3g}, "
            f"allowed {self.allowed:.3g}: {verdict}"
        )


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All output tensors of one call."""

    outputs: tuple[OutputComparison, ...]

    @property
    def correct(self) -> bool:
        """Whether all outputs are."""
        return all(output.correct for output in self.outputs)

    def __str__(self) -> str:
        return "\n".join(f"output {index}: {output}" for index, output in enumerate(self.outputs))


def compare(
    module: torch.nn.Module,
    converted: Callable[..., Any],
    args: tuple[Any, ...] | list[Any] | torch.Tensor,
    kwargs: Mapping[str, Any] | None = None,
) -> Comparison:
    """Run a module in float64, as it is, and converted, on the same inputs, and compare.

    Args:
        module: The module that was converted, in eval mode. It is copied for float64.
        converted: What `trtconv.convert` returned for it.
        args, kwargs: The inputs; a single tensor may stand for a tuple of one. Use others than those of the
            conversion.

    Raises:
        ValueError: the results are nested differently.
    """
    args = (args,) if isinstance(args, torch.Tensor) else tuple(args)
    kwargs = dict(kwargs or {})
    reference = copy.deepcopy(module).double()
    with torch.no_grad():
        precise = reference(*_to_double(args), **_to_double(kwargs))
        own = module(*_copies(args), **_copies(kwargs))
        result = converted(*_copies(args), **_copies(kwargs))
    (precise_leaves, _), (own_leaves, expected), (leaves, nesting) = map(take_apart, (precise, own, result))
    if nesting != expected:
        raise ValueError(f"the converted module returns {nesting}, the module {expected}")
    triples = zip(precise_leaves, own_leaves, leaves, strict=True)
    return Comparison(tuple(compare_tensors(*triple) for triple in triples if isinstance(triple[1], torch.Tensor)))


def _to_double(structure: Any) -> Any:
    return _map_tensors(lambda t: t.double() if t.is_floating_point() else t.clone(), structure)


def _copies(structure: Any) -> Any:
    return _map_tensors(torch.clone, structure)


def _map_tensors(function: Callable[[torch.Tensor], torch.Tensor], structure: Any) -> Any:
    return map_leaves(lambda leaf: function(leaf) if isinstance(leaf, torch.Tensor) else leaf, structure)


def compare_tensors(precise: torch.Tensor, own: torch.Tensor, result: Any) -> OutputComparison:
    """Compare one output of a converted module with that of the module, both measured by the float64 one."""
    dtype, shape = getattr(result, "dtype", None), tuple(getattr(result, "shape", ()))
    if dtype is not own.dtype or shape != tuple(own.shape):
        expected = f"{name_of(own.dtype)}{list(own.shape)}"
        return OutputComparison(dtype or own.dtype, shape, float("inf"), 0.0, 0.0, f"PyTorch returns {expected}")
    if not own.is_floating_point():
        equal = torch.equal(own, result)
        problem = "" if equal else f"{int((own != result).sum())} of {own.numel()} values differ"
        return OutputComparison(dtype, shape, 0.0, 0.0, 0.0, problem)
    unusual = ~torch.isfinite(own)
    same = torch.equal(own.isnan(), result.isnan()) and torch.equal(
        own[unusual].nan_to_num(), result[unusual].nan_to_num()
    )
    usual = torch.isfinite(precise) & ~unusual & torch.isfinite(result)
    values = precise[usual]
    return OutputComparison(
        dtype,
        shape,
        error=_largest(result[usual].double() - values),
        torch_error=_largest(own[usual].double() - values),
        unit=_unit(_largest(values), dtype),
        problem="" if same else "infinities or NaNs are elsewhere",
    )


def _largest(values: torch.Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def _unit(value: float, dtype: torch.dtype) -> float:
    """One unit in the last place of a value."""
    limits = torch.finfo(dtype)
    exponent = torch.frexp(torch.tensor(max(value, limits.tiny), dtype=torch.float64)).exponent
    return float(torch.ldexp(torch.tensor(limits.eps, dtype=torch.float64), exponent - 1))
