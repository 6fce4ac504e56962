"""Step 2: each call of a trace becomes layers of a network."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch._ops import OpOverload

from trtconv import tensorrt as trt
from trtconv.calling.structure import map_leaves
from trtconv.capture.names import canonical_name
from trtconv.capture.reasons import reason
from trtconv.capture.recorder import current
from trtconv.capture.returned import Returned
from trtconv.capture.trace import (
    Call,
    Origin,
    Trace,
    bind,
    describe,
    is_activation,
    map_tensors,
    tensors_in,
)
from trtconv.dtypes import BYTES, name_of, to_trt
from trtconv.emit import registry
from trtconv.emit.network import Network
from trtconv.emit.registry import Converter
from trtconv.errors import ConversionError, ConverterError, UnsupportedArgumentError, UnsupportedCallsError
from trtconv.graph.data import Graph, Site
from trtconv.shortened import raised_at
from trtconv.sizes import Size, is_static, settled
from trtconv.tensorrt.logger import Messages


def emit(
    trace: Trace,
    input_names: Sequence[str],
    output_names: Sequence[str],
    messages: Messages,
    returned: Sequence[Returned] = (),
) -> Graph:
    """Convert each call of a trace and return the network with its inputs and outputs named.

    `messages` is an open collector of TensorRT's messages. `returned` says what the model's own calls gave.

    Raises:
        UnsupportedCallsError: calls have no converter; the message lists all of them.
        UnsupportedArgumentError: a converter doesn't handle a call's arguments.
        BuildError: TensorRT refused a layer.
        ConverterError: a converter failed, or gave a result that isn't torch's.
    """
    check_supported(trace)
    network = Network(messages)
    for name, value in zip(input_names, trace.inputs, strict=True):
        sizes = settled(value.shape)
        tensor = network.add_input(name, input_type(name, value), tuple(n if is_static(n) else -1 for n in sizes))
        network.bind(value, tensor)
        for axis, size in enumerate(sizes):
            if not is_static(size):
                network.define_symbol(size, tensor, axis)
    dynamic: list[Any] = [size for value in trace.inputs for size in value.shape if isinstance(size, torch.SymInt)]
    environments = {id(each.node.shape_env): each.node.shape_env for each in dynamic}
    readers = trace.consumers()
    for call in map(_as_function, trace.calls):
        with network.converting(call), _sizes_undecided(call, environments.values()):
            convert_call(network, call)
        check_complete(network, call, readers, trace.outputs)
    _mark_outputs(network, trace, output_names)
    graph = network.graph()
    return dataclasses.replace(graph, sites=tuple(_sites(network, returned, graph)))


def _sites(network: Network, returned: Sequence[Returned], graph: Graph) -> Iterator[Site]:
    """The model's calls, with the tensors that carry their results."""
    numbers: Counter[Origin] = Counter()
    for call in returned:
        bound = [None if value is None else network.bound(value) for value in call.tensors]
        names = [None if tensor is None else tensor.name for tensor in bound]
        tensors = tuple(name if name in graph.tensors else None for name in names)
        if any(tensors):
            yield Site(call.origin, numbers[call.origin], tensors)
        numbers[call.origin] += 1


def _as_function(call: Call) -> Call:
    """A call of an operator that the converter of a function takes, as one of that function."""
    converter = registry.find(call.target)
    assert converter is not None  # check_supported has seen to it
    if (
        not isinstance(call.target, OpOverload)
        or converter.uses_context
        or isinstance(converter.target, OpOverload | str)
    ):
        return call
    return dataclasses.replace(call, target=converter.target)


@contextmanager
def _sizes_undecided(call: Call, environments: Collection[Any]) -> Iterator[None]:
    """Refuse a converter that compares a dynamic size in Python, which decides it for all calls."""
    decided = [len(environment.guards) for environment in environments]
    yield
    for environment, count in zip(environments, decided, strict=True):
        if len(environment.guards) > count:
            raise ConverterError(
                f"{call.origin}: the converter of {canonical_name(call.target)} decides by a dynamic size that "
                f"{environment.guards[count].expr}; it has to compare sizes by trtconv.sizes"
            )


