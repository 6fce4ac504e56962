"""Which function converts which call.

A converter is registered under a function of torch, a function of the user's, or an ATen overload.
Two forms are known: the short form of the built-in ones, torch arguments to TensorRT tensors,

    @converter(aten.relu.default)
    def relu(net, x):
        return net.activation(x, RELU)

and the form of torch2trt, which reads its arguments from a context and leaves its results there:

    @tensorrt_converter("torch.relu")
    def convert_relu(ctx):
        layer = ctx.network.add_activation(ctx.method_args[0]._trt, trt.ActivationType.RELU)
        ctx.method_return._trt = layer.get_output(0)
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch._ops import OpOverload

from trtconv.capture.names import canonical_name, resolve
from trtconv.capture.targets import interceptable
from trtconv.capture.trace import Target
from trtconv.places import place

_BUILT_IN = "trtconv.converters"
"""The package whose modules register the library's own converters, as a user's modules register theirs."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class Converter:
    """A registered converter.

    Attributes:
        key: The canonical name of what it converts.
        function: The converter as written.
        uses_context: True for the form with a context, False for the short form.
        target: The function or overload that was named at registration; of an overload that may not be there, the
            name.
        name: The dotted name that was given at registration, which may stand for another function by now.
    """

    key: str
    function: Callable[..., Any]
    uses_context: bool
    target: Any
    name: str | None = None


class Registry:
    """Converters by the canonical name of what they convert."""

    def __init__(self) -> None:
        self._converters: dict[str, Converter] = {}

    def add(self, converter: Converter) -> None:
        """Register a converter.

        Raises:
            ValueError: another function is registered for the same key.
        """
        known = self._converters.get(converter.key)
        if known is not None and not _is_rerun(known.function, converter.function):
            raise ValueError(
                f"{converter.key} has a converter already: {describe(known.function)}; "
                f"remove it with trtconv.unregister({converter.key!r}) before registering "
                f"{describe(converter.function)}"
            )
        self._converters[converter.key] = converter

    def remove(self, key: str) -> None:
        """Forget the converter of `key`.

        Raises:
            KeyError: there is none.
        """
        del self._converters[key]

    def get(self, key: str) -> Converter | None:
        """The converter of `key`, or None."""
        return self._converters.get(key)

    def converters(self) -> list[Converter]:
        """All converters, sorted by key."""
        return [self._converters[key] for key in sorted(self._converters)]


BUILT_IN = Registry()
USER = Registry()
"""Converters of the user's; they come before the built-in ones."""


def find(target: Target) -> Converter | None:
    """The converter for a call of `target`: the user's before the built-in one, None if there is none.

    An ATen overload without a converter of its own is converted as the torch function of its name:
    what an in-place call or a C++ function runs arrives as such an overload.
    """
    _load_built_in()
    key = canonical_name(target)
    candidates = [USER.get(key), BUILT_IN.get(key)]
    if isinstance(target, OpOverload) and target.namespace == "aten":
        name = f"torch.{target._schema.name.removeprefix('aten::')}"
        candidates = [USER.get(name), *candidates, BUILT_IN.get(name)]
    found = next((candidate for candidate in candidates if candidate is not None), None)
    return found or _of_function(target)


def _of_function(target: Target) -> Converter | None:
    """The converter of the function whose body a composite ATen operator is, if it takes the operator's arguments.

    Traces that come from elsewhere, of torch.export for one, have such operators in the place of the functions.
    """
    if not isinstance(target, OpOverload) or target.namespace != "aten":
        return None
    name = target._schema.name.removeprefix("aten::")
    for key in (f"torch.nn.functional.{name}", f"torch.{name}"):
        found = USER.get(key) or BUILT_IN.get(key)
        if found is not None and (found.uses_context or _takes_arguments(found.function, target)):
            return found if _is_composite(target) else None
    return None


def _is_composite(target: OpOverload) -> bool:
    try:
        name = target.name()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")
    except RuntimeError:  # TorchScript's alone
        return False


def _takes_arguments(function: Callable[..., Any], target: OpOverload) -> bool:
    """Whether a function's parameters after the network are an operator's arguments, whatever the first is called."""
    _, *given = inspect.signature(function).parameters.values()
    if [each.kind for each in given] == [inspect.Parameter.VAR_POSITIONAL]:
        return True
    return [each.name for each in given[1:]] == [each.name for each in target._schema.arguments[1:]]


def built_in() -> list[Converter]:
    """The built-in converters, sorted by key."""
    _load_built_in()
    return BUILT_IN.converters()


def takes(target: Target) -> bool:
    """Tell whether calls of a function are recorded whole, for a converter of that very function."""
    _load_built_in()
    key = canonical_name(target)
    return USER.get(key) is not None or BUILT_IN.get(key) is not None or _of_function(target) is not None


