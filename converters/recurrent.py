"""LSTM, GRU and RNN as TensorRT loops, kept whole at function level.

Each layer and direction is one product of all inputs with its weights, then a loop over the steps. The
products are in the weights' dtype, the arithmetic on gates and cells in float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.capture.recurrent import RECURRENT, RecurrentCall
from trtconv.capture.trace import is_activation
from trtconv.converters.creation import sequence
from trtconv.converters.linear import times_transposed
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError

State = tuple[Any, ...]
Step = Callable[[Network, Any, Any, State], State]
"""From what the input and what the state gives the gates, [batch, gates * hidden], and the old state to
the new one, the hidden state first; all in float32."""


@converter(*RECURRENT)
def recurrent(net: Network, *args: Any) -> Any:
    call = RecurrentCall.of(*args)
    if call.train and call.dropout:
        raise UnsupportedArgumentError(f"it drops values at random, dropout={call.dropout}; call eval() on the module")
    return _padded(net, call) if call.sizes is None else _packed(net, call)


def _padded(net: Network, call: RecurrentCall) -> Any:
    x = net.permute(call.input, (1, 0, 2)) if call.batch_first else call.input
    output, states = _layers(net, x, call)
    return net.permute(output, (1, 0, 2)) if call.batch_first else output, *states


def _packed(net: Network, call: RecurrentCall) -> Any:
    """Steps of fewer and fewer sequences: all sequences make all steps, and keep their states once they end."""
    x, batch_sizes = call.input, call.sizes
    steps, batch, width = net.shape(batch_sizes)[0], net.shape(call.states[0])[1], net.shape(x)[-1]
    number, sizes = net.reshape(sequence(net, batch), (1, batch)), net.reshape(batch_sizes, (steps, 1))
    lives = net.reshape(net.elementwise(number, sizes, trt.ElementWiseOperation.LESS), (steps, batch, 1))
    if is_activation(batch_sizes):  # the elements are there for all steps
        output, states = _layers(net, net.reshape(x, (steps, batch, width)), call, lives)
        return net.reshape(output, net.output.shape), *states
    there = torch.arange(int(batch)) < batch_sizes.unsqueeze(1)
    places = torch.where(there, there.flatten().cumsum(0).reshape(there.shape) - 1, 0)
    output, states = _layers(net, net.gather(x, places, 0), call, lives)
    flat = net.reshape(output, (int(steps) * int(batch), net.shape(output)[-1]))
    return net.gather(flat, there.flatten().nonzero().flatten(), 0), *states


@converter(torch.lstm_cell)
def lstm_cell(
    net: Network, input: Any, hx: Sequence[Any], w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None
) -> Any:
    return _cell(net, _lstm_step, input, hx, _Weights(w_ih, w_hh, b_ih, b_hh))


@converter(torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell)
def gru_or_rnn_cell(net: Network, input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    return _cell(net, _STEPS[net.target], input, (hx,), _Weights(w_ih, w_hh, b_ih, b_hh))[0]


def _lstm_step(net: Network, from_input: Any, from_state: Any, state: State) -> State:
    """i, f, g, o = gates; c = sigmoid(f) * c + sigmoid(i) * tanh(g); h = sigmoid(o) * tanh(c)"""
    i, f, g, o = _split(net, net.add(from_input, from_state), 4)
    cell = net.add(net.mul(_sigmoid(net, f), state[1]), net.mul(_sigmoid(net, i), _tanh(net, g)))
    return net.mul(_sigmoid(net, o), _tanh(net, cell)), cell


def _gru_step(net: Network, from_input: Any, from_state: Any, state: State) -> State:
    """r, z = gates; n = tanh(n of the input + sigmoid(r) * n of the state); h = n + sigmoid(z) * (h - n)"""
    (r_input, z_input, n_input), (r_state, z_state, n_state) = _split(net, from_input, 3), _split(net, from_state, 3)
    reset = _sigmoid(net, net.add(r_input, r_state))
    update = _sigmoid(net, net.add(z_input, z_state))
    new = _tanh(net, net.add(n_input, net.mul(reset, n_state)))
    return (net.add(new, net.mul(update, net.sub(state[0], new))),)


def _tanh_step(net: Network, from_input: Any, from_state: Any, state: State) -> State:
    return (_tanh(net, net.add(from_input, from_state)),)


def _relu_step(net: Network, from_input: Any, from_state: Any, state: State) -> State:
    return (net.activation(net.add(from_input, from_state), trt.ActivationType.RELU),)


_STEPS: dict[Any, Step] = {
    torch.lstm: _lstm_step,
    torch.gru: _gru_step,
    torch.gru_cell: _gru_step,
    torch.rnn_tanh: _tanh_step,
    torch.rnn_tanh_cell: _tanh_step,
    torch.rnn_relu: _relu_step,
    torch.rnn_relu_cell: _relu_step,
}


def _sigmoid(net: Network, x: Any) -> Any:
    return net.activation(x, trt.ActivationType.SIGMOID)


def _tanh(net: Network, x: Any) -> Any:
    return net.activation(x, trt.ActivationType.TANH)


def _split(net: Network, gates: Any, count: int) -> list[Any]:
    batch, width = net.shape(gates)
    hidden = width // count
    return [net.slice(gates, (0, i * hidden), (batch, hidden)) for i in range(count)]


@dataclasses.dataclass(frozen=True)
class _Weights:
    """The parameters of one layer and direction; `projection` is what makes an LSTM's state smaller."""

    from_input: Any
    from_state: Any
    input_bias: Any
    state_bias: Any
    projection: Any = None


