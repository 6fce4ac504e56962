"""Which initializers of an ONNX file a parsed network's weights are; only what that takes of the file is read."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from trtconv.graph.data import Graph, Layer, Part
from trtconv.graph.recipes import Program, Source

_DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}
_WITH_GRAPHS = (b"If", b"Loop", b"Scan", b"SequenceMap")


class _Initializer(NamedTuple):
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    raw: memoryview

    def values(self) -> torch.Tensor:
        """A copy of the values."""
        if not len(self.raw):
            return torch.empty(self.shape, dtype=self.dtype)
        return torch.frombuffer(bytearray(self.raw), dtype=self.dtype).reshape(self.shape)

    def is_same(self, value: torch.Tensor) -> bool:
        """Whether weights are these, in whatever shape."""
        is_like = value.dtype is self.dtype and value.numel() == math.prod(self.shape)
        return is_like and torch.equal(value.reshape(-1), self.values().reshape(-1))


def with_initializers(graph: Graph, content: memoryview) -> Graph:
    """A graph that knows which of its weights are which initializers.

    Those that TensorRT's parser has computed with are known, too, but may not change. Of models with graphs in their
    nodes nothing is known.

    Args:
        content: The file.
    """
    initializers: dict[str, _Initializer] = {}
    nodes: dict[str, list[str]] = {}
    uses: Counter[str] = Counter()
    for number, field in _fields(_only(content, 7)):
        if number == 5 and (found := _initializer(field)) is not None:
            initializers[found.name] = found
        elif number == 1:
            parts = list(_fields(field))
            if any(key == 4 and bytes(value) in _WITH_GRAPHS for key, value in parts):
                return graph
            inputs = [bytes(value).decode() for key, value in parts if key == 1]
            nodes.update({bytes(value).decode(): inputs for key, value in parts if key == 3})
            uses.update(inputs)
    numbers = {name: number for number, name in enumerate(initializers)}
    layers = []
    for layer in graph.layers:
        recipes = {}
        for attribute, name in _names(layer, nodes):
            value, given = layer.attributes[attribute], initializers.get(name)
            if given is not None and value is not None and given.is_same(value):
                recipes[attribute] = _part(value.dtype, numbers[name], tuple(value.shape))
                uses[name] -= 1
        layers.append(dataclasses.replace(layer, recipes=recipes) if recipes else layer)
    whole = {name: _part(each.dtype, numbers[name], each.shape) for name, each in initializers.items()}
    program = Program(
        sources=tuple(Source(name, part) for name, part in whole.items()),
        unused=(),
        literals={},
        sizes={numbers[name]: len(each.raw) for name, each in initializers.items()},
        steps=(),
        reads=tuple((whole[name], each.values()) for name, each in initializers.items() if uses[name] > 0),
    )
    return dataclasses.replace(graph, layers=tuple(layers), program=program)


def _names(layer: Layer, nodes: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """The attributes of a layer that may be initializers, with their names: the parser names layers after nodes."""
    if layer.type == "CONSTANT":
        yield "weights", layer.name
    elif layer.type in ("CONVOLUTION", "DECONVOLUTION"):
        yield from zip(("kernel", "bias"), nodes.get(layer.name, [])[1:], strict=False)


def _part(dtype: torch.dtype, number: int, shape: tuple[int, ...]) -> Part:
    stride = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return Part(dtype, number, shape, stride, 0)


# -- protocol buffers -----------------------------------------------------------------------------


def _initializer(data: memoryview) -> _Initializer | None:
    """A TensorProto, if its values are in the file and of a type that torch has."""
    shape: list[int] = []
    dtype, name, raw = None, "", None
    for number, value in _fields(data):
        if number == 1:
            shape += [value] if isinstance(value, int) else _varints(value)
        elif number == 2:
            dtype = _DTYPES.get(value)
        elif number == 8:
            name = bytes(value).decode()
        elif number == 9 or (number == 4 and not isinstance(value, int)):
            raw = value
    if dtype is None or raw is None or len(raw) != math.prod(shape) * dtype.itemsize:
        return None
    return _Initializer(name, dtype, tuple(shape), raw)


def _only(data: memoryview, wanted: int) -> memoryview:
    return next((value for number, value in _fields(data) if number == wanted), memoryview(b""))


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a message: numbers, or the bytes of those with a length."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            size, place = _varint(data, place)
        yield key >> 3, data[place : place + size]
        place += size


def _varints(data: memoryview) -> list[int]:
    result, place = [], 0
    while place < len(data):
        value, place = _varint(data, place)
        result.append(value)
    return result


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = data[place]
        value |= (octet & 127) << shift
        place, shift = place + 1, shift + 7
        if octet < 128:
            return value, place