def check_supported(trace: Trace) -> None:
    """Raise `UnsupportedCallsError` if any call of a trace has no converter."""
    missing = [call for call in trace.calls if registry.find(call.target) is None]
    if not missing:
        return
    counts = Counter(_function_name(call) for call in missing)
    lines = []
    for name, count in counts.most_common():
        lines.append(f"  {name} ({count} call{'s' if count > 1 else ''})")
        lines += [
            f"    {call.origin}: {describe(call)} -> {', '.join(_type_of(t) for t in call.output_tensors())}"
            for call in missing
            if _function_name(call) == name
        ]
        why = next(reason(call.target) for call in missing if _function_name(call) == name)
        lines += [f"    {why[0].upper()}{why[1:]}."] if why else []
    example = missing[0].origin.function or f"torch.ops.{missing[0].target}"
    raise UnsupportedCallsError(_UNSUPPORTED.format(count=len(missing), lines="\n".join(lines), example=example))


def _function_name(call: Call) -> str:
    target = f"torch.ops.{call.target}" if isinstance(call.target, OpOverload) else str(call.target)
    return f"{call.origin.function}, as {target}" if call.origin.function else target


def _type_of(tensor: torch.Tensor) -> str:
    return f"{name_of(tensor.dtype)}{list(tensor.shape)}"


def input_type(name: str, value: torch.Tensor) -> Any:
    """The `trt.DataType` of an input."""
    try:
        return to_trt(value.dtype)
    except TypeError as error:
        raise ConversionError(f"input {name!r}: {error}") from error


def convert_call(network: Network, call: Call) -> None:
    """Add the layers of a call that has a converter.

    Raises: as `emit`.
    """
    converter = registry.find(call.target)
    assert converter is not None  # check_supported has seen to it
    try:
        _check_dtypes(call)
        if converter.uses_context:
            _run_with_context(converter, network, call)
        else:
            _bind_outputs(network, call, _run(converter, network, call))
    except UnsupportedArgumentError as error:
        raise UnsupportedArgumentError(f"{call.origin}: {describe(call)}: {error}") from error
    except ConversionError as error:
        line = raised_at(error)
        if not line:
            raise
        raise type(error)(f"{error}\nThe layer is added at {line}, by {_named(converter)}") from error
    except Exception as error:
        line = raised_at(error)
        where = f" at {line}" if line else ""
        raise ConverterError(
            f"{call.origin}: {describe(call)}: {_named(converter)}, raised{where} {type(error).__name__}: {error}"
        ) from error
    _check_outputs(network, call, converter)


def _named(converter: Converter) -> str:
    return f"the converter of {converter.key}, {registry.describe(converter.function)}"


def check_complete(network: Network, call: Call, readers: Mapping[int, list[Call]], outputs: list[Any]) -> None:
    """Refuse a converter that leaves out a result which is used."""
    results = call.output_tensors()
    for number, value in enumerate(results):
        if network.is_given(value):
            continue
        users = [f"the call at {reader.origin}" for reader in readers.get(id(value), ())]
        users += ["the module's result" for output in outputs if output is value]
        if users:
            which = f"result {number} of {len(results)}, {_type_of(value)}," if len(results) > 1 else "a result"
            raise _incomplete(call, f"{which} of {describe(call)}, which {users[0]} uses")


def _incomplete(call: Call, what: str) -> ConversionError:
    converter = registry.find(call.target)
    assert converter is not None  # it has run
    if not converter.uses_context:
        return UnsupportedArgumentError(f"{call.origin}: {_named(converter)}, can't give {what}")
    return ConverterError(
        f"{call.origin}: {_named(converter)}, set no _trt for {what}; set _trt of each tensor in ctx.method_return "
        "to the TensorRT tensor that holds it"
    )