def _weights(params: Sequence[Any], has_biases: bool) -> _Weights:
    input_bias, state_bias = params[2:4] if has_biases else (None, None)
    projection = params[4 if has_biases else 2 :]
    return _Weights(params[0], params[1], input_bias, state_bias, projection[0] if projection else None)


def _layers(net: Network, x: Any, call: RecurrentCall, lives: Any = None) -> tuple[Any, list[Any]]:
    """The outputs of the last layer, [steps, batch, hidden], and each last state of all layers and directions, stacked.

    Where a sequence doesn't live, [steps, batch, 1], it keeps its state, and its output says nothing.
    """
    if len(net.shape(x)) != 3:
        raise UnsupportedArgumentError(f"its input has {len(net.shape(x))} axes instead of 3")
    directions = 2 if call.bidirectional else 1
    each = len(call.params) // (call.num_layers * directions)
    last: list[State] = []
    for _ in range(call.num_layers):
        outputs = []
        for reverse in (False, True)[:directions]:
            index = len(last)
            weights = _weights(call.params[index * each : (index + 1) * each], call.has_biases)
            state = tuple(_item(net, value, index) for value in call.states)
            output, final = _loop(net, x, state, weights, reverse, lives)
            outputs.append(output)
            last.append(final)
        x = outputs[0] if directions == 1 else net.concatenate(outputs, 2)
    stacked = [
        net.concatenate([net.reshape(value, (1, *net.shape(value))) for value in values], 0)
        for values in zip(*last, strict=True)
    ]
    return x, stacked


def _item(net: Network, x: Any, index: int) -> Any:
    _, *rest = net.shape(x)
    return net.reshape(net.slice(x, [index, 0, 0], [1, *rest]), rest)


def _loop(net: Network, x: Any, initial: State, weights: _Weights, reverse: bool, lives: Any) -> tuple[Any, State]:
    """The hidden states [steps, batch, hidden] of one layer in one direction, and the last state."""
    steps, *_ = net.shape(x)
    sums = _with_bias(net, _product(net, x, weights.from_input), weights.input_bias)
    loop = net.add_loop()
    trips = net.reshape(net.size_tensor([steps]), ())
    loop.add_trip_limit(trips, trt.TripLimit.COUNT)
    from_input = net.known(loop.add_iterator(sums, 0, reverse).get_output(0), net.shape(sums)[1:])
    # The hidden state is kept in its dtype, a cell in float32.
    dtypes = [net.dtype(initial[0]), *[torch.float32] * (len(initial) - 1)]
    layers = [loop.add_recurrence(net.tensor(value, kept)) for value, kept in zip(initial, dtypes, strict=True)]
    state = [net.known(layer.get_output(0), net.shape(value)) for layer, value in zip(layers, initial, strict=True)]
    from_state = _with_bias(net, _product(net, state[0], weights.from_state), weights.state_bias)
    step = _STEPS[net.target]
    hidden, *cells = step(net, from_input, from_state, tuple(net.cast(value, torch.float32) for value in state))
    if weights.projection is not None:
        hidden = _product(net, hidden, weights.projection)
    hidden = net.cast(hidden, dtypes[0])
    if lives is not None:
        alive = net.known(loop.add_iterator(lives, 0, reverse).get_output(0), net.shape(lives)[1:])
        hidden, *cells = (
            net.select(alive, new, old, net.dtype(new)) for new, old in zip((hidden, *cells), state, strict=True)
        )
    for layer, value in zip(layers, (hidden, *cells), strict=True):
        layer.set_input(1, value)
    order = trt.LoopOutput.REVERSE if reverse else trt.LoopOutput.CONCATENATE
    collected = loop.add_loop_output(hidden, order, 0)
    collected.set_input(1, trips)
    final = tuple(
        net.cast(
            net.known(loop.add_loop_output(value, trt.LoopOutput.LAST_VALUE).get_output(0), net.shape(value)),
            net.dtype(given),
        )
        for value, given in zip(state, initial, strict=True)
    )
    return net.known(collected.get_output(0), (steps, *net.shape(hidden))), final


def _cell(net: Network, step: Step, x: Any, state: Sequence[Any], weights: _Weights) -> State:
    """One step outside of a loop."""
    assert net.call is not None
    dtypes = [value.dtype for value in net.call.output_tensors()]
    from_input = _with_bias(net, _product(net, x, weights.from_input), weights.input_bias)
    from_state = _with_bias(net, _product(net, state[0], weights.from_state), weights.state_bias)
    result = step(net, from_input, from_state, tuple(net.cast(value, torch.float32) for value in state))
    return tuple(net.cast(value, dtype) for value, dtype in zip(result, dtypes, strict=True))


def _product(net: Network, x: Any, weight: Any) -> Any:
    """x @ weight.T in the dtype of the weight."""
    return times_transposed(net, net.cast(x, net.dtype(weight)), weight)


def _with_bias(net: Network, x: Any, bias: Any) -> Any:
    """x + bias in float32."""
    wide = net.cast(x, torch.float32)
    return wide if bias is None else net.add(wide, bias)
