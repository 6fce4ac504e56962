"""Nested containers of tensors and plain values: how they are taken apart, put together and saved."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from trtconv.calling.classes import (
    STAND_INS,
    decode_beside,
    encode_beside,
    is_object,
    is_such,
    loaded_class,
    name_parts,
    return_type,
)
from trtconv.errors import ConversionError

PLAIN = (bool, int, float, str, type(None))
"""The types of values that a structure keeps, beside tensors; bool comes before int, which it is too."""


@dataclasses.dataclass(frozen=True)
class TensorIndex:
    """Stands in a structure for the tensor at this place of a list."""

    index: int


@dataclasses.dataclass(frozen=True)
class Nesting:
    """The containers around some leaves.

    Attributes:
        kind: "leaf", "tuple" and so on: a key of `_KINDS`.
        cls: The container's class; None for a leaf.
        keys: For containers with keys or fields, these, in order.
        children: What the container holds, in order.
        context: For a class that is registered with torch's pytree, what it needs beside the children; for an object
            the attributes that are no children: (name, value), where None is the device that its tensors are on.
    """

    kind: str
    cls: Any = None
    keys: tuple[Any, ...] = ()
    children: tuple[Nesting, ...] = ()
    context: Any = None

    def fill(self, leaves: Iterator[Any]) -> Any:
        """The containers with the next leaves in their places."""
        if self.kind == "leaf":
            return next(leaves)
        return _KINDS[self.kind](self, [child.fill(leaves) for child in self.children])


LEAF = Nesting("leaf")


def _new_dataclass(nesting: Nesting, values: list[Any]) -> Any:
    """An instance with these fields; its own initialization ran when the module made the original."""
    result = object.__new__(nesting.cls)
    for name, value in zip(nesting.keys, values, strict=True):
        object.__setattr__(result, name, value)
    return result


def _new_object(nesting: Nesting, values: list[Any]) -> Any:
    """An object with these attributes, made as `copy.copy` makes them."""
    result = object.__new__(nesting.cls)
    device = next((value.device for value in values if isinstance(value, torch.Tensor)), None)
    result.__dict__.update({name: device if value is None else value for name, value in nesting.context})
    result.__dict__.update(zip(nesting.keys, values, strict=True))
    return result


_KINDS: dict[str, Callable[[Nesting, list[Any]], Any]] = {
    "tuple": lambda nesting, values: tuple(values),
    "list": lambda nesting, values: values,
    "size": lambda nesting, values: torch.Size(values),
    "dict": lambda nesting, values: dict(zip(nesting.keys, values, strict=True)),
    "OrderedDict": lambda nesting, values: collections.OrderedDict(zip(nesting.keys, values, strict=True)),
    "namedtuple": lambda nesting, values: nesting.cls(*values),
    "return_type": lambda nesting, values: nesting.cls(values),
    "dataclass": _new_dataclass,
    "object": _new_object,
    "output": lambda nesting, values: nesting.cls(**dict(zip(nesting.keys, values, strict=True))),
    "node": lambda nesting, values: pytree.SUPPORTED_NODES[nesting.cls].unflatten_fn(values, nesting.context),
}
"""How containers are put together. "output" is a dataclass that is a mapping too, as transformers' ModelOutput."""


def children_of(value: Any) -> tuple[Nesting, list[Any]] | None:
    """A container's kind, class and keys, without its children's nesting, and its children; None for a leaf."""
    cls = type(value)
    if dataclasses.is_dataclass(value) and isinstance(value, Mapping):
        return Nesting("output", cls, tuple(value.keys())), list(value.values())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return Nesting("namedtuple", cls, value._fields), list(value)
    if isinstance(value, tuple) and hasattr(value, "n_sequence_fields"):  # torch.return_types
        return Nesting("return_type", cls), list(value)
    if cls in (tuple, list):
        return Nesting(cls.__name__, cls), list(value)
    if cls is torch.Size:
        return Nesting("size", cls), list(value)
    if cls in (dict, collections.OrderedDict):
        return Nesting(cls.__name__, cls, tuple(value)), list(value.values())
    if cls in pytree.SUPPORTED_NODES:
        children, context = pytree.SUPPORTED_NODES[cls].flatten_fn(value)
        return Nesting("node", cls, context=context), list(children)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = tuple(field.name for field in dataclasses.fields(value) if hasattr(value, field.name))
        return Nesting("dataclass", cls, names), [getattr(value, name) for name in names]
    return _attributes_of(value) if is_object(cls) else None


BESIDE = (torch.device, torch.dtype, type)
"""What objects may have as attributes that are neither leaves nor containers."""


