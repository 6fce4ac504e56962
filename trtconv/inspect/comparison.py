"""Comparing a converted module with the module it came from.

The measure is the float64 result of PyTorch. PyTorch in the module's own dtype differs from it by rounding; a converted
module is correct if

- infinities and NaNs stand exactly where PyTorch has them in that dtype, and integers and truth values are equal,
- it differs by at most twice as much as PyTorch, plus one unit in the last place of the largest magnitude,
- and so it does where each slice along an axis (each channel, each row) is divided by its own largest magnitude:
  small channels count as much as large ones.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from trtconv.dtypes import name_of
from trtconv.structure import map_leaves, take_apart

LEAST_SLICE = 8
"""Slices of fewer elements aren't measured by themselves: their largest magnitude may be near 0 by chance."""


@dataclasses.dataclass(frozen=True)
class Measure:
    """Errors against float64, all in one unit of measure.

    Attributes:
        error: Largest absolute difference of the converted module.
        torch_error: Largest absolute difference of PyTorch in the module's dtype.
        unit: One unit in the last place of the largest magnitude, in the output's dtype.
    """

    error: float = 0.0
    torch_error: float = 0.0
    unit: float = 0.0

    @property
    def allowed(self) -> float:
        """The largest error that counts as correct."""
        return 2 * self.torch_error + self.unit

    @property
    def share(self) -> float:
        """The error's share of what is allowed; above 1 it is wrong."""
        if self.error == 0.0:
            return 0.0
        return self.error / self.allowed if self.allowed else math.inf


