"""New weights in an engine that is built already, as one takes them that was built with `refittable=True`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.errors import EngineError
from trtconv.graph.data import Graph, Layer, Live
from trtconv.graph.weights import memory_of
from trtconv.tensorrt.logger import collect_messages, logger

_ROLES: Mapping[str, Mapping[str, str]] = {
    "CONSTANT": {"weights": "CONSTANT"},
    "CONVOLUTION": {"kernel": "KERNEL", "bias": "BIAS"},
    "DECONVOLUTION": {"kernel": "KERNEL", "bias": "BIAS"},
    "SCALE": {"shift": "SHIFT", "scale": "SCALE"},
}
"""For each type of layers the weights that can be set anew, and the member of `trt.WeightsRole` for each."""


def changed_layers(graph: Graph, other: Graph) -> list[str] | None:
    """The layers that have other weights in `other`; None if other things differ, or weights that can't be set."""
    kept = ("inputs", "outputs", "tensors")
    if any(getattr(graph, name) != getattr(other, name) for name in kept) or len(graph.layers) != len(other.layers):
        return None
    changed = []
    for layer, new in zip(graph.layers, other.layers, strict=True):
        if _but_weights(layer) != _but_weights(new):
            return None
        differ = {name for name, value in _weights(layer).items() if not _is_same(value, _weights(new).get(name))}
        if differ - _ROLES.get(layer.type, {}).keys() or _weights(new).keys() - _weights(layer).keys():
            return None
        if differ:
            changed.append(layer.name)
    return changed


def refit(engine: Any, graph: Graph, changed: Collection[str]) -> None:
    """Give a `trt.ICudaEngine` the weights of a graph.

    Args:
        graph: One with the layers of the graph that the engine was built of, as `trtconv.passes.for_engine` gives it.
        changed: The layers whose weights the engine may not have: those that it doesn't take are an error.

    Raises:
        EngineError: TensorRT doesn't take the weights.
    """
    offered = {
        (layer.name, role): (layer.attributes[name], graph.tensors[layer.outputs[0]].dtype)
        for layer in graph.layers
        for name, role in _ROLES.get(layer.type, {}).items()
    }
    held = []
    with collect_messages() as messages:
        refitter = trt.Refitter(engine, logger())
        taken = list(zip(*refitter.get_all(), strict=True))
        fixed = set(changed) - {name for name, _ in taken}
        if fixed:
            raise EngineError(f"the engine takes no new weights of layer {min(fixed)!r}")
        for name, role in taken:
            if (name, role.name) not in offered:
                raise EngineError(f"the engine wants weights of layer {name!r} ({role.name}), which its network hasn't")
            weights, memory = memory_of(*offered[name, role.name])
            held.append(memory)  # TensorRT reads it in the end only
            if not refitter.set_weights(name, role, weights):
                raise EngineError(f"the engine doesn't take the new weights of layer {name!r}. {messages.words()}")
        if not refitter.refit_cuda_engine():
            raise EngineError(f"the engine doesn't take new weights. {messages.words()}")


def _but_weights(layer: Layer) -> Layer:
    """A layer for a comparison, without its weights."""
    rest = {name: value for name, value in layer.attributes.items() if not isinstance(value, (torch.Tensor, Live))}
    return dataclasses.replace(layer, attributes=rest, origin=None, recipes={})


def _weights(layer: Layer) -> dict[str, torch.Tensor]:
    return {name: value for name, value in layer.attributes.items() if isinstance(value, torch.Tensor)}


def _is_same(value: torch.Tensor, other: torch.Tensor | None) -> bool:
    """Whether two tensors have the same bits."""
    if other is None or (value.dtype, value.shape) != (other.dtype, other.shape):
        return False
    return value is other or torch.equal(*(each.contiguous().view(-1).view(torch.uint8) for each in (value, other)))
