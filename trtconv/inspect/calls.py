"""Comparing call by call: what PyTorch gives at each call of a module's code, and what a network has there."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import torch

from trtconv.graph.data import Graph
from trtconv.graph.index import makers_of
from trtconv.inspect.oracle import OutputComparison, compare_tensors
from trtconv.inspect.running import feeds_of, runner_of, with_outputs
from trtconv.inspect.sites import Sites, key_of
from trtconv.module import TRTModule
from trtconv.places import Origin


@dataclasses.dataclass(frozen=True)
class CallComparison:
    """One call of a torch function in the module's code.

    Attributes:
        origin: The user's line, the module path and the function.
        number: Of the calls of that function at that place, from 0.
        layers: The names of the layers that compute it of the results of earlier calls. Calls that need none (a
            dropout in eval mode) have none.
        outputs: Each tensor that it gave, as far as the network has it.
    """

    origin: Origin
    number: int
    layers: tuple[str, ...]
    outputs: tuple[OutputComparison, ...]

    @property
    def share(self) -> float:
        """The largest error's share of what is allowed; above 1 the call is wrong."""
        return max(output.share for output in self.outputs)

    @property
    def correct(self) -> bool:
        """Whether all its results are."""
        return self.share <= 1

    def __str__(self) -> str:
        again = f", call {self.number + 1} of that line" if self.number else ""
        layers = f", layer{'s' * (len(self.layers) > 1)} {', '.join(self.layers)}" if self.layers else ""
        return f"{self.origin.function} at {self.origin}{again}{layers}"


class Calls:
    """The calls of a module's code of whose results a converted module's network has some.

    Raises:
        ValueError: the network doesn't say which calls it comes from.
    """

    def __init__(self, converted: Any) -> None:
        if not isinstance(converted, TRTModule):
            raise ValueError(f"layers=True needs what trtconv.convert returns, not a {type(converted).__qualname__}")
        graph = converted.network
        if graph is None or not graph.sites:
            raise ValueError(
                "layers=True needs a network that says which calls it comes from, as that of a module that "
                "trtconv.convert converted with keep_network=True does. ONNX models have no code, and modules that "
                "older versions of trtconv saved don't say it"
            )
        self._converted, self._graph = converted, graph

    def recorded(self, module: torch.nn.Module) -> Sites:
        """What calls a module, and keeps what these calls give."""
        return Sites(module, set(map(key_of, self._graph.sites)))

    def compared(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], precise: Sites, own: Sites, lower: Sites | None
    ) -> tuple[tuple[CallComparison, ...], int]:
        """The calls that were made in all runs of the module, compared; and how many were not."""
        values = self._values(args, kwargs)
        found, missing = [], 0
        for site, layers in zip(self._graph.sites, layers_of_sites(self._graph), strict=True):
            key = key_of(site)
            runs = [run.values.get(key, ()) for run in (precise, own, lower) if run is not None]
            if not all(runs):
                missing += 1
                continue
            results = zip(*runs, *([] if lower else [itertools.repeat(None)]), strict=False)
            outputs = tuple(
                compare_tensors(exact, mine, _of_dtype(values[name], mine.dtype), low)
                for name, (exact, mine, low) in zip(site.tensors, results, strict=False)
                if name is not None and name in values
            )
            if outputs:
                found.append(CallComparison(own.origins[key], site.number, layers, outputs))
        return tuple(found), missing

    def _values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """What the network has in the tensors that are results of calls."""
        feeds = feeds_of(self._converted, args, kwargs)
        names = [name for site in self._graph.sites for name in site.tensors if name is not None]
        return feeds | dict(runner_of(self._converted, feeds)(with_outputs(self._graph, names), feeds))


def _of_dtype(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What a network has in a tensor of another dtype than PyTorch's: a lower one, or wider integers."""
    return tensor if dtype.is_complex or tensor.is_complex() else tensor.to(dtype)


def layers_of_sites(graph: Graph) -> Iterator[tuple[str, ...]]:
    """For each of a graph's sites the names of the layers between it and the sites before it, in their order."""
    makers = makers_of(graph.layers)
    places = {layer.name: place for place, layer in enumerate(graph.layers)}
    taken: set[str] = set()
    for site in graph.sites:
        found: set[str] = set()
        pending: list[str | None] = list(site.tensors)
        while pending:
            layer = makers.get(pending.pop() or "")
            if layer is None or layer.name in taken or layer.name in found:
                continue
            found.add(layer.name)
            pending += layer.inputs
        taken |= found
        in_order = [graph.layers[place] for place in sorted(places[name] for name in found)]
        yield tuple(layer.name for layer in in_order if layer.type != "CONSTANT")