def _attributes_of(value: Any, above: tuple[int, ...] = ()) -> tuple[Nesting, list[Any]] | None:
    """An object as a container of its attributes; None if one of them can't be in a structure."""
    attributes = dict(sorted(vars(value).items()))
    if id(value) in above or not all(_can_be_inside(each, (*above, id(value))) for each in attributes.values()):
        return None
    inside = {name: each for name, each in attributes.items() if not isinstance(each, BESIDE)}
    follows = any(isinstance(each, torch.Tensor) for each in inside.values())
    beside = tuple(
        (name, None if follows and isinstance(each, torch.device) else each)
        for name, each in attributes.items()
        if name not in inside
    )
    return Nesting("object", type(value), tuple(inside), context=beside), list(inside.values())


def _can_be_inside(value: Any, above: tuple[int, ...]) -> bool:
    if isinstance(value, (*PLAIN, *BESIDE, torch.Tensor)):
        return True
    if type(value) in (tuple, list, dict, collections.OrderedDict):
        return all(_can_be_inside(each, above) for each in (value.values() if isinstance(value, dict) else value))
    return _attributes_of(value, above) is not None if is_object(type(value)) else children_of(value) is not None


def take_apart(value: Any, like: Nesting | None = None) -> tuple[list[Any], Nesting]:
    """The leaves of nested containers, and the nesting.

    `like` gives the order of the keys of dicts, where it has the same keys.
    """
    found = children_of(value)
    if found is None:
        return [value], LEAF
    nesting, values = found
    if like is not None and nesting.keys != like.keys and set(nesting.keys) == set(like.keys):
        values = [value[key] for key in like.keys] if isinstance(value, Mapping) else values
        nesting = dataclasses.replace(nesting, keys=like.keys)
    models = like.children if like is not None and len(like.children) == len(values) else [None] * len(values)
    leaves: list[Any] = []
    children = []
    for child, model in zip(values, models, strict=True):
        inner, inner_nesting = take_apart(child, model)
        leaves += inner
        children.append(inner_nesting)
    return leaves, dataclasses.replace(nesting, children=tuple(children))


def paths_of_leaves(named: Iterable[tuple[Any, Any]]) -> list[tuple[tuple[Any, ...], Any]]:
    """The leaves of named containers in order, each with its path: the name, then a key or number for each level."""
    found: list[tuple[tuple[Any, ...], Any]] = []
    for name, value in named:
        inner = children_of(value)
        if inner is None:
            found.append(((name,), value))
            continue
        nesting, children = inner
        keyed = zip(nesting.keys or range(len(children)), children, strict=True)
        found += [((name, *path), leaf) for path, leaf in paths_of_leaves(keyed)]
    return found


def shown_path(path: Sequence[Any]) -> str:
    """A path as Python writes it: "mask", "pair['b'][0]"."""
    return str(path[0]) + "".join(f"[{key!r}]" for key in path[1:])


def as_plain(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor without the class of its own that only marks what it shows, as torchvision's images have."""
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter)
    if plain or type(tensor).__torch_dispatch__ not in _NO_DISPATCH:
        return tensor
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.as_subclass(torch.Tensor)


_NO_DISPATCH = (torch.Tensor.__torch_dispatch__, torch._C._disabled_torch_dispatch_impl)


def same_value(value: Any, expected: Any) -> bool:
    """Whether two plain values are the same: 1, 1.0 and True differ, as their types do in torch's arithmetic."""
    kind = _kind_of(expected)
    if kind is None or kind is not _kind_of(value):
        return False
    return repr(float(value)) == repr(float(expected)) if kind is float else bool(value == expected)


def _kind_of(value: Any) -> type | None:
    """The plain type that a value is of; bool before int, which it is too."""
    return next((kind for kind in PLAIN if isinstance(value, kind)), None)


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """New containers with `function(leaf)` in the place of each leaf."""
    leaves, nesting = take_apart(value)
    return nesting.fill(map(function, leaves))


