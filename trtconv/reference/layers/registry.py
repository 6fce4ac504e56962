"""The table of layer types that can be executed.

A layer is prepared once and run many times: ``prepare`` gets the layer with its graph and device and
returns a kernel. The kernel takes the layer's input tensors as positional arguments, None where an input
is not set, and returns the output tensor, or a tuple of them where there are several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trtconv.graph.data import Graph, Layer, TensorType

Kernel = Callable[..., "Tensor | tuple[Tensor, ...]"]


@dataclass(frozen=True)
class LayerContext:
    """A layer that is being prepared, and where it will run."""

    layer: Layer
    graph: Graph
    device: torch.device

    def __getitem__(self, attribute: str) -> Any:
        return self.layer.attributes[attribute]

    def weights(self, attribute: str) -> Tensor | None:
        """Weights on the device, None where the layer has none."""
        weights: Tensor | None = self[attribute]
        return None if weights is None else weights.to(self.device)

    def has_input(self, index: int) -> bool:
        """Tell whether an optional input is set."""
        inputs = self.layer.inputs
        return len(inputs) > index and inputs[index] is not None

    def input_type(self, index: int) -> TensorType:
        """The type of an input that is set."""
        name = self.layer.inputs[index]
        if name is None:
            raise ValueError(f"input {index} is not set")
        return self.graph.tensors[name]

    def output_type(self, index: int = 0) -> TensorType:
        """The type of an output."""
        return self.graph.tensors[self.layer.outputs[index]]

    def check_sizes(self, shape: Sequence[int]) -> None:
        """Refuse sizes that the output can't have, before memory is taken for them."""
        if not self.output_type().admits(tuple(shape)):
            raise ValueError(f"sizes {list(shape)} are asked for, but its output is {self.output_type()}")


Prepare = Callable[[LayerContext], Kernel]
_PREPARERS: dict[str, Prepare] = {}
# Executed with the loop or conditional that they bound rather than by a kernel.
_BOUNDARIES = ("CONDITION", "CONDITIONAL_OUTPUT", "ITERATOR", "LOOP_OUTPUT", "RECURRENCE", "TRIP_LIMIT")


def implements(layer_type: str) -> Callable[[Prepare], Prepare]:
    """Register the function that prepares layers of a type.

    Raises:
        ValueError: the type has one already.
    """

    def register(prepare: Prepare) -> Prepare:
        if layer_type in _PREPARERS:
            raise ValueError(f"{layer_type} is implemented twice")
        _PREPARERS[layer_type] = prepare
        return prepare

    return register


def prepare(layer: Layer, graph: Graph, device: torch.device) -> Kernel:
    """Make a layer's kernel.

    Raises:
        NotImplementedError: its type, or a setting of it, can't be interpreted.
        ValueError: its attributes contradict each other.
    """
    if layer.type not in _PREPARERS:
        raise NotImplementedError(f"{layer} can't be interpreted")
    try:
        return _PREPARERS[layer.type](LayerContext(layer, graph, device))
    except NotImplementedError as error:
        raise NotImplementedError(f"{layer}: {error}") from error
    except KeyError as error:
        raise ValueError(f"{layer} has no or an unknown {error}") from error
    except (AttributeError, IndexError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{layer}: {error}") from error


def supported_layers() -> tuple[str, ...]:
    """Names of the layer types that can be run, as in ``trt.LayerType``, sorted."""
    return tuple(sorted((*_PREPARERS, *_BOUNDARIES)))


def require_floats(context: LayerContext) -> None:
    """Refuse integers where TensorRT does not document what they give.

    TensorRT-RTX builds such layers for raw INT8 too.
    """
    dtype = context.input_type(0).dtype
    if not dtype.carrier.is_floating_point:
        raise NotImplementedError(f"{dtype.name} input: only floats are documented")


def axes_of(mask: int) -> tuple[int, ...]:
    """Dimensions that a bit mask names, the lowest bit standing for the first dimension."""
    return tuple(i for i in range(mask.bit_length()) if mask >> i & 1)