@dataclasses.dataclass(frozen=True)
class OutputComparison:
    """One output tensor against float64.

    Attributes:
        dtype, shape: Of the converted module's output.
        whole: Of the numbers as they are.
        slices: By axis, of the slices along it, each divided by its own largest magnitude.
        problem: Why the output is wrong whatever the numbers say (another shape or dtype, NaN where
            PyTorch has none, another integer); "" if nothing.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    whole: Measure = Measure()
    slices: Mapping[int, Measure] = dataclasses.field(default_factory=dict)
    problem: str = ""

    @property
    def error(self) -> float:
        """Largest absolute difference of the converted module from float64."""
        return self.whole.error

    @property
    def torch_error(self) -> float:
        """Largest absolute difference of PyTorch in the module's dtype from float64."""
        return self.whole.torch_error

    @property
    def worst(self) -> Measure:
        """The measure that is nearest to what is allowed, or farthest beyond."""
        return max((self.whole, *self.slices.values()), key=lambda measure: measure.share)

    @property
    def correct(self) -> bool:
        """Whether the output is as right as PyTorch's own."""
        return not self.problem and self.worst.share <= 1

    def __str__(self) -> str:
        shown = self.worst if not self.correct else self.whole
        axis = next((axis for axis, measure in self.slices.items() if measure is shown), None)
        where = "" if axis is None or shown is self.whole else f" of a slice's largest, along axis {axis}"
        verdict = "correct" if self.correct else f"WRONG{self.problem and ': ' + self.problem}"
        return (
            f"{name_of(self.dtype)}{list(self.shape)}: error {shown.error:.3g}{where}, PyTorch's own "
            f"{shown.torch_error:.3g}, allowed {shown.allowed:.3g}: {verdict}"
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


def join(comparisons: Sequence[Comparison]) -> Comparison:
    """Several calls of one module as one: of each output the largest errors of each side, and the first problem.

    On few numbers PyTorch's own error may be small by chance; on the largest of several calls it is a fair measure.

    Raises:
        ValueError: there are none, or they have different numbers of outputs.
    """
    if not comparisons:
        raise ValueError("there are no comparisons to join")
    return Comparison(tuple(map(_join_outputs, zip(*(each.outputs for each in comparisons), strict=True))))


def _join_outputs(outputs: Sequence[OutputComparison]) -> OutputComparison:
    axes = dict.fromkeys(axis for output in outputs for axis in output.slices)
    return dataclasses.replace(
        outputs[0],
        whole=_largest_of([output.whole for output in outputs]),
        slices={axis: _largest_of([o.slices[axis] for o in outputs if axis in o.slices]) for axis in axes},
        problem=next((output.problem for output in outputs if output.problem), ""),
    )


def _largest_of(measures: Sequence[Measure]) -> Measure:
    return Measure(*(max(getattr(each, field.name) for each in measures) for field in dataclasses.fields(Measure)))


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
    def precise(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_complex():
            return tensor.to(torch.complex128)
        return tensor.double() if tensor.is_floating_point() else tensor.clone()

    return _map_tensors(precise, structure)


def _copies(structure: Any) -> Any:
    return _map_tensors(torch.clone, structure)


def _map_tensors(function: Callable[[torch.Tensor], torch.Tensor], structure: Any) -> Any:
    return map_leaves(lambda leaf: function(leaf) if isinstance(leaf, torch.Tensor) else leaf, structure)


def compare_tensors(precise: torch.Tensor, own: torch.Tensor, result: Any) -> OutputComparison:
    """Compare one output of a converted module with that of the module, both measured by the float64 one."""
    dtype, shape = getattr(result, "dtype", None), tuple(getattr(result, "shape", ()))
    if dtype is not own.dtype or shape != tuple(own.shape):
        expected = f"{name_of(own.dtype)}{list(own.shape)}"
        return OutputComparison(dtype or own.dtype, shape, problem=f"PyTorch returns {expected}")
    if own.is_complex():
        return compare_tensors(*(torch.view_as_real(each.resolve_conj()) for each in (precise, own, result)))
    if not own.is_floating_point():
        differing = int((own != result).sum())
        problem = f"{differing} of {own.numel()} values differ" if differing else ""
        return OutputComparison(own.dtype, shape, problem=problem)
    finite = own.isfinite()
    # Compared among themselves: an infinity equals only that of its sign, and NaN isn't equal to anything.
    unlike = (own.isnan() != result.isnan()) | (finite != result.isfinite()) | (own.isinf() & (own != result))
    if unlike.any():
        problem = f"{int(unlike.sum())} of {own.numel()} values are infinite or NaN otherwise than PyTorch's"
        return OutputComparison(own.dtype, shape, problem=problem)
    usual = finite & precise.isfinite()
    wide, errors, own_errors = (
        torch.where(usual, values, 0.0).abs() for values in (precise, result.double() - precise, own.double() - precise)
    )
    whole = Measure(_largest(errors), _largest(own_errors), _unit(_largest(wide), own.dtype))
    slices = {}
    for axis, size in enumerate(shape):
        if size > 1 and own.numel() // size >= LEAST_SLICE:
            slices[axis] = _measure_slices(errors, own_errors, wide, axis, own.dtype)
    return OutputComparison(own.dtype, shape, whole, slices)


def _measure_slices(
    errors: torch.Tensor, own_errors: torch.Tensor, magnitudes: torch.Tensor, axis: int, dtype: torch.dtype
) -> Measure:
    others = [other for other in range(errors.dim()) if other != axis]
    error, own, largest = (values.amax(others) for values in (errors, own_errors, magnitudes))
    # Below the normal numbers there are fewer digits.
    normal = largest >= torch.finfo(dtype).tiny
    scale = torch.where(normal, largest, 1.0)
    return Measure(
        _largest(torch.where(normal, error, 0.0) / scale),
        _largest(torch.where(normal, own, 0.0) / scale),
        torch.finfo(dtype).eps,
    )


def _largest(values: torch.Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


def _unit(value: float, dtype: torch.dtype) -> float:
    """One unit in the last place of a value."""
    limits = torch.finfo(dtype)
    exponent = torch.frexp(torch.tensor(max(value, limits.tiny), dtype=torch.float64)).exponent
    return float(torch.ldexp(torch.tensor(limits.eps, dtype=torch.float64), exponent - 1))
