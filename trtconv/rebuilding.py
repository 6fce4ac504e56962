"""Building a converted module again: for other GPUs, by another TensorRT, or with other weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.build import Clock, build_plan, storages
from trtconv.calibration.ranges import check_calibration, kept_of
from trtconv.default_device import default_device
from trtconv.errors import EngineError
from trtconv.graph.layout import copy_weights
from trtconv.graph.recipes import with_weights
from trtconv.options import check_compute_capabilities, check_flag
from trtconv.passes import for_engine, run_graph_passes
from trtconv.passes.precision_choice import Choice, provenance_of
from trtconv.plan import Outdated, Plan
from trtconv.reference import Graph
from trtconv.runtime.cache import Store
from trtconv.runtime.refitting import changed_layers
from trtconv.shortened import shortened
from trtconv.tensorrt.exclusion import alone
from trtconv.tensorrt.logger import collect_messages

_OF_A_BUILD = (
    "trtconv",
    "torch",
    "tensorrt",
    "tf32",
    "compute_capabilities",
    "refittable",
    "layers",
    "engine_passes",
    "seconds",
)


@shortened
def rebuilt(
    plan: Plan,
    store: Store | None,
    tf32: bool | None = None,
    compute_capabilities: Sequence[str] | None = None,
    precision: str | Mapping[str, str] | None = None,
    refittable: bool | None = None,
    calibration: Any = None,
) -> Plan:
    """The plan of the same network, built by the TensorRT that is here.

    Args:
        store: Where engines are kept from build to build.
        tf32, compute_capabilities, refittable: As for `trtconv.convert`; None for what the plan was built with, of
            GPUs where this TensorRT takes some.
        precision: As for `trtconv.convert`; None for the types that layers have.
        calibration: As for `trtconv.convert`, where it isn't True.

    Raises:
        BuildError: TensorRT refuses the network.
        EngineError: the network wasn't kept.
        ValueError: an option has a value that isn't allowed, or the plan's weights were rounded to another precision.
    """
    graph = _graph(plan)
    choice = Choice.of(precision)
    check_calibration(calibration, choice)
    if choice is not None:
        _check_unrounded(plan, precision)
        kept = kept_of(calibration, choice, graph, plan.signature, plan.state)
        with alone(), collect_messages(), default_device("cpu"):
            graph = run_graph_passes(graph, choice, kept)
    if compute_capabilities is None and trt.is_rtx():
        compute_capabilities = plan.provenance.get("compute_capabilities")
    return _built(plan, graph, store, None, tf32, compute_capabilities, refittable, **provenance_of(choice))


def _check_unrounded(plan: Plan, precision: Any) -> None:
    given = plan.provenance.get("precision", "fp32")
    if given not in ("fp32", precision):
        raise ValueError(
            f"precision={precision!r}: this module was converted with precision={given!r}, and its weights are rounded "
            "to that; rebuild the module that was converted without it"
        )


@shortened
def with_new_weights(plan: Plan, store: Store | None, weights: torch.nn.Module | Mapping[str, torch.Tensor]) -> Plan:
    """The plan of the same network with other weights, those of a module or a state dict of its.

    An engine that was built `refittable` stays, where only weights differ: it gets the new ones where it is loaded.

    Raises:
        BuildError: TensorRT refuses the network.
        EngineError: the network wasn't kept.
        WeightsError: the weights don't fit; the message says which, and why.
    """
    if isinstance(weights, torch.nn.Module):
        named = weights.named_parameters(remove_duplicate=False), weights.named_buffers(remove_duplicate=False)
        weights = {name: value for each in named for name, value in each}
    graph = with_weights(_graph(plan), weights)
    if plan.provenance.get("refittable"):
        kept = _refitted(plan, graph)
        if kept is not None:
            return kept
    capabilities = plan.provenance.get("compute_capabilities") if trt.is_rtx() else None
    return _built(plan, graph, store, storages(graph.weights()), None, capabilities)


def _refitted(plan: Plan, graph: Graph) -> Plan | None:
    """The plan with this network and the engine that it has; None if the engine can't take the network's weights."""
    (segment,) = plan.segments
    tf32 = bool(plan.provenance.get("tf32", True))
    changed = changed_layers(for_engine(_graph(plan), tf32=tf32), for_engine(graph, tf32=tf32))
    if changed is None or not len(segment.engine):
        return None
    before = () if segment.outdated is None else segment.outdated.layers
    copy_weights(graph.layers)
    outdated = Outdated(tuple(dict.fromkeys((*before, *changed))), tf32)
    return dataclasses.replace(plan, segments=(dataclasses.replace(segment, graph=graph, outdated=outdated),))


def _graph(plan: Plan) -> Graph:
    (segment,) = plan.segments
    if segment.graph is None:
        raise EngineError(
            "the network of this module wasn't kept, so that it can't be built again: convert with keep_network=True"
        )
    return segment.graph


def _built(
    plan: Plan,
    graph: Graph,
    store: Store | None,
    owned: frozenset[int] | None,
    tf32: bool | None,
    compute_capabilities: Sequence[str] | None,
    refittable: bool | None = None,
    **changes: Any,
) -> Plan:
    if tf32 is None:
        tf32 = bool(plan.provenance.get("tf32", True))
    if refittable is None:
        refittable = bool(plan.provenance.get("refittable", False))
    check_flag("tf32", tf32)
    check_flag("refittable", refittable)
    check_compute_capabilities(compute_capabilities)
    source: dict[str, Any] = {
        name: value for name, value in plan.provenance.items() if name not in _OF_A_BUILD
    } | changes
    with alone(), collect_messages() as messages, default_device("cpu"):
        built = build_plan(
            graph,
            plan.signature,
            messages,
            Clock(),
            source=source,
            tf32=tf32,
            compute_capabilities=compute_capabilities,
            refittable=refittable,
            keep_network=True,
            store=store,
            owned=owned,
        )
    built.state = plan.state
    return built
