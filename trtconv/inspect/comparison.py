"""Comparing a converted module with the module it came from.

The measure is the float64 result of PyTorch. PyTorch in the module's own dtype differs from it by rounding; a converted
module is correct if

- infinities and NaNs stand exactly where PyTorch has them in that dtype, and integers and truth values are equal,
- it differs by at most twice as much as PyTorch, plus one unit in the last place of the largest magnitude,
- and so it does in each slice along an axis (each channel, each row), measured by the slice's own largest magnitude:
  small channels count as much as large ones. See `Slices` for what is PyTorch's error there.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from trtconv.calling.structure import map_leaves, take_apart
from trtconv.dtypes import name_of

LUCK = 4.0
"""By so much PyTorch's error in one slice may be small by chance, however large the slice: one number may decide it."""
CHANCE = 1e-6
"""The probability that some slice of a tensor is called wrong by chance alone."""


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


@dataclasses.dataclass(frozen=True, eq=False)
class Slices:
    """Errors in each slice along an axis, against float64.

    A slice may be badly conditioned, so PyTorch's error in that slice counts. PyTorch may have been lucky there, so its
    usual error counts too, relative to a slice's largest magnitude, and either counts `LUCK`-fold. Its worst slice is
    the limit of all.

    Of n numbers spread evenly all are below 1/k of the largest possible with the probability k^-n. So in slices of few
    numbers PyTorch's error may be small by chance, and so may the largest magnitude, to which the converted module's
    error is relative; both are smaller by k with the probability k^-2n. PyTorch's error is raised by the k at which
    some slice of the tensor would be called wrong with the probability `CHANCE`.

    Attributes:
        error, torch_error: Largest absolute difference in each slice, of the converted module and of PyTorch.
        magnitude: Largest magnitude in each slice.
        count: Numbers in a slice, in all calls together.
        dtype: The output's dtype.
    """

    error: torch.Tensor
    torch_error: torch.Tensor
    magnitude: torch.Tensor
    count: int
    dtype: torch.dtype

    @property
    def worst(self) -> Measure:
        """The slice nearest to what is allowed, or farthest beyond, its largest magnitude as the unit of measure.

        Slices without any number in the dtype's normal range have too few digits to be measured by themselves.
        """
        normal = self.magnitude >= torch.finfo(self.dtype).tiny
        if not normal.any():
            return Measure()
        magnitude = self.magnitude[normal]
        error, own = self.error[normal] / magnitude, self.torch_error[normal] / magnitude
        unit = _units(magnitude, self.dtype) / magnitude
        usual = float(own[own > 0].median()) if own.any() else 0.0
        luck = (len(error) / CHANCE) ** (0.5 / self.count)
        limit = (max(LUCK, luck) * own.clamp(min=usual)).clamp(max=luck * float(own.max()))
        place = (error / (2 * limit + unit)).argmax()
        return Measure(float(error[place]), float(limit[place]), float(unit[place]))


@dataclasses.dataclass(frozen=True)
class OutputComparison:
    """One output tensor against float64.

    Attributes:
        dtype, shape: Of the converted module's output.
        whole: Of the numbers as they are.
        slices: Of the slices along each axis, by the axis and its size.
        problem: Why the output is wrong whatever the numbers say (another shape or dtype, NaN where
            PyTorch has none, another integer); "" if nothing.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    whole: Measure = Measure()
    slices: Mapping[tuple[int, int], Slices] = dataclasses.field(default_factory=dict)
    problem: str = ""

    @property
    def error(self) -> float:
        """Largest absolute difference of the converted module from float64."""
        return self.whole.error

    @property
    def torch_error(self) -> float:
        """Largest absolute difference of PyTorch in the module's dtype from float64."""
        return self.whole.torch_error

    @functools.cached_property
    def measures(self) -> Mapping[int | None, Measure]:
        """The measure of the whole, at None, and that of the worst slice along each axis."""
        measures: dict[int | None, Measure] = {None: self.whole}
        for (axis, _), slices in self.slices.items():
            measures[axis] = max(measures.get(axis, Measure()), slices.worst, key=_share)
        return measures

    @property
    def worst(self) -> Measure:
        """The measure that is nearest to what is allowed, or farthest beyond."""
        return max(self.measures.values(), key=_share)

    @property
    def correct(self) -> bool:
        """Whether the output is as right as PyTorch's own."""
        return not self.problem and self.worst.share <= 1

    def __str__(self) -> str:
        axis = None if self.correct else max(self.measures, key=lambda axis: self.measures[axis].share)
        shown = self.measures[axis]
        where, most = ("", "") if axis is None else (f" of a slice's largest, along axis {axis}", "at most ")
        verdict = "correct" if self.correct else f"WRONG{self.problem and ': ' + self.problem}"
        return (
            f"{name_of(self.dtype)}{list(self.shape)}: error {shown.error:.3g}{where}, PyTorch's own "
            f"{most}{shown.torch_error:.3g}, allowed {shown.allowed:.3g}: {verdict}"
        )


def _share(measure: Measure) -> float:
    return measure.share


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
        whole=Measure(
            *(max(getattr(output.whole, field.name) for output in outputs) for field in dataclasses.fields(Measure))
        ),
        slices={axis: _join_slices([o.slices[axis] for o in outputs if axis in o.slices]) for axis in axes},
        problem=next((output.problem for output in outputs if output.problem), ""),
    )


def _join_slices(several: Sequence[Slices]) -> Slices:
    def largest(name: str) -> torch.Tensor:
        return torch.stack([getattr(slices, name) for slices in several]).amax(0)

    count = sum(slices.count for slices in several)
    return Slices(largest("error"), largest("torch_error"), largest("magnitude"), count, several[0].dtype)


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
    # Where only float64 has no number (the root of a difference that is 0 in fewer digits), PyTorch's is the measure.
    wide = torch.where(finite & ~precise.isfinite(), own.double(), precise)
    if finite.any() and not (finite & precise.isfinite()).any():
        return OutputComparison(own.dtype, shape, problem="float64 has no finite number where PyTorch's dtype has some")
    magnitudes, errors, own_errors = (
        torch.where(finite, values, 0.0).abs() for values in (wide, result.double() - wide, own.double() - wide)
    )
    whole = Measure(_largest(errors), _largest(own_errors), _unit(_largest(magnitudes), own.dtype))
    slices = {}
    for axis, size in enumerate(shape):
        if size > 1 and own.numel():
            error, own_error, magnitude = (
                values.movedim(axis, 0).reshape(size, -1).amax(1) for values in (errors, own_errors, magnitudes)
            )
            slices[axis, size] = Slices(error, own_error, magnitude, own.numel() // size, own.dtype)
    return OutputComparison(own.dtype, shape, whole, slices)


def _largest(values: torch.Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


def _unit(value: float, dtype: torch.dtype) -> float:
    """One unit in the last place of a value."""
    return float(_units(torch.tensor(value, dtype=torch.float64), dtype))


def _units(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """One unit in the last place of each value, which is float64."""
    limits = torch.finfo(dtype)
    exponents = torch.frexp(values.clamp(min=limits.tiny)).exponent
    return torch.ldexp(torch.full_like(values, limits.eps), exponents - 1)
