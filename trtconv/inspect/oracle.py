"""What is correct: the one definition, for tests, benchmarks and tools.

The measure is the float64 result of PyTorch. PyTorch in the module's own dtype differs from it by rounding; a converted
module is correct if

- infinities and NaNs stand exactly where PyTorch has them in that dtype, and integers and truth values are equal,
- it differs by at most twice as much as PyTorch, plus one unit in the last place of the largest magnitude,
- and so it does in each slice along an axis (each channel, each row), measured by the slice's own largest magnitude:
  small channels count as much as large ones. See `Slices` for what is PyTorch's error there.

Of a module that is converted to compute in a lower dtype than its own, PyTorch's error is that in the lower one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

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
    some slice of the tensor would be called wrong with the probability `CHANCE`. Zeros (what a relu leaves of negative
    numbers) have no error and aren't counted.

    Attributes:
        error, torch_error: Largest absolute difference in each slice, of the converted module and of PyTorch.
        magnitude: Largest magnitude in each slice.
        count: Numbers in each slice that aren't 0, in all calls together.
        dtype: The output's dtype.
    """

    error: torch.Tensor
    torch_error: torch.Tensor
    magnitude: torch.Tensor
    count: torch.Tensor
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
        error, own, count = self.error[normal] / magnitude, self.torch_error[normal] / magnitude, self.count[normal]
        unit = _units(magnitude, self.dtype) / magnitude
        usual = float(own[own > 0].median()) if own.any() else 0.0
        luck = (len(error) / CHANCE) ** (0.5 / count)
        limit = (luck.clamp(min=LUCK) * own.clamp(min=usual)).minimum(luck * own.max())
        place = (error / (2 * limit + unit)).argmax()
        return Measure(float(error[place]), float(limit[place]), float(unit[place]))


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far a result is from float64's, as numbers to look at; `Measure` and `Slices` decide.

    Attributes:
        largest, mean: The largest absolute difference, and their mean.
        relative: The Euclidean length of the difference, over that of float64's result.
        cosine: Of the angle between both as vectors: 1 for the same direction.
    """

    largest: float = 0.0
    mean: float = 0.0
    relative: float = 0.0
    cosine: float = 1.0

    @staticmethod
    def between(precise: torch.Tensor, result: torch.Tensor, errors: torch.Tensor) -> Distance:
        """The distance of two float64 tensors whose absolute difference is known."""
        if not errors.numel():
            return Distance()
        length, other = float(precise.norm()), float(result.norm())
        relative = float(errors.norm()) / length if length else (math.inf if other else 0.0)
        cosine = float((precise / length * (result / other)).sum()) if length and other else float(length == other)
        return Distance(float(errors.max()), float(errors.mean()), relative, cosine)

    @staticmethod
    def worst_of(several: Sequence[Distance]) -> Distance:
        """The largest of each number; the least cosine."""
        largest, mean, relative, cosine = zip(*map(dataclasses.astuple, several), strict=True)
        return Distance(max(largest), max(mean), max(relative), min(cosine))


@dataclasses.dataclass(frozen=True)
class OutputComparison:
    """One output tensor against float64.

    Attributes:
        dtype, shape: Of the converted module's output.
        whole: Of the numbers as they are.
        slices: Of the slices along each axis, by the axis and its size.
        problem: Why the output is wrong whatever the numbers say (another shape or dtype, NaN where
            PyTorch has none, another integer); "" if nothing.
        distance, torch_distance: How far the converted module and PyTorch are from float64.
        torch_dtype: The dtype that PyTorch's error is of, where that isn't the output's.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    whole: Measure = Measure()
    slices: Mapping[tuple[int, int], Slices] = dataclasses.field(default_factory=dict)
    problem: str = ""
    distance: Distance = Distance()
    torch_distance: Distance = Distance()
    torch_dtype: torch.dtype | None = None

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
    def share(self) -> float:
        """The error's share of what is allowed, infinite where there is a problem; above 1 the output is wrong."""
        return math.inf if self.problem else self.worst.share

    @property
    def worst_axis(self) -> int | None:
        """The axis whose slices the worst measure is of; None for that of the whole."""
        return max(self.measures, key=lambda axis: self.measures[axis].share)

    @property
    def correct(self) -> bool:
        """Whether the output is as right as PyTorch's own."""
        return self.share <= 1

    def __str__(self) -> str:
        axis = None if self.correct else self.worst_axis
        shown = self.measures[axis]
        where, most = ("", "") if axis is None else (f" of a slice's largest, along axis {axis}", "at most ")
        verdict = "correct" if self.correct else f"WRONG{self.problem and ': ' + self.problem}"
        return (
            f"{name_of(self.dtype)}{list(self.shape)}: error {shown.error:.3g}{where}, PyTorch's own "
            f"{most}{shown.torch_error:.3g}, allowed {shown.allowed:.3g}: {verdict}"
        )