def _check_dtypes(call: Call) -> None:
    for value in call.output_tensors()[:1]:  # others needn't be given: the state of a random generator is uint64
        try:
            to_trt(value.dtype)
        except TypeError as error:
            raise UnsupportedArgumentError(f"its result is {_type_of(value)}, and {error}") from error
    kinds = list(dict.fromkeys(name_of(each.dtype) for each in call.input_tensors()))
    if len(kinds) > 1 and canonical_name(call.target) in _PRODUCTS:
        raise UnsupportedArgumentError(
            f"PyTorch takes tensors of one dtype here, not {' and '.join(kinds)}: cast one of them, or convert with an "
            "example input of the weights' dtype"
        )


_PRODUCTS = {
    *("torch.nn.functional.linear", "torch.matmul"),
    *(f"torch.{name}" for name in ("mm", "mv", "dot", "addmm", "addmv")),
    *(f"torch.ops.aten.{name}.default" for name in ("mm", "mv", "dot", "addmm", "addmv", "convolution")),
}
"""PyTorch checks that all operands have one dtype only where they have values."""


def _run(converter: Converter, network: Network, call: Call) -> Any:
    if not isinstance(call.target, OpOverload):
        return converter.function(network, *call.args, **call.kwargs)
    bound = bind(call.target, call.args, call.kwargs)
    for argument in call.target._schema.arguments:
        if str(argument.type) in _NUMBERS:
            bound[argument.name] = network.number(bound[argument.name])
    first, *rest = bound
    given = registry.parameters(converter.function)
    for name in rest:
        if name not in given and bound[name] != registry.defaults(call.target)[name]:
            raise UnsupportedArgumentError(f"argument {name}={bound[name]!r} has no converter")
    return converter.function(network, bound[first], **{name: bound[name] for name in rest if name in given})


_NUMBERS = ("Tensor", "number", "Optional[Tensor]", "Optional[number]")
"""Types of arguments of a schema that may be numbers, other than sizes and dimensions."""


def _bind_outputs(network: Network, call: Call, result: Any) -> None:
    if isinstance(call.output, torch.Tensor):
        result = [result]
    for value, tensor in zip(tensors_in(call.output), result, strict=True):
        if callable(tensor):
            network.bind_later(value, tensor)
        elif tensor is not None:
            network.bind(value, network.tensor(tensor))


@dataclasses.dataclass
class Context:
    """What a converter of the form with a context gets.

    Attributes:
        network: The network; its `add_*` methods are those of `trt.INetworkDefinition`.
        method_args: The call's positional arguments; tensors have their TensorRT tensor as `_trt`, the weights of
            modules too.
        method_kwargs: The call's keyword arguments, likewise.
        method_return: The call's result; the converter sets `_trt` of each tensor in it.
    """

    network: Network
    method_args: tuple[Any, ...]
    method_kwargs: dict[str, Any]
    method_return: Any


class _Constant(torch.Tensor):
    """A real tensor whose constant layer is added when a converter asks for it."""

    _network: Network

    @staticmethod
    def over(value: torch.Tensor, network: Network) -> _Constant:
        result = value.detach().as_subclass(_Constant)
        result._network = network
        return result

    @property
    def _trt(self) -> Any:
        return self._network.tensor(self.as_subclass(torch.Tensor))

    def numpy(self, *, force: bool = False) -> Any:
        recorder = current()
        if recorder is not None:
            recorder.lend(self)
        return super().numpy(force=force)

    def tolist(self) -> Any:
        recorder = current()
        if recorder is not None:
            recorder.read(self)
        return super().tolist()


