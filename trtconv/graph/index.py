"""Who makes and who reads each tensor."""

from __future__ import annotations

from collections.abc import Iterable

from trtconv.graph.data import Layer


def makers_of(layers: Iterable[Layer]) -> dict[str, Layer]:
    """For each tensor, by name, the layer that makes it."""
    return {name: layer for layer in layers for name in layer.outputs}


def readers_of(layers: Iterable[Layer]) -> dict[str, list[Layer]]:
    """For each tensor that is read, by name, the layers that read it, each once, in their order."""
    readers: dict[str, list[Layer]] = {}
    for layer in layers:
        for name in dict.fromkeys(layer.inputs):
            if name is not None:
                readers.setdefault(name, []).append(layer)
    return readers
