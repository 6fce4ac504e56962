"""What a registration names, and whether calls of it can be intercepted."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType, WrapperDescriptorType
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket

from trtconv.capture.names import canonical_name, property_name


def interceptable(target: Any) -> Callable[..., Any]:
    """The function whose calls a registration of `target` means: of a class of modules, its forward.

    Raises:
        ValueError: its calls can't be intercepted; the message says what to register instead.
    """
    if isinstance(target, OpOverload) or property_name(target) is not None or _is_c_function_of_torch(target):
        return target  # type: ignore[no-any-return]  # checked just above
    if isinstance(target, OpOverloadPacket):
        overloads = ", ".join(name or "default" for name in target._overload_names)
        raise ValueError(f"{target} has overloads; name one of them: {overloads}")
    if isinstance(target, type):
        return _forward_of(target)
    if isinstance(target, (staticmethod, classmethod, MethodType)):
        return interceptable(target.__func__)
    if not isinstance(target, FunctionType):
        raise ValueError(f"calls of {target!r} can't be intercepted: {_instead(target)}")
    steps = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    if any(check(target) for check in steps):
        raise ValueError(
            f"{canonical_name(target)} is a generator or a coroutine, which runs step by step beside its caller, so "
            "that it is no one call; register a function that it calls"
        )
    return target


def _is_c_function_of_torch(target: Any) -> bool:
    if isinstance(target, BuiltinFunctionType):
        owner = target.__self__
        names = (getattr(owner, "__module__", None) or "", getattr(owner, "__name__", ""), target.__module__ or "")
        return any(name.partition(".")[0] == "torch" for name in names)
    if isinstance(target, (MethodDescriptorType, WrapperDescriptorType)):
        return issubclass(torch.Tensor, target.__objclass__)
    return False


def _forward_of(cls: type) -> Callable[..., Any]:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if not issubclass(cls, torch.nn.Module):
        raise ValueError(
            f"{name} is a class, but none of modules (torch.nn.Module); register a function, a class of modules, or "
            "the method that is called, by its own name"
        )
    owner = next(each for each in cls.__mro__ if "forward" in vars(each))
    if owner is torch.nn.Module:
        raise ValueError(f"{name} has no forward; register a class of modules that has one")
    if owner is not cls:
        inherited = f"{owner.__module__}.{owner.__qualname__}"
        raise ValueError(
            f"{name} has its forward from {inherited}: register {inherited}, whose converter gets the module as "
            "ctx.method_args[0] and can ask for its type"
        )
    return interceptable(vars(cls)["forward"])


def _instead(target: Any) -> str:
    if isinstance(target, (functools.partial, functools.partialmethod)):
        return f"it is a partial; register the function in it, {_name(target.func)}"
    if isinstance(target, torch.nn.Module):
        return f"it is a module; register its class, {_name(type(target))}"
    inner = getattr(target, "__wrapped__", None)
    if inner is not None:
        return "it wraps a function; register that one, its __wrapped__"
    if isinstance(target, (torch.jit.ScriptFunction, torch.jit.ScriptModule)):
        return "it is scripted; register the function in Python that it was made of, and call that"
    return "it isn't written in Python, nor is it PyTorch's; register a function in Python that calls it"


def _name(target: Any) -> str:
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', type(target).__name__)}"
