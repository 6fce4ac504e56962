"""Activation functions.

Formulas: the pages of torch.nn; TensorRT's layers compute the same unless a comment says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError

aten = torch.ops.aten

ONE_LAYER = {
    aten.relu.default: "RELU",
    aten.sigmoid.default: "SIGMOID",
    aten.tanh.default: "TANH",
}


def _one_layer(kind: str) -> Callable[[Network, Any], Any]:
    return lambda net, x: net.activation(net.cast(x, net.output.dtype), getattr(trt.ActivationType, kind))


for _target, _kind in ONE_LAYER.items():
    converter(_target)(_one_layer(_kind))


@converter(aten.hardtanh.default)
def hardtanh(net: Network, x: Any, min_val: float, max_val: float) -> Any:
    if net.dtype(x).is_floating_point and math.isfinite(min_val) and math.isfinite(max_val):
        return net.activation(x, trt.ActivationType.CLIP, min_val, max_val)
    # The layer has neither integers nor infinite bounds.
    if min_val != -math.inf:
        x = net.elementwise(x, min_val, trt.ElementWiseOperation.MAX)
    if max_val != math.inf:
        x = net.elementwise(x, max_val, trt.ElementWiseOperation.MIN)
    return x


@converter(aten.leaky_relu.default)
def leaky_relu(net: Network, x: Any, negative_slope: float) -> Any:
    return net.activation(x, trt.ActivationType.LEAKY_RELU, negative_slope)


@converter(torch.rrelu)
def rrelu(
    net: Network,
    input: Any,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    generator: object = None,
) -> Any:
    """A leaky relu with the mean of the slopes that training draws."""
    if training:
        raise UnsupportedArgumentError("it draws random slopes; call eval() on the module")
    return leaky_relu(net, input, (lower + upper) / 2)


@converter(aten.rrelu_with_noise_functional.default)
def rrelu_in_place(net: Network, x: Any, lower: float, upper: float, training: bool, noise: object) -> Any:
    return rrelu(net, x, lower, upper, training), None


@converter(aten.native_dropout.default)
def dropout(net: Network, x: Any, p: float, train: bool | None) -> Any:
    """Everything stays; None for `train` means True."""
    if p and train is not False:
        raise UnsupportedArgumentError(f"it drops elements at random, p={p}; call eval() on the module")
    return x, net.expand(net.scalar(True, torch.bool, len(net.shape(x))), net.shape(x))


@converter(aten._prelu_kernel.default)
def prelu(net: Network, x: Any, weight: Any) -> Any:
    slope = net.tensor(weight, rank=len(net.shape(x)))
    return net.known(net.add_parametric_relu(net.tensor(x), slope).get_output(0), net.shape(x))


@converter(aten.elu.default)
def elu(net: Network, x: Any, alpha: float, scale: float, input_scale: float) -> Any:
    """scale * x where x > 0, else scale * alpha * (exp(input_scale * x) - 1)"""
    if input_scale == 1 and scale == 1:
        return net.activation(x, trt.ActivationType.ELU, alpha)
    if input_scale == 1:
        return net.activation(x, trt.ActivationType.SELU, alpha, scale)
    if input_scale < 0:
        raise UnsupportedArgumentError(f"TensorRT's ELU has no form for the negative input scale {input_scale}")
    wide = net.cast(x, torch.float32)
    lower = net.mul(net.activation(net.mul(wide, input_scale), trt.ActivationType.ELU, 1.0), alpha * scale)
    positive = net.elementwise(wide, 0.0, trt.ElementWiseOperation.GREATER)
    return net.cast(net.select(positive, net.mul(wide, scale), lower, torch.float32), net.dtype(x))


@converter(aten.celu.default)
def celu(net: Network, x: Any, alpha: float) -> Any:
    return elu(net, x, alpha, 1, 1 / alpha)


@converter(aten.hardsigmoid.default)
def hardsigmoid(net: Network, x: Any) -> Any:
    return net.activation(x, trt.ActivationType.HARD_SIGMOID, 1 / 6, 0.5)


@converter(aten.hardswish.default)
def hardswish(net: Network, x: Any) -> Any:
    return net.mul(x, hardsigmoid(net, x))


@converter(aten.silu.default)
def silu(net: Network, x: Any) -> Any:
    return net.mul(x, net.activation(x, trt.ActivationType.SIGMOID))


@converter(aten.mish.default)
def mish(net: Network, x: Any) -> Any:
    """x * tanh(log(1 + exp(x)))"""
    wide = net.cast(x, torch.float32)
    gate = net.activation(net.activation(wide, trt.ActivationType.SOFTPLUS, 1.0, 1.0), trt.ActivationType.TANH)
    return net.cast(net.mul(wide, gate), net.dtype(x))


@converter(aten.gelu.default)
def gelu(net: Network, x: Any, approximate: str) -> Any:
    kind = trt.ActivationType.GELU_TANH if approximate == "tanh" else trt.ActivationType.GELU_ERF
    return net.activation(x, kind)


@converter(aten.glu.default)
def glu(net: Network, x: Any, dim: int) -> Any:
    """The first half along `dim` times the sigmoid of the second."""
    shape = list(net.shape(x))
    dim %= len(shape)
    shape[dim] = shape[dim] // 2
    start = [shape[dim] if axis == dim else 0 for axis in range(len(shape))]
    value, gate = net.slice(x, [0] * len(shape), shape), net.slice(x, start, shape)
    return net.mul(value, net.activation(gate, trt.ActivationType.SIGMOID))


@converter(aten.softplus.default)
def softplus(net: Network, x: Any, beta: float, threshold: float) -> Any:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x > threshold."""
    curve = net.activation(x, trt.ActivationType.SOFTPLUS, 1 / beta, beta)
    scaled = x if beta == 1 else net.mul(x, beta)
    linear = net.elementwise(scaled, threshold, trt.ElementWiseOperation.GREATER)
    return net.select(linear, x, curve, net.dtype(x))