def converter(*targets: Target | str) -> Callable[[_Function], _Function]:
    """Register a built-in converter of the short form for functions or ATen overloads.

    An overload that needn't be there is given by its name: one of a library that needn't be installed,
    ``"torchvision.nms.default"``, or one that the oldest release of PyTorch lacks, ``"aten.hash_tensor.default"``.

    The decorated function is called with the network builder and the call's arguments by the names of
    the schema, and returns TensorRT tensors nested as the call's results; for a result that is seldom
    used, a function that adds its layers, or None where it has none. It raises
    `UnsupportedArgumentError` on arguments that it can't express; an argument that it doesn't name
    must have its default value.
    """

    def register(function: _Function) -> _Function:
        for target in targets:
            key = f"torch.ops.{target}" if isinstance(target, str) else canonical_name(target)
            BUILT_IN.add(Converter(key, function, uses_context=False, target=target))
        return function

    return register


def tensorrt_converter(method: str | Target, *, enabled: bool = True) -> Callable[[_Function], _Function]:
    """Register a converter for calls of a function, as torch2trt's decorator of the same name.

    The converter is called with a context that has `network` (a `trt.INetworkDefinition`, whose layers
    get names and origins), `method_args` and `method_kwargs` (the call's arguments; every tensor
    has its TensorRT tensor as `_trt`) and `method_return` (the call's result; the converter sets
    `_trt` of each tensor in it). It fires for every way to call the function: a converter of
    ``torch.relu`` for `torch.relu`, `torch.nn.functional.relu`, `torch.Tensor.relu`, the in-place forms
    and `torch.nn.ReLU`.

    Args:
        method: The function or its dotted name: ``"torch.relu"``, ``"torch.Tensor.view"``, a function of
            one's own, ``"torch.ops.aten.relu.default"``. A function in Python is intercepted itself, whatever
            name, dict, closure or partial holds it; a name is looked up again by each conversion. A class of modules,
            ``"torch.nn.Conv2d"``, or its forward takes each such module whole, those of subclasses too that inherit
            the forward; the module comes first in `method_args`.
        enabled: False leaves the function without this converter.

    Raises:
        ValueError: there is no such function, its calls can't be intercepted, or it has a converter of the user's
            already.
    """
    target = interceptable(resolve(method) if isinstance(method, str) else method)
    name = method if isinstance(method, str) else None

    def register(function: _Function) -> _Function:
        if enabled:
            USER.add(Converter(canonical_name(target), function, uses_context=True, target=target, name=name))
        return function

    return register


def unregister(method: str | Target) -> None:
    """Forget the user's converter of a function, which is given as to `tensorrt_converter`, or as errors name it.

    Raises:
        KeyError: the function has no converter of the user's.
    """
    if isinstance(method, str) and USER.get(method) is not None:
        return USER.remove(method)
    USER.remove(canonical_name(interceptable(resolve(method) if isinstance(method, str) else method)))


def users_functions() -> list[Target]:
    """The functions that the user's converters were registered for, as their names stand for now.

    Raises:
        ValueError: a name stands for another function than at registration, so that its converter would never be used.
    """
    return [_current_target(converter) for converter in USER.converters()]


def _current_target(converter: Converter) -> Any:
    if converter.name is None:
        return converter.target
    target = interceptable(resolve(converter.name))
    if canonical_name(target) != converter.key:
        raise ValueError(
            f"{converter.name!r} was {converter.key} when its converter {describe(converter.function)} was "
            f"registered, and is {canonical_name(target)} now; register the converter again, after "
            f"trtconv.unregister({converter.key!r})"
        )
    return target


def defaults(target: OpOverload) -> dict[str, Any]:
    """The default values of an ATen overload's arguments; None for those that have none."""
    return {argument.name: argument.default_value for argument in target._schema.arguments}


@functools.cache
def parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a converter's parameters after the network builder."""
    return tuple(inspect.signature(function).parameters)[1:]


@functools.cache
def _load_built_in() -> None:
    family = importlib.import_module(_BUILT_IN)
    for module in pkgutil.iter_modules(family.__path__):
        importlib.import_module(f"{_BUILT_IN}.{module.name}")


def _is_rerun(known: Callable[..., Any], new: Callable[..., Any]) -> bool:
    """A notebook's cell is run again: the same function, defined anew."""
    return (known.__module__, known.__qualname__) == (new.__module__, new.__qualname__)


def describe(function: Callable[..., Any]) -> str:
    """A converter's name and where it is defined."""
    code = getattr(function, "__code__", None)
    where = f" ({place(code.co_filename, code.co_firstlineno)})" if code else ""
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}{where}"
