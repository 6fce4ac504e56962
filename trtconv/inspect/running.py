"""What runs a network, or a part of one: an engine that is built of it, or the reference interpreter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from trtconv.build import Clock, build_plan
from trtconv.calling.signature import Signature, TensorSpec
from trtconv.default_device import default_device
from trtconv.dtypes import to_engine
from trtconv.graph.data import Graph
from trtconv.module import TRTModule
from trtconv.reference import Interpreter
from trtconv.reference.schedule import LayerStep, Step, schedule
from trtconv.sizes.ranges import Range
from trtconv.tensorrt.exclusion import alone
from trtconv.tensorrt.logger import collect_messages

Values = Mapping[str, torch.Tensor]
"""Tensors by their names in a graph."""

Runner = Callable[[Graph, Values], Values]
"""Gives a graph's outputs for its inputs."""


def interpreted(graph: Graph, feeds: Values) -> dict[str, torch.Tensor]:
    """A `Runner`: the reference interpreter."""
    return Interpreter(graph).run(feeds)


@dataclasses.dataclass(frozen=True)
class EngineRunner:
    """A `Runner` that builds an engine of the graph, for the shapes that come, and runs it.

    Attributes:
        tf32, compute_capabilities, refittable: As for `trtconv.convert`.
    """

    tf32: bool = True
    compute_capabilities: Sequence[str] | None = None
    refittable: bool = False

    @staticmethod
    def of(module: TRTModule) -> EngineRunner:
        """One that builds as a module's own engine was built."""
        made = {} if module.plan is None else module.plan.provenance
        return EngineRunner(
            bool(made.get("tf32", True)), made.get("compute_capabilities"), bool(made.get("refittable", False))
        )

    def __call__(self, graph: Graph, feeds: Values) -> dict[str, torch.Tensor]:
        inputs = [_spec(graph, name, feeds[name].shape) for name in graph.inputs]
        outputs = [_spec(graph, name, graph.tensors[name].shape) for name in graph.outputs]
        with alone(), collect_messages() as messages, default_device("cpu"):
            plan = build_plan(
                graph,
                Signature.of_tensors(inputs, outputs),
                messages,
                Clock(),
                source={},
                tf32=self.tf32,
                compute_capabilities=self.compute_capabilities,
                refittable=self.refittable,
                keep_network=False,
            )
        module = TRTModule(plan, cuda_graphs=False, cache=False, rebuild=False)
        results = module.run_flat([feeds[name] for name in graph.inputs])
        return dict(zip(graph.outputs, results, strict=True))


def _spec(graph: Graph, name: str, sizes: Sequence[int]) -> TensorSpec:
    """A tensor of these sizes; where the graph leaves them open, of just these, or of any."""
    kind = graph.tensors[name]
    shape = tuple(
        known if known >= 0 else Range(f"{name}.{axis}", ((size,) * 3,)) if size >= 0 else "?"
        for axis, (known, size) in enumerate(zip(kind.shape, sizes, strict=True))
    )
    return TensorSpec(name, kind.dtype.carrier, shape)


def feeds_of(module: TRTModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The inputs of a module's network for a call.

    Raises: as a call, where the arguments don't fit.
    """
    assert module.plan is not None
    signature = module.plan.signature
    tensors = map(to_engine, signature.bind(args, kwargs))
    return {spec.name: tensor for spec, tensor in zip(signature.inputs, tensors, strict=True)}


def runner_of(module: TRTModule, feeds: Values) -> Runner:
    """What a module runs its network with on the device of these inputs; an engine is built with its options."""
    device = next((tensor.device for tensor in feeds.values()), torch.device("cpu"))
    return interpreted if module.backend(device) == "reference" else EngineRunner.of(module)


def with_outputs(graph: Graph, names: Iterable[str]) -> Graph:
    """A graph that has these tensors as outputs too, as far as they are made outside of loops and branches."""
    made = {name for step in schedule(graph) for name in results_of_step(step)}
    more = [name for name in dict.fromkeys(names) if name in made and name not in graph.outputs]
    return dataclasses.replace(graph, outputs=(*graph.outputs, *more))


def results_of_step(step: Step) -> list[str]:
    """The tensors that a step makes for those after it."""
    if isinstance(step, LayerStep):
        return list(step.layer.outputs)
    return [name for layer in step.outputs for name in layer.outputs]
