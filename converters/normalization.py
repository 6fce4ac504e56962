"""Normalization layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.capture.trace import is_activation
from trtconv.emit.network import Network, axes_mask
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.passes.fold_batch_norm import scale_and_shift
from trtconv.sizes import Size, product

aten = torch.ops.aten


@converter(torch.batch_norm)
def batch_norm(
    net: Network,
    input: Any,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    """(input - mean) / sqrt(var + eps) * weight + bias by running statistics, or by the batch's if there are none."""
    if running_mean is None or running_var is None:
        return _by_batch(net, input, weight, bias, eps)
    if training:
        raise UnsupportedArgumentError("it updates its running statistics; call eval() on the module")
    return _affine(net, input, weight, bias, running_mean, running_var, eps)


@converter(aten._native_batch_norm_legit_no_training.default)
def batch_norm_without_training(
    net: Network,
    x: Any,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor,
    running_var: torch.Tensor,
    momentum: float,
    eps: float,
) -> Any:
    return _affine(net, x, weight, bias, running_mean, running_var, eps), None, None


@converter(aten._native_batch_norm_legit_functional.default)
def batch_norm_with_new_statistics(
    net: Network,
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> Any:
    """Without training the statistics stay what they are; else they follow the batch's mean and unbiased variance."""
    if not training:
        return _affine(net, x, weight, bias, running_mean, running_var, eps), None, None, running_mean, running_var
    if not is_activation(running_mean):
        raise UnsupportedArgumentError("it updates its running statistics; call eval() on the module")
    axes = [axis for axis in range(len(net.shape(x))) if axis != 1]
    wide = net.cast(x, torch.float32)
    mean = net.reduce(wide, trt.ReduceOperation.AVG, axes, True)
    distance = net.sub(wide, mean)
    square = net.reduce(net.mul(distance, distance), trt.ReduceOperation.SUM, axes, False)
    count = net.cast(net.tensor(net.size_tensor([product(net.shape(x)[axis] for axis in axes)])), torch.float32)

    def followed(running: Any, value: Any) -> Any:
        value = net.reshape(value, net.shape(running))
        return net.cast(net.add(net.mul(running, 1 - momentum), net.mul(value, momentum)), net.dtype(running))

    statistics = followed(running_mean, mean), followed(running_var, net.div(square, net.sub(count, 1)))
    return *batch_norm_without_statistics(net, x, weight, bias, True, momentum, eps), *statistics


@converter(aten._native_batch_norm_legit.no_stats)
def batch_norm_without_statistics(
    net: Network, x: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> Any:
    axes = [axis for axis in range(len(net.shape(x))) if axis != 1]
    return _by_batch(net, x, weight, bias, eps), *_moments(net, x, axes, eps)


@converter(aten.native_batch_norm.default)
def native_batch_norm(
    net: Network,
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> Any:
    if running_mean is None and running_var is None:
        return batch_norm_without_statistics(net, x, weight, bias, training, momentum, eps)
    given = running_mean, running_var, training, momentum, eps
    return batch_norm_with_new_statistics(net, x, weight, bias, *given)[:3]


def _moments(net: Network, x: Any, axes: Sequence[int], eps: float) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The mean over `axes`, and one over the root of the biased variance, where they are used."""
    assert net.call is not None
    _, *outputs = net.call.output_tensors()

    def deviations() -> tuple[Any, Any]:
        wide = net.cast(x, torch.float32)
        mean = net.reduce(wide, trt.ReduceOperation.AVG, list(axes), True)
        return mean, net.sub(wide, mean)

    def mean() -> Any:
        return net.cast(net.reshape(deviations()[0], outputs[0].shape), outputs[0].dtype)

    def rstd() -> Any:
        distance = deviations()[1]
        variance = net.reduce(net.mul(distance, distance), trt.ReduceOperation.AVG, list(axes), True)
        root = net.unary(net.add(variance, eps), trt.UnaryOperation.SQRT)
        return net.cast(net.reshape(net.unary(root, trt.UnaryOperation.RECIP), outputs[1].shape), outputs[1].dtype)

    return mean, rstd


def _by_batch(net: Network, x: Any, weight: Any, bias: Any, eps: float) -> Any:
    """Each channel standardized over the batch and its places."""
    rank = len(net.shape(x))
    shape = (1, net.shape(x)[1], *[1] * (rank - 2))
    weight, bias = (None if each is None else net.reshape(each, shape) for each in (weight, bias))
    axes = [axis for axis in range(rank) if axis != 1]
    return net.cast(standardized(net, x, axes, eps, weight, bias), net.dtype(x))


def _affine(net: Network, x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float) -> Any:
    """One product and one sum per channel."""
    if any(is_activation(v) for v in (weight, bias, mean, var)):
        return _by_computed(net, x, weight, bias, mean, var, eps)
    scale, shift = scale_and_shift(weight, bias, mean, var, eps)
    shape = (1, -1, *[1] * (len(net.shape(x)) - 2))
    # Where the mean is large, the product and the shift are larger than the result: not in half precision.
    scaled = net.mul(net.cast(x, torch.float32), scale.float().reshape(shape))
    return net.cast(net.add(scaled, shift.float().reshape(shape)), net.dtype(x))


def _by_computed(net: Network, x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float) -> Any:
    """As the formula says, where weights or statistics are computed from an input."""
    shape = (1, net.shape(x)[1], *[1] * (len(net.shape(x)) - 2))
    root = net.unary(net.add(net.cast(var, torch.float32), eps), trt.UnaryOperation.SQRT)
    result = net.sub(net.cast(x, torch.float32), net.reshape(net.cast(mean, torch.float32), shape))
    result = net.div(result, net.reshape(root, shape))
    if weight is not None:
        result = net.mul(result, net.reshape(net.cast(weight, torch.float32), shape))
    if bias is not None:
        result = net.add(result, net.reshape(net.cast(bias, torch.float32), shape))
    return net.cast(result, net.dtype(x))


def standardized(net: Network, x: Any, axes: Sequence[int], eps: float, weight: Any = None, bias: Any = None) -> Any:
    """(x - mean) / sqrt(variance + eps) * weight + bias in float32, mean and biased variance over `axes`.

    The weights have the rank of x. TensorRT's layer has weights always, in the input's dtype.
    """
    wide = net.cast(x, torch.float32)
    ones = (1,) * len(net.shape(x))
    scale, shift = (
        net.tensor(torch.full(ones, default) if value is None else value, torch.float32)
        for value, default in ((weight, 1.0), (bias, 0.0))
    )
    layer = net.add_normalization(wide, scale, shift, axes_mask(axes))
    layer.epsilon = eps
    return net.known(layer.get_output(0), net.shape(x))


@converter(aten.native_layer_norm.default)
def layer_norm(net: Network, x: Any, normalized_shape: Sequence[Size], weight: Any, bias: Any, eps: float) -> Any:
    rank, normalized = len(net.shape(x)), len(normalized_shape)
    given = (None if v is None else net.tensor(v, rank=rank) for v in (weight, bias))
    axes = range(rank - normalized, rank)
    result = standardized(net, x, axes, eps, *given)
    return net.cast(result, net.dtype(x)), *_moments(net, x, axes, eps)


@converter(aten.native_group_norm.default)
def group_norm(
    net: Network, x: Any, weight: Any, bias: Any, N: Size, C: Size, HxW: Size, group: int, eps: float
) -> Any:
    """Groups of channels, each standardized over its channels and places, then one weight per channel."""
    shape = net.shape(x)
    places = math.prod(shape[2:])
    grouped = net.reshape(x, (shape[0], group, shape[1] // group * places))
    result = net.reshape(standardized(net, grouped, (2,), eps), shape)
    return _per_channel(net, result, weight, bias, net.dtype(x)), *_moments(net, grouped, (2,), eps)


@converter(torch.instance_norm)
def instance_norm(
    net: Network,
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    """Each channel of each item standardized over its places, or by running statistics."""
    if not use_input_stats:
        return _affine(net, input, weight, bias, running_mean, running_var, eps)
    result = standardized(net, input, range(2, len(net.shape(input))), eps)
    return _per_channel(net, result, weight, bias, net.dtype(input))


def _per_channel(net: Network, x: Any, weight: Any, bias: Any, dtype: torch.dtype) -> Any:
    """x * weight + bias, computed in the dtype of x."""
    shape = (1, net.shape(x)[1], *[1] * (len(net.shape(x)) - 2))
    if weight is not None:
        x = net.mul(x, net.reshape(weight, shape))
    if bias is not None:
        x = net.add(x, net.reshape(bias, shape))
    return net.cast(x, dtype)


@converter(torch.rms_norm)
def rms_norm(
    net: Network, input: Any, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None
) -> Any:
    """input / sqrt(mean(input^2) + eps) * weight"""
    if eps is None:
        eps = torch.finfo(torch.float32).eps  # torch's default follows the dtype that it computes in
    wide = net.cast(input, torch.float32)
    rank = len(net.shape(input))
    axes = list(range(rank - len(normalized_shape), rank))
    mean = net.reduce(net.mul(wide, wide), trt.ReduceOperation.AVG, axes, True)
    root = net.unary(net.add(mean, eps), trt.UnaryOperation.SQRT)
    result = net.div(wide, root)
    if weight is not None:
        result = net.mul(result, weight)
    return net.cast(result, net.output.dtype)
