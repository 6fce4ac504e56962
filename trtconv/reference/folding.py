"""Telling what depends on no input, so that it is computed once.

Networks from the ONNX parser hold many times more shape arithmetic on constants than layers that see data.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from trtconv.graph.data import Graph, Layer
from trtconv.reference.layers.plugin import PLUGIN_TYPES
from trtconv.reference.schedule import Block, LayerStep, produced, release, used


def fold(block: Block, graph: Graph) -> tuple[Block, Block]:
    """Split a schedule into the steps that need no input, and those to run each time.

    The first leave the tensors that the others or the network's outputs need. The shape of a tensor with
    known dimensions becomes a constant.
    """
    known: set[str] = set()
    once: Block = []
    each: Block = []
    for step in block:
        if isinstance(step, LayerStep):
            layer = _with_static_shape(step.layer, graph)
            if _is_repeatable(layer) and known.issuperset(name for name in layer.inputs if name is not None):
                once.append(LayerStep(layer))
                known.update(produced(step))
                continue
        each.append(replace(step))
    outputs = set(graph.outputs)
    release(each, outputs)
    release(once, outputs | used(each))
    return once, each


def _is_repeatable(layer: Layer) -> bool:
    """Whether equal inputs always give equal results."""
    return layer.type not in PLUGIN_TYPES and not layer.attributes.get("operation", "").startswith("RANDOM")


def _with_static_shape(layer: Layer, graph: Graph) -> Layer:
    source = layer.inputs[0] if layer.type == "SHAPE" else None
    if source is None or -1 in graph.tensors[source].shape:
        return layer
    dtype = graph.tensors[layer.outputs[0]].dtype.carrier
    weights = torch.tensor(graph.tensors[source].shape, dtype=dtype)
    return Layer(layer.name, "CONSTANT", {"weights": weights}, (), layer.outputs)
