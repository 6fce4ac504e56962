"""One run of a network over samples, watched by observers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from trtconv.calling.signature import Signature
from trtconv.dtypes import to_engine
from trtconv.graph.data import Graph, Layer
from trtconv.reference.interpreter import Interpreter


class Observer:
    """Sees what a network computes, while it does; what it wants to keep, it has to copy."""

    def see_tensor(self, name: str, value: Tensor) -> None:
        """An input of the network, or a layer's result: once a sample, in loops once an iteration."""

    def see_layer(self, layer: Layer, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> None:
        """A layer with the values of its inputs and outputs, after `see_tensor` of these."""


@dataclasses.dataclass(frozen=True)
class State:
    """The buffers that a network keeps from call to call.

    Attributes:
        contents: What they hold at first, by the names of the network's inputs.
        written: The outputs that hold their new contents, by the same names.
    """

    contents: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    written: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @staticmethod
    def of(signature: Signature, buffers: Mapping[str, Tensor]) -> State:
        """The state of a converted module, of its buffers by name."""
        pairs = zip(reversed(signature.written_inputs), reversed(signature.outputs), strict=False)
        written = {signature.taken[place].name: spec.name for place, spec in pairs}
        contents = {name: to_engine(buffer.detach()) for name, buffer in buffers.items()}
        return State(contents, {name: output for name, output in written.items() if name in contents})


def observe(
    graph: Graph,
    samples: Iterable[Sequence[Tensor]],
    observers: Sequence[Observer],
    state: State | None = None,
    device: torch.device | None = None,
) -> int:
    """Run a network on samples and show observers every tensor and layer; return the number of samples.

    What depends on no input is computed, and shown, once. Tensors are let go as soon as no layer needs them.

    Args:
        graph: The network.
        samples: For each call its inputs, in the network's order, on any device.
        state: What further inputs hold, from call to call.
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
    state = state or State()
    kept = {name: value.to(device) for name, value in state.contents.items()}
    names = [name for name in graph.inputs if name not in kept]
    count = 0
    for sample in samples:
        feeds = {**{name: value.to(device) for name, value in zip(names, sample, strict=True)}, **kept}
        for observer in observers:
            for name, value in feeds.items():
                observer.see_tensor(name, value)
        outputs = interpreter.run(feeds)
        kept |= {name: outputs[output] for name, output in state.written.items()}
        count += 1
    return count
