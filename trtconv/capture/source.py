"""What `convert` takes: modules of every kind, functions, and example inputs, made plain for a capture."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from trtconv.calling.structure import as_plain, map_leaves
from trtconv.errors import ConversionError


class FunctionModule(nn.Module):
    """A function as a module: its forward has the function's parameters, its children are the modules that it holds."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        for name, value in _held(function).items():
            if isinstance(value, nn.Module):
                self.add_module(name, value)

        def forward(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        with contextlib.suppress(ValueError):  # a function in C needn't tell its parameters
            forward.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]  # what inspect looks for
        self.forward = forward


def weights_of(module: nn.Module) -> dict[str, tuple[str, torch.Tensor]]:
    """The parameters and buffers by their names, with the names that the user has for them.

    What belongs to the object of a method is called as in that object.
    """
    named = (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    weights = {name: (name, value) for each in named for name, value in each}
    if not isinstance(module, FunctionModule):
        return weights
    of_object = {name: name.removeprefix(f"{_OBJECT}.") for name in weights}
    return {name: (name if short in weights else short, weights[name][1]) for name, short in of_object.items()}


def module_of(source: Any) -> nn.Module:
    """The module to capture for what the caller gave.

    Raises:
        TypeError: it is no module and can't be called, or is one that can't be captured.
        ConversionError: its weights are of a kind that an engine can't hold.
    """
    if isinstance(source, torch.export.ExportedProgram):
        return module_of(source.module())
    original = getattr(source, "_orig_mod", None) or getattr(source, "_torchdynamo_orig_callable", None)
    if original is not None:  # what torch.compile made of it
        return module_of(original)
    if isinstance(source, torch.jit.ScriptFunction):
        raise TypeError(_SCRIPTED.format(what="the function"))
    if isinstance(source, type) or not callable(source):
        made = "; make an instance of it" if isinstance(source, type) else ""
        name = source.__qualname__ if isinstance(source, type) else type(source).__qualname__
        what = f"the class {name}" if isinstance(source, type) else f"a {name}"
        raise TypeError(f"convert takes a module (torch.nn.Module), a function or an ExportedProgram, not {what}{made}")
    if not isinstance(source, nn.Module):
        return FunctionModule(source)
    for path, child in source.named_modules():
        if isinstance(child, torch.jit.ScriptModule):
            raise TypeError(_SCRIPTED.format(what=f"submodule {path!r}" if path else "the module"))
    for name, tensor in (*source.named_parameters(), *source.named_buffers()):
        why = obstacle(tensor)
        if why:
            raise ConversionError(f"{name} is {why}")
    return source


def plain_inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Example inputs as plain tensors: arrays, tensors of classes without data of their own, inference tensors.

    Raises:
        ConversionError: a tensor is of a kind that an engine can't take.
    """
    plain: tuple[tuple[Any, ...], dict[str, Any]] = map_leaves(_plain_input, (args, dict(kwargs)))
    return plain


def _plain_input(leaf: Any) -> Any:
    if type(leaf).__module__ == "numpy":
        return torch.from_numpy(leaf) if hasattr(leaf, "__array_interface__") and leaf.ndim else leaf.item()
    if not isinstance(leaf, torch.Tensor):
        return leaf
    why = obstacle(leaf)
    if why:
        raise ConversionError(f"an example input is {why}")
    leaf = as_plain(leaf)
    return leaf.clone() if leaf.is_inference() else leaf


def obstacle(tensor: torch.Tensor) -> str:
    """Why a tensor can be neither an input nor a weight; empty if it can."""
    if is_lazy(tensor):
        return "an uninitialized parameter of a lazy module: call the module once, then convert it"
    if tensor.is_nested:
        return "a nested tensor: an engine takes one size in each dimension; pad it (torch.nested.to_padded_tensor)"
    if tensor.layout is not torch.strided:
        return f"a sparse tensor ({tensor.layout}): an engine takes dense tensors only; call to_dense() on it"
    if tensor.is_meta:
        return "on the meta device, where tensors have no values: load it on the CPU or a GPU (module.to_empty, load)"
    if tensor.is_quantized:
        return f"a quantized tensor ({tensor.dtype}): call dequantize() on it, or convert the model in floats"
    return ""


def _held(function: Any) -> dict[str, Any]:
    """What a function holds, by name: its object, the variables that it closes over, its defaults."""
    if isinstance(function, MethodType):
        return {**_held(function.__func__), _OBJECT: function.__self__}
    if isinstance(function, functools.partial):
        given = {f"argument_{index}": value for index, value in enumerate(function.args)}
        return {**_held(function.func), **given, **function.keywords}
    if not isinstance(function, FunctionType):
        return {}
    variables = inspect.getclosurevars(function)
    defaults = {p.name: p.default for p in inspect.signature(function).parameters.values()}
    return {**variables.globals, **variables.nonlocals, **defaults}


_OBJECT = "self"
"""The name of a method's object."""

_SCRIPTED = (
    "{what} is scripted or traced (torch.jit), so that its code isn't Python any more; convert what it was made of"
)
