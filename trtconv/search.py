"""The fastest assignment of types to a module's parts within an error budget."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from trtconv.calibration.evaluations import Evaluations, digest_of
from trtconv.calibration.observing import State
from trtconv.calibration.progress import progress
from trtconv.calibration.samples import check_data, samples
from trtconv.calibration.work import work
from trtconv.calling.arguments import Parameters
from trtconv.calling.structure import map_leaves, take_apart
from trtconv.conversion import convert
from trtconv.default_device import default_device
from trtconv.graph.data import Graph, Layer
from trtconv.module import TRTModule
from trtconv.passes.precision import use_precision
from trtconv.passes.precision_choice import TYPES, Choice, names_of
from trtconv.reference.interpreter import Interpreter
from trtconv.tensorrt.exclusion import alone

Metric = Callable[[Any, Any], float]
Option = dict[str, str]

_RUNS = 30
"""Calls that a time on the GPU is the median of."""


def relative_error(result: Any, expected: Any) -> float:
    """The largest of all outputs' relative errors, |result - expected| / |expected| over all numbers of each."""
    errors = [0.0]
    for y, known in zip(take_apart(result)[0], take_apart(expected)[0], strict=True):
        if isinstance(known, Tensor) and known.numel():
            wide, exact = (x.to(torch.complex128 if x.is_complex() else torch.float64) for x in (y, known))
            same = (wide == exact) | (wide.isnan() & exact.isnan())  # infinities too
            error, size = float(torch.where(same, 0, wide - exact).norm()), float(exact[exact.isfinite()].norm())
            errors.append(error / size if size else math.inf if error else 0.0)
    return math.inf if any(map(math.isnan, errors)) else max(errors)


def search_precision(
    module: torch.nn.Module | TRTModule,
    data: Any,
    metric: Metric | None = None,
    budget: float = 1e-2,
    *,
    precision: str = "fp16",
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    state: str | PathLike[str] | None = None,
    **options: Any,
) -> Option:
    """Find which parts of a module have to stay in fp32 so that its error is within a budget, and no more than needed.

    The parts are the modules that make calls, and the torch functions that the module itself calls. Each alone is put
    into half precision, the rest in fp32; they are ranked by the error that this brings, and of the ranking the longest
    part that together is within the budget is found by bisection. Those behind it are tried once more, the costliest
    first. What is found counts if it is faster than fp32: on a GPU by its clock, elsewhere by counted work
    (`trtconv.calibration.work`). Errors are those of the reference interpreter, on a GPU where there is one.

    Args:
        module: What is to be converted, or a module that was converted without `precision`, of an ONNX file for one.
        data: As `calibration` of `trtconv.convert`; all samples are kept in memory, so a few dozens are right.
        metric: From the results of a call, as the module returns them, and those in fp32 to an error; the mean over the
            samples counts. By default `relative_error`.
        budget: The largest error that is accepted.
        precision: The type to use as far as possible: "fp16" or "bf16".
        args, kwargs: Example inputs for the conversion; by default the first sample as it is.
        state: A file that keeps what was evaluated, so that a search that was broken off goes on there. With another
            budget it starts from what is known.
        options: Further options of `trtconv.convert`.

    Returns: a dict for the option `precision` of `trtconv.convert`.

    Raises:
        ValueError: an option has a value that isn't allowed, or `state` is of another search.
        As `trtconv.convert` and, for the data, `trtconv.calibration.samples`.
    """
    if precision not in ("fp16", "bf16"):
        raise ValueError(f'precision={precision!r}: a search puts parts into "fp16" or "bf16"')
    if not budget >= 0:
        raise ValueError(f"budget={budget!r}: it is the largest error that is accepted, 0 or more")
    check_data(data)
    if hasattr(data, "__iter__") and iter(data) is data:  # it can be gone through once
        data = list(data)
    converted = module if isinstance(module, TRTModule) else _converted(module, data, args, kwargs, options)
    if isinstance(module, TRTModule) and (args is not None or kwargs or options):
        raise ValueError("args, kwargs and options are for a conversion; the module is converted already")
    search = _Search(converted, data, metric or relative_error, precision, state)
    return search.best(budget)


def _converted(
    module: torch.nn.Module, data: Any, args: Any, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
) -> TRTModule:
    if "precision" in options or "calibration" in options:
        raise ValueError("a search takes no calibration")
    if args is None and not kwargs:
        first = next(iter(data if hasattr(data, "__iter__") else [data[0]]), None)
        device = next((weights.device for weights in module.parameters()), None)
        first = map_leaves(lambda x: x.to(device) if isinstance(x, Tensor) else x, first)
        args, kwargs = _example(first, Parameters.of(module))
    return convert(module, () if args is None else args, kwargs, **options)


def _example(sample: Any, parameters: Parameters) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments in a sample, without what the module doesn't take."""
    if isinstance(sample, Mapping):
        names = {each.name for each in parameters.all}
        return (), {name: value for name, value in sample.items() if name in names}
    given = tuple(sample) if isinstance(sample, (tuple, list)) else (sample,)
    return given[: len(given) if parameters.takes_any_number else parameters.positional], {}


@dataclasses.dataclass(frozen=True)
class _Part:
    """Layers that get one type.

    Attributes:
        key: What patterns call them: a module's path, or a torch function.
        layers: One of them for each way in which patterns may name it.
    """

    key: str
    layers: tuple[Layer, ...]


def _parts(graph: Graph) -> list[_Part]:
    """The parts of a network: torch functions called outside of submodules first, then modules from the top."""
    found: dict[str, dict[tuple[str, ...], Layer]] = {}
    for layer in graph.layers:
        names = tuple(names_of(layer))
        found.setdefault(names[0], {})[names] = layer
    functions = {key: layers for key, layers in found.items() if len(next(iter(layers))) == 1}
    modules = sorted((key for key in found if key not in functions), key=lambda key: key.count("."))
    return [_Part(key, tuple(found[key].values())) for key in (*functions, *modules)]


