"""Running a network on torch tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from trtconv.default_device import default_device
from trtconv.graph.data import Graph
from trtconv.graph.reader import read
from trtconv.reference.execution import Around, Binding, Execution, Observer, Values, Watch, run_block
from trtconv.reference.folding import fold
from trtconv.reference.layers.plugin import PLUGIN_TYPES, is_registered
from trtconv.reference.layers.registry import supported_layers
from trtconv.reference.schedule import ConditionalStep, LayerStep, LoopStep, schedule


@dataclass(frozen=True)
class _Prepared:
    """What a run on one device does, the tensors that were computed beforehand, and the memory that is kept."""

    block: list[Execution]
    constants: Values
    memory: set[int]


class Interpreter:
    """A network prepared for running, on CPU or CUDA tensors.

    Args:
        network: a ``trt.INetworkDefinition`` or a :class:`~trtconv.reference.Graph`. Nothing of a
            definition is kept; it may be changed or freed afterwards.
        max_loop_iterations: where a loop without a COUNT trip limit is given up.
        watch: called with each layer as it is computed, and the values of its inputs and outputs, which must not be
            changed. What depends on no input is computed once on each device.
        around: Gives for a layer a context in which it is computed: to time it, for one. What doesn't depend on
            feeds is computed once, outside of any.

    Raises:
        ValueError: the network is not one that TensorRT could build: a tensor whose shape it can't
            infer, a loop without a trip limit, layers that depend on themselves.
        NotImplementedError: it needs layers that can't be interpreted; the message lists each by name
            and type.
    """

    def __init__(
        self,
        network: Graph | Any,
        *,
        max_loop_iterations: int = 100_000,
        watch: Watch | None = None,
        around: Around | None = None,
    ) -> None:
        self.graph = network if isinstance(network, Graph) else read(network)
        self._max_loop_iterations = max_loop_iterations
        self._watch, self._around = watch, around
        self._schedule = schedule(self.graph)
        self._refuse_unsupported()
        types = [(name, self.graph.tensors[name]) for name in self.graph.inputs]
        self._inputs = [(name, kind, kind.dtype.carrier, kind.shape) for name, kind in types]
        self._prepared: dict[torch.device, _Prepared] = {}
        self._observed: dict[torch.device, list[Execution]] = {}

    def run(self, feeds: Mapping[str, Tensor], observe: Observer | None = None) -> dict[str, Tensor]:
        """Compute the network's outputs.

        Args:
            feeds: a tensor for each network input, of its dtype and a shape that its dimensions admit.
                One CUDA tensor among them makes the whole network run on its device.
            observe: called with the name and the value of each tensor as it is made. The value must
                not be changed.

        Returns:
            The outputs by name, in the network's order, on the device that the network ran on: new tensors,
            whose memory nothing else has.

        Raises:
            ValueError: a feed is missing, unknown, or of the wrong dtype or shape.
            LayerError: a layer could not be computed with these values.
        """
        device = self._device_of(feeds)
        # What a call enters costs as much as a small layer: no context that wouldn't change anything.
        if torch.is_autocast_enabled(device.type):
            with torch.no_grad(), torch.autocast(device.type, enabled=False):
                return self._run(feeds, device, observe)
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self._run(feeds, device, observe)
        return self._run(feeds, device, observe)

    def _run(self, feeds: Mapping[str, Tensor], device: torch.device, observe: Observer | None) -> dict[str, Tensor]:
        values = {name: feeds[name].to(device) for name in self.graph.inputs}
        if observe is None:
            prepared = self._prepared.get(device) or self._prepare(device)
            values.update(prepared.constants)
            run_block(prepared.block, values, None)
            kept = prepared.memory
        else:
            kept = _memory_of(self._weights())
            for name, value in values.items():
                observe(name, value)
            run_block(self._prepare_observed(device), values, observe)
        taken = _memory_of(feeds.values())
        return {name: _apart(values[name], taken, kept) for name in self.graph.outputs}

    def _weights(self) -> Iterator[Tensor]:
        return (x for layer in self.graph.layers for x in layer.attributes.values() if isinstance(x, Tensor))

    def _prepare(self, device: torch.device) -> _Prepared:
        if device not in self._prepared:
            with default_device(device):
                binding = Binding(self.graph, device, self._max_loop_iterations, self._watch)
                once, each = fold(self._schedule, self.graph)
                constants: Values = {}
                run_block(binding.block(once), constants, None)
                memory = _memory_of((*constants.values(), *self._weights()))
                binding = dataclasses.replace(binding, around=self._around)
                self._prepared[device] = _Prepared(binding.block(each), constants, memory)
        return self._prepared[device]

    def _prepare_observed(self, device: torch.device) -> list[Execution]:
        """All steps: an observer is shown constants too."""
        if device not in self._observed:
            with default_device(device):
                binding = Binding(self.graph, device, self._max_loop_iterations)
                self._observed[device] = binding.block(self._schedule)
        return self._observed[device]

    def _device_of(self, feeds: Mapping[str, Tensor]) -> torch.device:
        """Where to run; feeds that don't fit are told apart elsewhere."""
        device = None
        for name, kind, dtype, shape in self._inputs:
            feed = feeds.get(name)
            if (
                not isinstance(feed, Tensor)
                or feed.dtype is not dtype
                or not (feed.shape == shape or kind.admits(feed.shape))
            ):
                self._refuse(feeds)
            elif device is None:
                device = feed.device
            elif feed.device != device:
                device = _common_device(feeds)
        if len(feeds) > len(self._inputs):
            self._refuse(feeds)
        return device or torch.device("cpu")

    def _refuse(self, feeds: Mapping[str, Tensor]) -> NoReturn:
        """Say which feed doesn't fit."""
        described = ", ".join(f"{name!r}: {kind}" for name, kind, _, _ in self._inputs) or "none"
        for name, kind, dtype, shape in self._inputs:
            if name not in feeds:
                raise ValueError(f"no feed for input {name!r}; the network's inputs are {described}")
            feed = feeds[name]
            if not isinstance(feed, Tensor):
                raise ValueError(f"the feed of input {name!r} is a {type(feed).__name__}, not a torch tensor")
            if feed.dtype is not dtype:
                raise ValueError(f"input {name!r} takes {dtype}, the feed is {feed.dtype}")
            if not kind.admits(feed.shape):
                raise ValueError(
                    f"input {name!r} takes shape {list(shape)} (-1 is any size), the feed has {list(feed.shape)}"
                )
        unknown = next(name for name in feeds if name not in self.graph.inputs)
        raise ValueError(f"the network has no input {unknown!r}; its inputs are {described}")

    def _refuse_unsupported(self) -> None:
        known = set(supported_layers())
        missing = [
            str(layer)
            for layer in _layers(self._schedule)
            if layer.type not in known or (layer.type in PLUGIN_TYPES and not is_registered(layer))
        ]
        if missing:
            raise NotImplementedError(f"can't be interpreted: {', '.join(missing)} (plugins need register_plugin)")


def _memory_of(tensors: Iterable[Tensor]) -> set[int]:
    """The addresses of the memory that tensors view."""
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


def _apart(result: Tensor, taken: set[int], kept: set[int]) -> Tensor:
    """A result, copied where its memory is in use; afterwards it is among what is taken."""
    address = result.untyped_storage().data_ptr()
    if address in taken or address in kept:
        return result.clone(memory_format=torch.contiguous_format)
    taken.add(address)
    return result


def run(network: Graph | Any, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Run a network once: ``Interpreter(network).run(feeds)``."""
    return Interpreter(network).run(feeds)


def _layers(block: Any) -> Iterator[Any]:
    for step in block:
        if isinstance(step, LayerStep):
            yield step.layer
        elif isinstance(step, LoopStep):
            yield from _layers([*step.condition, *step.body])
        elif isinstance(step, ConditionalStep):
            yield from _layers([*step.if_true, *step.if_false])


def _common_device(feeds: Mapping[str, Tensor]) -> torch.device:
    devices = {feed.device for feed in feeds.values() if feed.device.type != "cpu"}
    if len(devices) > 1:
        raise ValueError(f"the feeds are on several devices: {sorted(map(str, devices))}")
    return devices.pop() if devices else torch.device("cpu")
