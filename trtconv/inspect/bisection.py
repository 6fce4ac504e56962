"""Finding the smallest part of a network for which an engine goes wrong, by building parts."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import torch

from trtconv.conversion import convert
from trtconv.errors import BuildError
from trtconv.graph.data import Graph
from trtconv.inspect.comparison import Comparison
from trtconv.inspect.part import Part
from trtconv.inspect.partition import Partition
from trtconv.inspect.running import EngineRunner, Runner, Values, feeds_of, interpreted, runner_of, with_outputs
from trtconv.module import TRTModule

Check = Callable[[Values, Values], bool]
"""Tells of what is expected and what an engine gives, by the names of the tensors, whether that is right."""


@dataclasses.dataclass(frozen=True, eq=False)
class Bisection:
    """What `bisect` found; false where nothing goes wrong.

    Attributes:
        part: The smallest part that goes wrong: without any one of its layers it is right, or isn't wrong by itself.
        comparison: Its outputs against the interpreter's.
        units: The number of layers of the network, loops and attentions counted as one.
        runs: How many parts were run.
        refused: The parts that TensorRT doesn't build by themselves, which are taken for right: the first lines of the
            reasons.
    """

    part: Part | None
    comparison: Comparison | None
    units: int
    runs: int
    refused: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.part is not None

    def save(self, path: str | PathLike[str]) -> None:
        """Write a script that runs the part alone: `Part.save`.

        Raises:
            ValueError: nothing went wrong.
        """
        if self.part is None:
            raise ValueError("nothing went wrong, so that there is no part to save")
        self.part.save(path)

    def _words(self) -> tuple[str, ...]:
        more = (f"{len(self.refused)} parts couldn't be built: {self.refused[0]}",) if self.refused else ()
        if self.part is None:
            return (f"Nothing goes wrong: all {self.units} layers together give what they should.", *more)
        count = len(self.part.layers)
        found = f"The smallest part that goes wrong has {count} of {self.units} layers ({self.runs} parts were run):"
        return found, *more

    def __str__(self) -> str:
        first, *rest = self._words()
        shown = (
            [] if self.part is None else [self.part, self.comparison, "save(path) writes a script that runs it alone."]
        )
        return "\n\n".join(map(str, (first, *shown, *rest)))

    def _repr_html_(self) -> str:
        tables = [each._repr_html_() for each in (self.part, self.comparison) if each is not None]
        first, *rest = (f"<p>{html.escape(each)}</p>" for each in self._words())
        return "".join([first, *tables, *rest])


def bisect(
    module: torch.nn.Module,
    args: tuple[Any, ...] | list[Any] | torch.Tensor,
    check: Check | None = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    run: Runner | None = None,
    save: str | PathLike[str] | None = None,
) -> Bisection:
    """Find the smallest part of a network for which an engine goes wrong.

    Parts of the network are built and run on the values that the reference interpreter has at their edges: the shortest
    beginning that goes wrong, of that the shortest end, and then as few of its layers as still go wrong together. Ten
    to a hundred engines are built, most of them small.

    Args:
        module: A converted module, or one to be converted with `trtconv.convert` as it is.
        args, kwargs: The inputs of a call that goes wrong, on the GPU; a single tensor may stand for a tuple of one.
        check: Called with what is expected of a part (the interpreter's outputs) and what came, both by the names of
            tensors; true if that is right. By default `Part.compare`, which allows what rounding explains. Where there
            is no GPU, the interpreter's own results are checked: ``lambda _, got: all(x.isfinite().all() for x in
            got.values())`` finds where infinities begin.
        run: What runs a part in the place of an engine: called with a graph (`trtconv.reference.Graph`) and its inputs
            by name, it returns the outputs by name.
        save: Where to write a script that runs the found part alone, "wrong.py", with its data beside it.

    Returns: What was found, which prints the layers with module path, file and line, and the errors.

    Raises:
        ValueError: there is no engine that could go wrong: the inputs aren't on a GPU that TensorRT runs on, and
            neither `check` nor `run` is given; or the module's network wasn't kept.
        ConversionError: the module can't be converted, or its network not built at all.
    """
    args = (args,) if isinstance(args, torch.Tensor) else tuple(args)
    kwargs = dict(kwargs or {})
    converted = module if isinstance(module, TRTModule) else convert(module, args, kwargs)
    graph = converted.network
    if graph is None:
        raise ValueError("the module's network wasn't kept, so that there is nothing to take apart: convert it again")
    feeds = feeds_of(converted, args, kwargs)
    if run is None:
        run = runner_of(converted, feeds)
        if run is interpreted and check is None:
            raise ValueError(
                "there is no engine here that could go wrong: the interpreter runs this module where the inputs are. "
                "Pass inputs on a GPU that TensorRT runs on, or check= or run= (see help(trtconv.inspect.bisect))"
            )
    runner = run if isinstance(run, EngineRunner) else EngineRunner.of(converted)
    search = _Search(graph, feeds, run, check, runner)
    found = search.smallest()
    if found is None:
        return Bisection(None, None, len(search.units), len(search.seen), tuple(search.refused))
    part = search.part(found)
    if save is not None:
        part.save(save)
    comparison = part.compare(part.run(run))
    return Bisection(part, comparison, len(search.units), len(search.seen), tuple(search.refused))


class _Search:
    """Which units of a network are wrong together."""

    def __init__(self, graph: Graph, feeds: Values, run: Runner, check: Check | None, runner: EngineRunner) -> None:
        self._partition = Partition(graph)
        self.units = self._partition.units
        self.seen: dict[frozenset[int], bool] = {}
        self.refused: list[str] = []
        self._run, self._check, self._runner = run, check, runner
        self._values = dict(feeds) | dict(interpreted(with_outputs(graph, self._partition.edges), feeds))

    def part(self, units: Sequence[int]) -> Part:
        """The part of these units."""
        graph = self._partition.part(units)
        inputs, expected = ({name: self._values[name] for name in names} for names in (graph.inputs, graph.outputs))
        return Part(graph, inputs, expected, self._runner)

    def is_wrong(self, units: Sequence[int]) -> bool:
        """Whether these units go wrong as a network of their own."""
        key = frozenset(units)
        if key not in self.seen:
            self.seen[key] = self._goes_wrong(units)
        return self.seen[key]

    def _goes_wrong(self, units: Sequence[int]) -> bool:
        part = self.part(units)
        if not part.graph.outputs:
            return False
        try:
            results = part.run(self._run)
        except BuildError as error:
            if len(units) == len(self.units):
                raise
            self.refused.append(str(error).partition("\n")[0])
            return False
        if self._check is not None:
            return not self._check(part.expected, results)
        return not part.compare(results).correct

    def smallest(self) -> list[int] | None:
        """The smallest part that is wrong, or None if all units together are right."""
        every = list(range(len(self.units)))
        if not every or not self.is_wrong(every):
            return None
        beginning = every[: _least(1, len(every), lambda count: self.is_wrong(every[:count]))]
        length = _least(1, len(beginning), lambda count: self.is_wrong(beginning[-count:]))
        return self._fewest(beginning[-length:])

    def _fewest(self, units: list[int]) -> list[int]:
        """Leave out units, halves first and single ones at last, as long as the rest goes wrong (Zeller's ddmin)."""
        pieces = 2
        while len(units) > 1:
            size = -(-len(units) // pieces)
            rests = ([*units[:start], *units[start + size :]] for start in range(0, len(units), size))
            rest = next((rest for rest in rests if rest and self.is_wrong(rest)), None)
            if rest is not None:
                units, pieces = rest, max(pieces - 1, 2)
            elif size == 1:
                break
            else:
                pieces = min(2 * pieces, len(units))
        return units


def _least(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least number for which something holds, as it is known to for the highest.

    Where it holds here and there, it is one that holds after one that doesn't.
    """
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return high
