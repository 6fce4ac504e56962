"""The order of layers: each after those whose results it takes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from trtconv.graph.data import Layer


def in_order(layers: Sequence[Layer]) -> list[Layer]:
    """The layers in a topological order, otherwise as they are.

    What a recurrence takes from one iteration to the next is made after it.

    Raises:
        ValueError: layers depend on their own results.
    """
    makers = {name: number for number, layer in enumerate(layers) for name in layer.outputs}
    waits = [_needs(layer, makers) for layer in layers]
    readers: dict[int, list[int]] = {}
    for number, needed in enumerate(waits):
        for maker in needed:
            readers.setdefault(maker, []).append(number)
    ready = [number for number, needed in enumerate(waits) if not needed]
    result: list[Layer] = []
    while ready:
        number = heapq.heappop(ready)
        result.append(layers[number])
        for reader in readers.get(number, ()):
            waits[reader].discard(number)
            if not waits[reader]:
                heapq.heappush(ready, reader)
    if len(result) < len(layers):
        stuck = next(layer for layer, needed in zip(layers, waits, strict=True) if needed)
        raise ValueError(f"{stuck} depends on its own result")
    return result


def _needs(layer: Layer, makers: dict[str, int]) -> set[int]:
    inputs = layer.inputs[:1] if layer.type == "RECURRENCE" else layer.inputs
    return {makers[name] for name in inputs if name in makers}