def _run_with_context(converter: Converter, network: Network, call: Call) -> None:
    def with_trt(value: torch.Tensor) -> torch.Tensor:
        if not is_activation(value):
            return _Constant.over(value, network)
        value._trt = network.tensor(value)  # type: ignore[attr-defined]  # the contract of such converters
        return value

    def module_with_trt(leaf: Any) -> Any:
        return _with_weights(leaf, with_trt) if isinstance(leaf, torch.nn.Module) else leaf

    args, kwargs = map_tensors(with_trt, map_leaves(module_with_trt, (call.args, call.kwargs)))
    for value in call.output_tensors():
        value._trt = None  # type: ignore[attr-defined]  # as above
    converter.function(Context(network, args, kwargs, call.output))
    for value in call.output_tensors():
        tensor = value._trt  # type: ignore[attr-defined]  # as above
        if tensor is None:
            continue
        if not isinstance(tensor, trt.ITensor):
            hint = "; a layer's tensor is layer.get_output(0)" if isinstance(tensor, trt.ILayer) else ""
            raise ConverterError(
                f"{call.origin}: {_named(converter)}, set _trt to {tensor!r}, which is no TensorRT tensor{hint}"
            )
        network.bind(value, tensor)
    if all(value._trt is None for value in call.output_tensors()):  # type: ignore[attr-defined]  # as above
        raise _incomplete(call, f"the result of {describe(call)}")


def _with_weights(module: torch.nn.Module, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.nn.Module:
    """A copy of a module and its children in which `function(tensor)` stands for each parameter and buffer."""
    result: torch.nn.Module = object.__new__(type(module))
    result.__dict__.update(module.__dict__)
    for name in ("_parameters", "_buffers"):
        weights = getattr(module, name)
        result.__dict__[name] = {key: weight if weight is None else function(weight) for key, weight in weights.items()}
    children = module._modules.items()
    result.__dict__["_modules"] = {key: child and _with_weights(child, function) for key, child in children}
    return result


def _check_outputs(network: Network, call: Call, converter: Converter) -> None:
    """Compare what a converter returned with what torch returns, while the culprit is known."""
    for value in call.output_tensors():
        tensor = network.bound(value)
        if tensor is None:
            continue
        shape, dtype = network.built_shape(tensor), network.dtype(tensor)
        if dtype is not value.dtype or not _fits(shape, value.shape):
            raise ConverterError(
                f"{call.origin}: {_named(converter)}, returned {name_of(dtype)}{list(shape)} for {describe(call)}, "
                f"where torch returns {_type_of(value)}"
            )


def _fits(built: Sequence[int], expected: Sequence[Size]) -> bool:
    return len(built) == len(expected) and all(
        have == -1 or not is_static(size) or size == have for have, size in zip(built, settled(expected), strict=True)
    )


def _mark_outputs(network: Network, trace: Trace, names: Sequence[str]) -> None:
    taken = {id(network.tensor(value)) for value in trace.inputs}
    for name, value in zip(names, trace.outputs, strict=True):
        is_constant_of_bytes = value.dtype in BYTES and not is_activation(value)
        tensor = network.tensor(value, torch.int32 if is_constant_of_bytes else None)
        # TensorRT gives a tensor one name: inputs and tensors that are outputs already need another.
        if is_constant_of_bytes:
            tensor = network.cast(tensor, value.dtype)
        elif id(tensor) in taken or not is_activation(value):
            tensor = network.identity(tensor)
        taken.add(id(tensor))
        tensor.name = name
        network.definition.mark_output(tensor)


_UNSUPPORTED = """{count} calls of the forward pass have no converter:
{lines}
Write a converter for each,

    @trtconv.tensorrt_converter("{example}")
    def convert(ctx):
        x = ctx.method_args[0]._trt                      # the TensorRT tensor of an argument
        layer = ctx.network.add_...(x, ...)              # any layer of trt.INetworkDefinition
        ctx.method_return._trt = layer.get_output(0)     # the result

or convert the submodules around these calls and leave the calls in PyTorch."""
