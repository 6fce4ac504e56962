"""Which calls of a trace can't be converted, all at once, without building anything."""

from __future__ import annotations

from collections.abc import Iterator

from trtconv.capture.reasons import reason
from trtconv.capture.trace import Call, Trace, is_activation
from trtconv.emit import registry
from trtconv.emit.emitter import check_complete, convert_call, input_type
from trtconv.emit.network import Network
from trtconv.errors import ConversionError, UnsupportedCallsError
from trtconv.tensorrt.logger import Messages


def without_converter(call: Call) -> UnsupportedCallsError | None:
    """Why a call can't be converted, if it has no converter."""
    if registry.find(call.target) is not None:
        return None
    return UnsupportedCallsError(reason(call.target) or "it has no converter; register one: trtconv.tensorrt_converter")


def obstacles(trace: Trace, messages: Messages) -> Iterator[ConversionError | None]:
    """For each call of a trace without dynamic sizes, in order, why it can't be converted; None if it can.

    A call that reads what another can't give takes that as an input. `messages` is an open collector of TensorRT's.
    """
    network = Network(messages)
    readers = trace.consumers()
    for call in trace.calls:
        missing = without_converter(call)
        if missing is not None:
            yield missing
            continue
        try:
            _add_inputs(network, call)
            with network.converting(call):
                convert_call(network, call)
            check_complete(network, call, readers, trace.outputs)
        except ConversionError as error:
            yield error
        else:
            yield None


def _add_inputs(network: Network, call: Call) -> None:
    """Let what a call reads be an input of the network, where no layer gives it."""
    for value in filter(is_activation, call.input_tensors()):
        if not network.is_given(value):
            name = f"input {network.definition.num_inputs}"
            network.bind(value, network.add_input(name, input_type(name, value), tuple(value.shape)))
