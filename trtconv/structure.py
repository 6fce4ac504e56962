"""Nested containers of tensors and plain values, and how they are saved."""

from __future__ import annotations

import collections
import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from trtconv.capture.forward import OutputIndex
from trtconv.errors import ConversionError

_PLAIN = (bool, int, float, str, type(None))


@dataclasses.dataclass(frozen=True)
class Structure:
    """Nested containers with tensors and plain values in them.

    Attributes:
        spec: The nesting, as `torch.utils._pytree` has it.
        leaves: For each leaf the index of its tensor in an `OutputIndex`, or its value.
    """

    spec: pytree.TreeSpec
    leaves: tuple[Any, ...]

    @staticmethod
    def of(structure: Any, what: str) -> Structure:
        """Take apart containers whose tensors were replaced by `OutputIndex`.

        Raises:
            ConversionError: a leaf is neither a tensor nor a plain value.
        """
        leaves, spec = pytree.tree_flatten(structure)
        for leaf in leaves:
            if not isinstance(leaf, (*_PLAIN, OutputIndex)):
                raise ConversionError(
                    f"{what} holds a {type(leaf).__module__}.{type(leaf).__qualname__}; allowed are tensors, None, "
                    "bool, int, float and str in nested tuples, lists, dicts and named tuples, and classes that "
                    "are registered as containers (torch.export.register_dataclass)"
                )
        return Structure(spec, tuple(leaves))

    def fill(self, tensors: list[torch.Tensor]) -> Any:
        """The containers with these tensors in their places."""
        leaves = [tensors[leaf.index] if isinstance(leaf, OutputIndex) else leaf for leaf in self.leaves]
        return pytree.tree_unflatten(leaves, self.spec)

    def to_json(self) -> dict[str, Any]:
        """The structure as JSON values.

        Raises:
            ValueError: it has containers other than tuples, lists, dicts and named tuples.
        """
        leaves = [{"tensor": x.index} if isinstance(x, OutputIndex) else {"value": x} for x in self.leaves]
        return {"spec": _encode(self.spec), "leaves": leaves}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Structure:
        """The inverse of `to_json`."""
        leaves = tuple(OutputIndex(x["tensor"]) if "tensor" in x else x["value"] for x in data["leaves"])
        return Structure(pytree.tree_structure(_decode(data["spec"])), leaves)


def _encode(spec: pytree.TreeSpec) -> Any:
    """A tree specification as JSON values; "*" is a leaf."""
    if spec.is_leaf():
        return "*"
    children = [_encode(child) for child in spec.children()]
    if spec.type in (tuple, list):
        return {spec.type.__name__: children}
    if spec.type in (dict, collections.OrderedDict):
        return {spec.type.__name__: children, "keys": list(spec.context)}
    if spec.type is collections.namedtuple:
        cls = spec.context
        return {"namedtuple": children, "class": [cls.__module__, cls.__qualname__], "fields": list(cls._fields)}
    raise ValueError(
        f"containers of type {spec.type} can't be saved; tuples, lists, dicts and named tuples can. Return one of "
        "these from the module, or keep the converted module in this process"
    )


def _decode(data: Any) -> Any:
    """Containers of the nesting that `_encode` wrote, with 0 at each leaf."""
    if data == "*":
        return 0
    kind = next(iter(data))
    children = [_decode(child) for child in data[kind]]
    if kind == "namedtuple":
        return _namedtuple_class(data["class"], data["fields"])(*children)
    if kind in ("dict", "OrderedDict"):
        pairs = zip(data["keys"], children, strict=True)
        return dict(pairs) if kind == "dict" else collections.OrderedDict(pairs)
    return tuple(children) if kind == "tuple" else children


def _namedtuple_class(place: list[str], fields: list[str]) -> Any:
    """The class of a saved named tuple if it is loaded, else one like it: nothing is imported for a saved name."""
    module, qualname = place
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, tuple) and getattr(found, "_fields", None) == tuple(fields):
        return found
    name: str = qualname.rpartition(".")[2]
    return collections.namedtuple(name, fields)