def _share(measure: Measure) -> float:
    return measure.share


def join_outputs(outputs: Sequence[OutputComparison]) -> OutputComparison:
    """One output of several calls: the largest errors of each side, and the first problem."""
    axes = dict.fromkeys(axis for output in outputs for axis in output.slices)
    return dataclasses.replace(
        outputs[0],
        whole=Measure(
            *(max(getattr(output.whole, field.name) for output in outputs) for field in dataclasses.fields(Measure))
        ),
        slices={axis: _join_slices([o.slices[axis] for o in outputs if axis in o.slices]) for axis in axes},
        problem=next((output.problem for output in outputs if output.problem), ""),
        distance=Distance.worst_of([output.distance for output in outputs]),
        torch_distance=Distance.worst_of([output.torch_distance for output in outputs]),
    )


def _join_slices(several: Sequence[Slices]) -> Slices:
    def largest(name: str) -> torch.Tensor:
        return torch.stack([getattr(slices, name) for slices in several]).amax(0)

    count = torch.stack([slices.count for slices in several]).sum(0)
    return Slices(largest("error"), largest("torch_error"), largest("magnitude"), count, several[0].dtype)


def compare_tensors(
    precise: torch.Tensor, own: torch.Tensor, result: Any, lower: torch.Tensor | None = None
) -> OutputComparison:
    """Compare one output of a converted module with that of the module, both measured by the float64 one.

    Args:
        precise: PyTorch's result in float64; where there is no such thing (integers), that of `own`.
        own: PyTorch's result in the module's own dtype, which the converted module's has to have too.
        result: The converted module's.
        lower: PyTorch's result in the dtype that the converted module computes in, where that is lower than its
            results': its error is what the converted module's is measured by.
    """
    dtype, shape = getattr(result, "dtype", None), tuple(getattr(result, "shape", ()))
    if dtype is not own.dtype or shape != tuple(own.shape):
        expected = f"{name_of(own.dtype)}{list(own.shape)}"
        return OutputComparison(dtype or own.dtype, shape, problem=f"PyTorch returns {expected}")
    if own.is_complex():
        parts = [None if each is None else torch.view_as_real(each.resolve_conj()) for each in (precise, own, lower)]
        return compare_tensors(parts[0], parts[1], torch.view_as_real(result.resolve_conj()), parts[2])  # type: ignore[arg-type]  # given
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
    # What leaves the lower dtype's range has no error there to be measured by.
    rounded = own if lower is None else torch.where(lower.isfinite(), lower.double(), wide)
    wide, ours, torchs = (torch.where(finite, values.double(), 0.0) for values in (wide, result, rounded))
    magnitudes, errors, own_errors = wide.abs(), (ours - wide).abs(), (torchs - wide).abs()
    measured_in = own.dtype if lower is None else lower.dtype
    whole = Measure(_largest(errors), _largest(own_errors), _unit(_largest(magnitudes), measured_in))
    slices = {}
    for axis, size in enumerate(shape):
        if size > 1 and own.numel():
            rows = [values.movedim(axis, 0).reshape(size, -1) for values in (errors, own_errors, magnitudes)]
            error, own_error, magnitude = (row.amax(1) for row in rows)
            slices[axis, size] = Slices(error, own_error, magnitude, (rows[2] > 0).sum(1), measured_in)
    distances = Distance.between(wide, ours, errors), Distance.between(wide, torchs, own_errors)
    return OutputComparison(own.dtype, shape, whole, slices, "", *distances, None if lower is None else lower.dtype)


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