@converter(aten.log_sigmoid_forward.default)
def log_sigmoid(net: Network, x: Any) -> Any:
    """min(x, 0) - log(1 + exp(-abs(x))), which overflows nowhere."""
    away = net.unary(net.unary(x, trt.UnaryOperation.ABS), trt.UnaryOperation.NEG)
    below = net.elementwise(x, 0.0, trt.ElementWiseOperation.MIN)
    return net.sub(below, net.activation(away, trt.ActivationType.SOFTPLUS, 1.0, 1.0)), None


@converter(aten.hardshrink.default)
def hardshrink(net: Network, x: Any, lambd: float) -> Any:
    """0 where abs(x) <= lambd, else x; as a product, which keeps NaNs."""
    outside = net.elementwise(net.unary(x, trt.UnaryOperation.ABS), lambd, trt.ElementWiseOperation.GREATER)
    return net.mul(x, net.cast(outside, net.dtype(x)))


@converter(aten.softshrink.default)
def softshrink(net: Network, x: Any, lambd: float) -> Any:
    """x moved by lambd toward 0, and 0 where it would pass it."""
    return net.sub(x, net.activation(x, trt.ActivationType.CLIP, -lambd, lambd))


@converter(aten.threshold.default)
def threshold(net: Network, x: Any, threshold: float, value: float) -> Any:
    """`value` where x <= threshold, else x; NaNs stay."""
    less = net.elementwise(x, threshold, trt.ElementWiseOperation.LESS)
    equal = net.elementwise(x, threshold, trt.ElementWiseOperation.EQUAL)
    below = net.elementwise(less, equal, trt.ElementWiseOperation.OR)
    return net.select(below, value, x, net.dtype(x))


@converter(aten._log_softmax.default)
def log_softmax(net: Network, x: Any, dim: int, half_to_float: bool) -> Any:
    """x - log(sum(exp(x))), with the largest x taken off first."""
    rank = len(net.shape(x))
    wide = net.reshape(net.cast(x, torch.float32), net.shape(x) or (1,))
    dim %= max(rank, 1)
    shifted = net.sub(wide, net.reduce(wide, trt.ReduceOperation.MAX, [dim], True))
    total = net.reduce(net.unary(shifted, trt.UnaryOperation.EXP), trt.ReduceOperation.SUM, [dim], True)
    result = net.sub(shifted, net.unary(total, trt.UnaryOperation.LOG))
    return net.cast(net.reshape(result, tuple(net.output.shape)), net.output.dtype)
