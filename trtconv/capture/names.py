"""Canonical names of torch functions, so that one name stands for all the ways to call one function."""

from __future__ import annotations

import builtins
import functools
import importlib
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket

_OPERATORS = {
    "__add__": "add",
    "__and__": "bitwise_and",
    "__eq__": "eq",
    "__ge__": "ge",
    "__gt__": "gt",
    "__invert__": "bitwise_not",
    "__le__": "le",
    "__lt__": "lt",
    "__matmul__": "matmul",
    "__mul__": "mul",
    "__ne__": "ne",
    "__neg__": "neg",
    "__or__": "bitwise_or",
    "__pow__": "pow",
    "__sub__": "sub",
    "__truediv__": "div",
    "__xor__": "bitwise_xor",
    "absolute": "abs",
    "arccos": "acos",
    "arcsin": "asin",
    "arctan": "atan",
    "clip": "clamp",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "multiply": "mul",
    "negative": "neg",
    "not_equal": "ne",
    "subtract": "sub",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "true_divide": "div",
}


_C_FUNCTIONS = (BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType)


@functools.cache
def canonical_name(target: Callable[..., Any]) -> str:
    """The name under which a function is known to the registry.

    ``torch.relu``, ``torch.Tensor.relu`` and their in-place forms are ``torch.relu``; operators and
    the names that torch documents as aliases are what they stand for; ``torch._C._nn.gelu`` is
    ``torch.nn.functional.gelu``, ``torch._C._fft.fft_rfft`` is ``torch.fft.rfft``; an ATen overload is
    ``torch.ops.aten.relu.default``; any other Python function is its module and qualified name, and a lambda has its
    line beside them.
    """
    if isinstance(target, OpOverload):
        return f"torch.ops.{target}"
    if isinstance(target, OpOverloadPacket):
        return f"torch.ops.{target}".replace("::", ".")
    attribute = property_name(target)
    if attribute is not None:
        return f"torch.Tensor.{attribute}"
    name: str = getattr(target, "__name__", type(target).__name__)
    name = _OPERATORS.get(name, name)
    if isinstance(target, _C_FUNCTIONS) or _is_tensor_method(target):
        if name.endswith("_") and not name.endswith("__"):
            name = name[:-1]
        if _owner(target) == "torch._C._nn":
            return f"torch.nn.functional.{name}"
        for module in ("fft", "linalg", "special"):
            if _owner(target) == f"torch._C._{module}":
                return f"torch.{module}.{name.removeprefix(f'{module}_')}"
        return f"torch.{name}" if _is_function_of(torch, name) else f"torch.Tensor.{name}"
    module = (target.__module__ or "").replace("torch.functional", "torch")
    name = f"{module}.{getattr(target, '__qualname__', name)}"
    return f"{name}:{target.__code__.co_firstlineno}" if name.endswith("<lambda>") else name


def property_name(target: Callable[..., Any]) -> str | None:
    """The name of the tensor property whose getter `target` is, or None."""
    if getattr(target, "__name__", "") != "__get__":
        return None
    return getattr(getattr(target, "__self__", None), "__name__", None)


def _owner(target: Callable[..., Any]) -> str:
    owner = getattr(target, "__self__", None)
    return getattr(owner, "__name__", "") if owner is not None else ""


def _is_function_of(module: Any, name: str) -> bool:
    return callable(getattr(module, name, None))


def _is_tensor_method(target: Callable[..., Any]) -> bool:
    return isinstance(target, FunctionType) and target.__module__ == "torch._tensor"


def is_inplace(target: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    """Tell by torch's conventions whether a call writes to one of its arguments."""
    name: str = getattr(target, "__name__", "")
    if name.startswith("__"):
        return name == "__setitem__" or (name.startswith("__i") and f"__{name[3:]}" in _OPERATORS)
    return (
        (name.endswith("_") and not name.endswith("__")) or kwargs.get("out") is not None or bool(kwargs.get("inplace"))
    )


def resolve(name: str) -> Callable[..., Any]:
    """The object that a dotted name stands for.

    Raises:
        ValueError: there is no such module or attribute, or it can't be called.
    """
    parts = name.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[split:]:
            if not hasattr(value, attribute):
                raise ValueError(f"{name!r}: {value!r} has no attribute {attribute!r}")
            value = getattr(value, attribute)
        if not callable(value):
            raise ValueError(f"{name!r} is {builtins.type(value).__name__}, not a function")
        return value  # type: ignore[no-any-return]  # checked just above
    raise ValueError(f"{name!r}: no module of that name can be imported; give the full dotted name")