@dataclasses.dataclass(frozen=True)
class Structure:
    """Nested containers with tensors and plain values in them.

    Attributes:
        nesting: The containers.
        leaves: For each leaf the index of its tensor in a `TensorIndex`, or its value.
    """

    nesting: Nesting
    leaves: tuple[Any, ...]

    @staticmethod
    def of(value: Any, what: str) -> tuple[Structure, list[torch.Tensor]]:
        """Take nested containers apart; return the structure and its tensors in order.

        Raises:
            ConversionError: a leaf is neither a tensor nor a plain value.
        """
        leaves, nesting = take_apart(value)
        tensors: list[torch.Tensor] = []
        kept: list[Any] = []
        for leaf in leaves:
            if isinstance(leaf, torch.Tensor):
                kept.append(TensorIndex(len(tensors)))
                tensors.append(leaf)
            elif isinstance(leaf, PLAIN):
                kept.append(leaf)
            elif isinstance(leaf, (torch.SymInt, torch.SymFloat, torch.SymBool)):
                raise ConversionError(_A_SIZE.format(what=what))
            else:
                raise ConversionError(_NOT_A_LEAF.format(what=what, kind=_name_of(type(leaf))))
        return Structure(nesting, tuple(kept)), tensors

    @staticmethod
    def of_tensors(count: int, *, single: bool = False) -> Structure:
        """The structure of a tuple of tensors, or of one tensor that isn't in a tuple."""
        leaves = tuple(map(TensorIndex, range(count)))
        return Structure(LEAF if single else Nesting("tuple", tuple, children=(LEAF,) * count), leaves)

    def fill(self, tensors: Sequence[Any]) -> Any:
        """The containers with these tensors in their places."""
        return self.nesting.fill(tensors[x.index] if isinstance(x, TensorIndex) else x for x in self.leaves)

    def to_json(self) -> dict[str, Any]:
        """The structure as JSON values.

        Raises:
            ValueError: it has containers of a class that only this process knows how to put together.
        """
        leaves = [{"tensor": x.index} if isinstance(x, TensorIndex) else {"value": x} for x in self.leaves]
        return {"nesting": _encode(self.nesting), "leaves": leaves}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Structure:
        """The inverse of `to_json`.

        Raises:
            ValueError: the leaves aren't as many as the nesting has, or no plain values.
        """
        leaves = tuple(TensorIndex(x["tensor"]) if "tensor" in x else x["value"] for x in data["leaves"])
        nesting = _decode(data["nesting"])
        odd = [x for x in leaves if not isinstance(x.index if isinstance(x, TensorIndex) else x, PLAIN)]
        if odd or _leaf_count(nesting) != len(leaves):
            raise ValueError(f"a nesting of {_leaf_count(nesting)} leaves has the leaves {str(leaves)[:200]}")
        return Structure(nesting, leaves)

    def check_tensors(self, count: int) -> None:
        """Raise `ValueError` unless the tensors of the structure are those of a list of this length."""
        used = {x.index for x in self.leaves if isinstance(x, TensorIndex)}
        if used - set(range(count)):
            raise ValueError(f"a structure names the tensors {sorted(map(str, used))}; there are {count}")


def _leaf_count(nesting: Nesting) -> int:
    return 1 if nesting.kind == "leaf" else sum(map(_leaf_count, nesting.children))


def _name_of(cls: Any) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _encode(nesting: Nesting) -> Any:
    """A nesting as JSON values; "*" is a leaf."""
    if nesting.kind == "leaf":
        return "*"
    if nesting.kind == "node":
        raise ValueError(
            f"containers of type {_name_of(nesting.cls)} can't be saved; tuples, lists, dicts, named tuples and "
            "dataclasses can. Return one of these from the module, or keep the converted module in this process"
        )
    data: dict[str, Any] = {nesting.kind: [_encode(child) for child in nesting.children]}
    if nesting.keys:
        data["keys"] = list(nesting.keys)
    if nesting.kind in (*STAND_INS, "return_type"):
        data["class"] = name_parts(nesting.cls)
    if nesting.kind == "object":
        data["beside"] = [[name, encode_beside(value)] for name, value in nesting.context]
    return data


def _decode(data: Any) -> Nesting:
    if data == "*":
        return LEAF
    kind = next(iter(data))
    keys = tuple(data.get("keys", ()))
    children = tuple(_decode(child) for child in data[kind])
    if kind == "return_type":
        return Nesting(kind, return_type(data["class"][1], len(children)), keys, children)
    if kind in STAND_INS:
        if len(keys) != len(children) or not all(isinstance(key, str) and key.isidentifier() for key in keys):
            raise ValueError(f"a saved {kind} has {len(children)} values for the fields {keys}")
        found = loaded_class(*data["class"])
        if not is_such(kind, found, keys):
            found = STAND_INS[kind](data["class"][1].rpartition(".")[2], keys)
        beside = tuple((str(name), decode_beside(value)) for name, value in data.get("beside", ()))
        return Nesting(kind, found, keys, children, beside if kind == "object" else None)
    if kind not in _KINDS or kind == "node":
        raise KeyError(kind)
    if kind in ("dict", "OrderedDict") and len(set(keys)) != len(children):
        raise ValueError(f"a saved {kind} has {len(children)} values for the keys {keys}")
    return Nesting(kind, {"tuple": tuple, "list": list, "size": torch.Size}.get(kind, dict), keys, children)


_A_SIZE = (
    "{what} holds a number that follows from a dynamic size; an engine returns tensors. Return a tensor with this size "
    "and read it there (result.shape), or make a tensor of the number (torch.tensor)"
)

_NOT_A_LEAF = (
    "{what} holds a {kind}; allowed are tensors, None, bool, int, float and str in nested tuples, lists, dicts, named "
    "tuples and dataclasses, objects with such attributes, and classes that are registered as containers "
    "(torch.utils._pytree.register_pytree_node)"
)
