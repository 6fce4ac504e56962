"""The classes of containers: which may be taken apart, and how they are named in what is saved."""

from __future__ import annotations

import collections
import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from trtconv.dtypes import of_name


@functools.lru_cache(maxsize=1024)
def is_transparent(cls: type) -> bool:
    """Whether the instances of a class are what their attributes are: it has no say in how they are made or copied."""
    return (
        all(getattr(cls, name, None) is getattr(object, name, None) for name in _MAKING)
        and cls.__dictoffset__ != 0
        and not any(vars(base).get("__slots__") for base in cls.__mro__)
        and not issubclass(cls, (torch.nn.Module, type))
    )


def is_object(cls: type) -> bool:
    """Whether the instances of a class are containers of their attributes: nobody has said that they are others."""
    return is_transparent(cls) and cls not in pytree.SUPPORTED_NODES and not dataclasses.is_dataclass(cls)


_MAKING = ("__new__", "__reduce__", "__reduce_ex__", "__getstate__")


def name_parts(cls: Any) -> list[str]:
    return [cls.__module__, cls.__qualname__]


def encode_beside(value: Any) -> Any:
    return name_parts(value) if isinstance(value, type) else value and {type(value).__name__: str(value)}


def decode_beside(value: Any) -> Any:
    if isinstance(value, list):
        return loaded_class(*value) or type(value[1].rpartition(".")[2], (), {})
    if value is not None and "device" in value:
        return torch.device(value["device"])
    return value and of_name(value["dtype"].removeprefix("torch."))


def return_type(name: str, count: int) -> Any:
    """The class of `torch.return_types` of this name, with as many fields."""
    found = vars(torch.return_types).get(name)
    if not (isinstance(found, type) and issubclass(found, tuple) and getattr(found, "n_sequence_fields", -1) == count):
        raise ValueError(f"torch.return_types has no {name!r} of {count} fields")
    return found


def loaded_class(module: str, qualname: str) -> Any:
    """The class of this name if its module is loaded: nothing is imported, or run, for a saved name."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found


def is_such(kind: str, cls: Any, keys: tuple[str, ...]) -> bool:
    """Whether a class is of the kind that was saved, and can hold the same fields."""
    if not isinstance(cls, type):
        return False
    if kind == "namedtuple":
        return issubclass(cls, tuple) and getattr(cls, "_fields", None) == keys
    if kind == "object":
        return is_transparent(cls)
    names = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    return set(keys) <= names and issubclass(cls, collections.OrderedDict) is (kind == "output")


class _Output(collections.OrderedDict[str, Any]):
    """A mapping whose values are attributes, and items by number too."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {', '.join(self)}")

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else tuple(self.values())[key]


STAND_INS: dict[str, Callable[[str, tuple[str, ...]], Any]] = {
    "namedtuple": collections.namedtuple,
    "dataclass": dataclasses.make_dataclass,
    "output": lambda name, fields: type(name, (_Output,), {}),
    "object": lambda name, fields: type(name, (), {}),
}
"""Classes for saved structures whose own class isn't loaded."""
