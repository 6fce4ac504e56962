"""What a TensorRT network says, as plain data: no TensorRT object, nothing that executes."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from trtconv.dtypes import NAMES
from trtconv.places import Origin

if TYPE_CHECKING:
    from trtconv.graph.recipes import Program


class DataType(enum.Enum):
    """A data type of TensorRT.

    ``carrier`` is the torch dtype whose tensors carry its values here. torch has no 4-bit types with
    arithmetic, so an INT4 value is held in an int8 and an FP4 value in a float32, one element each.
    """

    FLOAT = "FLOAT"
    HALF = "HALF"
    BF16 = "BF16"
    INT8 = "INT8"
    INT32 = "INT32"
    INT64 = "INT64"
    BOOL = "BOOL"
    UINT8 = "UINT8"
    FP8 = "FP8"
    INT4 = "INT4"
    FP4 = "FP4"
    E8M0 = "E8M0"

    @property
    def carrier(self) -> torch.dtype:
        """The torch dtype that holds values of this type."""
        return _CARRIERS[self]


_CARRIERS = {DataType[name]: dtype for dtype, name in NAMES.items()} | {
    DataType.INT4: torch.int8,
    DataType.FP4: torch.float32,
    DataType.E8M0: torch.float8_e8m0fnu,
}


@dataclass(frozen=True)
class TensorType:
    """A tensor's data type and its shape, -1 standing for a dimension known only when it runs."""

    dtype: DataType
    shape: tuple[int, ...]

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Tell whether a tensor of this shape can have this type."""
        return self.shape == shape or (
            len(self.shape) == len(shape)
            and all(known in (-1, size) for known, size in zip(self.shape, shape, strict=True))
        )

    def __str__(self) -> str:
        return f"{self.dtype.name} {list(self.shape)}"


CONSTRUCTS = ("loop", "conditional", "attention")
"""The attributes by which boundary layers say what they are a boundary of."""


class Live:
    """An object of this process, a plugin for one: copies and files of a graph have none in its place."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return Live, (None,)


class Part(NamedTuple):
    """A tensor as a part of a storage, which is known by a number; shape, strides and offset are in elements."""

    dtype: torch.dtype
    storage: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    is_conjugate: bool = False
    is_negative: bool = False


@dataclass(frozen=True)
class Layer:
    """One layer: its LayerType's name, its attributes and the names of its tensors.

    Attributes are what TensorRT's Python attributes of the same names say: numbers, strings, tuples,
    None, the names of enum members, and torch tensors for weights. An input that is not set is None.
    ``origin`` is the line of the model that the layer comes from, where that is known. ``recipes`` says of weights that
    follow from the model's where the graph's program leaves them.
    """

    name: str
    type: str
    attributes: dict[str, Any]
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    origin: Origin | None = None
    recipes: Mapping[str, Part] = field(default_factory=dict)

    @property
    def construct(self) -> str | None:
        """The loop, conditional or attention that it is a boundary of."""
        found = (self.attributes[kind] for kind in CONSTRUCTS if kind in self.attributes)
        return next(found, None)

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.type})"


class Site(NamedTuple):
    """A call of a torch function in the model's forward pass, as its user wrote it.

    ``number`` counts the calls of that function at that place, from 0. ``tensors`` are the names of those that carry
    the call's results, in order, None for what the network doesn't have.
    """

    origin: Origin
    number: int
    tensors: tuple[str | None, ...]


@dataclass(frozen=True)
class Graph:
    """A network: its layers in the order of the definition, which need not be a topological one.

    Tensors are known by their names, which TensorRT keeps unique; ``tensors`` has the type of each. ``sizes`` has
    the shapes of those with dynamic dimensions, as far as they are known to follow from the inputs' sizes: a number,
    or an expression such as "s0 // 2 + 1", in which a symbol is what the inputs' own sizes say that it is.
    ``program`` computes weights of those of the model, where that is known. ``notes`` has, by the names of layers, why
    these compute in the types that they do, where a pass has chosen them. ``sites`` say which tensors are results of
    the model's calls, in the order of the calls; passes may have left none of a site's tensors.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    tensors: Mapping[str, TensorType]
    sizes: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    program: Program | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    sites: tuple[Site, ...] = ()

    def weights(self) -> Iterator[torch.Tensor]:
        """The weights of all layers."""
        return (
            value for layer in self.layers for value in layer.attributes.values() if isinstance(value, torch.Tensor)
        )

    def map_weights(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Put `function(weights)`, of the same values, in the place of the weights of each layer."""
        for layer in self.layers:
            found = {name: value for name, value in layer.attributes.items() if isinstance(value, torch.Tensor)}
            layer.attributes.update({name: function(value) for name, value in found.items()})
