"""A graph's digest: equal for graphs that compute the same in the same way, whatever the order of their layers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from trtconv.graph.data import Graph, Live
from trtconv.graph.order import in_order


def digest(graph: Graph) -> str:
    """The SHA-256 of a graph's inputs, outputs, tensors, layers and weights, as 64 hexadecimal digits.

    Raises:
        ValueError: layers depend on their own results.
    """
    result = hashlib.sha256()

    def add(value: Any) -> None:
        result.update(json.dumps(value, default=_weights).encode())

    add([graph.inputs, graph.outputs])
    add(sorted((name, kind.dtype.name, kind.shape) for name, kind in graph.tensors.items()))
    for layer in in_order(graph.layers):
        # What isn't set isn't told apart from what this TensorRT doesn't have.
        given = {
            name: value
            for name, value in sorted(layer.attributes.items())
            if value is not None and not isinstance(value, Live)
        }
        add([layer.name, layer.type, layer.inputs, layer.outputs, given])
    return result.hexdigest()


def _weights(value: torch.Tensor) -> list[Any]:
    # Of less than two elements any strides are contiguous.
    content = value.detach().cpu().contiguous().as_strided((value.numel(),), (1,)).view(torch.uint8)
    return [str(value.dtype), list(value.shape), hashlib.sha256(content.numpy().data).hexdigest()]
