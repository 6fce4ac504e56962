"""One run of a network over samples, watched by observers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from trtconv.graph.data import Graph, Layer
from trtconv.reference.interpreter import Interpreter


class Observer:
    """Sees what a network computes, while it does; what it wants to keep, it has to copy."""

    def see_tensor(self, name: str, value: Tensor) -> None:
        """An input of the network, or a layer's result: once a sample, in loops once an iteration."""

    def see_layer(self, layer: Layer, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> None:
        """A layer with the values of its inputs and outputs, after `see_tensor` of these."""


def observe(
    graph: Graph,
    samples: Iterable[Sequence[Tensor]],
    observers: Sequence[Observer],
    device: torch.device | None = None,
) -> int:
    """Run a network on samples and show observers every tensor and layer; return the number of samples.

    What depends on no input is computed, and shown, once. Tensors are let go as soon as no layer needs them.

    Args:
        graph: The network.
        samples: For each call its inputs, in the network's order, on any device.
        device: Where to run; by default the current CUDA device, or the CPU where there is none.

    Raises:
        LayerError: a layer can't be computed with these values.
        NotImplementedError: the network has layers that can't be interpreted.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def watch(layer: Layer, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> None:
        for observer in observers:
            for name, value in zip(layer.outputs, outputs, strict=True):
                observer.see_tensor(name, value)
            observer.see_layer(layer, inputs, outputs)

    interpreter = Interpreter(graph, watch=watch)
    count = 0
    for sample in samples:
        feeds = {name: value.to(device) for name, value in zip(graph.inputs, sample, strict=True)}
        for observer in observers:
            for name, value in feeds.items():
                observer.see_tensor(name, value)
        interpreter.run(feeds)
        count += 1
    return count