class _Search:
    """Evaluates assignments of types, each once."""

    def __init__(
        self, converted: TRTModule, data: Any, metric: Metric, precision: str, state: str | PathLike[str] | None
    ) -> None:
        plan = converted.plan
        graph = None if plan is None else plan.segments[0].graph
        if plan is None or graph is None:
            raise ValueError("the module is empty, or its network wasn't kept: convert with keep_network=True")
        self._converted, self._graph, self._metric, self._low = converted, graph, metric, precision
        self._signature = plan.signature
        self._state = State.of(plan.signature, plan.state)
        self._calls = list(samples(data, plan.signature, "Reading"))
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._expected = self._results(self._graph)
        self._parts = _parts(self._graph)
        named = metric if hasattr(metric, "__qualname__") else type(metric)
        name = f"{named.__module__}.{named.__qualname__}"
        fits = "" if state is None else digest_of(self._graph, self._calls, name, precision)
        self._evaluations = Evaluations(state, fits)

    def best(self, budget: float) -> Option:
        """The fastest assignment found with an error of at most `budget`."""
        everything = {part.key for part in self._parts}
        if self.error(everything) <= budget:
            return self._faster(everything)
        alone = {part.key: self.error({part.key}) for part in progress(self._parts, len(self._parts), "Ranking parts")}
        ranked = sorted(alone, key=alone.__getitem__)
        low = set(ranked[: self._bisect(ranked, budget)])
        seconds = self._work({}) if len(low) < len(ranked) else {}
        rest = sorted((key for key in ranked if key not in low), key=lambda key: -seconds.get(key, 0.0))
        for key in progress(rest, len(rest), "Trying again"):
            if alone[key] <= budget and self.error({*low, key}) <= budget:
                low.add(key)
        return self._faster(low)

    def _bisect(self, ranked: Sequence[str], budget: float) -> int:
        """How many parts, from the first, are within the budget together."""
        good, bad = 0, len(ranked)
        while bad - good > 1:
            middle = (good + bad) // 2
            if self.error(set(ranked[:middle])) <= budget:
                good = middle
            else:
                bad = middle
        return good

    def error(self, low: set[str]) -> float:
        """The error with these parts in half precision."""
        option = self._option(low)

        def measure() -> float:
            graph = self._with(option)
            if all(kind.dtype is not TYPES[self._low] for kind in graph.tensors.values()):
                return 0.0
            errors = [
                float(self._metric(result, known))
                for result, known in zip(self._results(graph), self._expected, strict=True)
            ]
            mean = sum(errors) / len(errors)
            return math.inf if math.isnan(mean) else mean

        return self._evaluations.of(option, "error", measure)

    def _option(self, low: set[str]) -> Option:
        """The value of `precision` that gives these parts half precision and the others fp32: as few patterns as do.

        The last pattern that matches counts: parts come after those that they are in.
        """
        wanted = {part.key: self._low if part.key in low else "fp32" for part in self._parts}
        default = self._low if 2 * len(low) > len(wanted) else "fp32"
        option = {"default": default}
        for part in self._parts:
            names = set().union(*(names_of(layer) for layer in part.layers))
            given = next((option[key] for key in reversed(option) if key in names), default)
            if given != wanted[part.key]:
                option[part.key] = wanted[part.key]
        return option

    def _with(self, option: Option) -> Graph:
        choice = Choice.of(option)
        assert choice is not None
        with alone(), default_device("cpu"):
            return use_precision(self._graph, choice)

    def _results(self, graph: Graph) -> list[Any]:
        interpreter, results = Interpreter(graph), []
        names = [spec.name for spec in self._signature.inputs]
        for call in self._calls:  # each begins with the module's own state
            tensors = {**dict(zip(names, call, strict=True)), **self._state.contents}
            feeds = {name: x.to(self._device) for name, x in tensors.items()}
            outputs = [x.cpu() for x in interpreter.run(feeds).values()]
            results.append(self._signature.result.fill(outputs))
        return results

    def _work(self, option: Option) -> dict[str, float]:
        """Counted seconds of each part."""
        layers = work(self._with(option) if option else self._graph, self._calls[0], self._state)
        found: dict[str, float] = {}
        for layer in self._graph.layers:
            key = next(iter(names_of(layer)))
            found[key] = found.get(key, 0.0) + layers.get(layer.name, 0.0)
        return found

    def _faster(self, low: set[str]) -> Option:
        option, whole = self._option(low), {"default": "fp32"}
        if not low or self._seconds(option) >= self._seconds(whole):
            return whole
        return option

    def _seconds(self, option: Option) -> float:
        """The time of a call: by the GPU's clock, or by counted work where there is no engine to run."""
        if self._converted.backend(self._device) != "tensorrt":
            return sum(work(self._with(option), self._calls[0], self._state).values())
        return self._evaluations.of(option, "seconds", lambda: self._time(option))

    def _time(self, option: Option) -> float:
        engine = self._converted.rebuild(precision=option)
        state = (self._state.contents[spec.name] for spec in self._signature.state)
        call = [x.to(self._device) for x in (*self._calls[0], *state)]
        for _ in range(3):
            engine.run_flat(call)
        times: list[float] = []
        event: Any = torch.cuda.Event
        for _ in range(_RUNS):
            begin, end = (event(enable_timing=True) for _ in range(2))
            begin.record()
            engine.run_flat(call)
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        return sorted(times)[_RUNS // 2]
