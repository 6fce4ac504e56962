"""Losses, for modules that compute them beside their results."""

from __future__ import annotations

from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.arithmetic import scaled, wide, wide_dtype
from trtconv.converters.indexing import gather
from trtconv.converters.reduction import reduced
from trtconv.converters.unary import log1p, unary
from trtconv.emit.network import Network
from trtconv.emit.registry import converter

aten = torch.ops.aten

_NONE, _MEAN, _SUM = 0, 1, 2
"""The numbers by which ATen's operators know how to reduce the losses of all elements."""


def _layer(net: Network, a: Any, b: Any, operation: str) -> Any:
    return net.elementwise(a, b, getattr(trt.ElementWiseOperation, operation))


def _of_all(net: Network, losses: Any, reduction: int) -> Any:
    if reduction != _NONE:
        losses = reduced(net, losses, "AVG" if reduction == _MEAN else "SUM", None)
    return net.cast(losses, net.output.dtype)


@converter(aten.mse_loss.default)
def mse_loss(net: Network, x: Any, target: Any, reduction: int) -> Any:
    x, target = wide(net, x, target)
    difference = net.sub(x, target)
    return _of_all(net, net.mul(difference, difference), reduction)


@converter(aten.smooth_l1_loss.default)
def smooth_l1_loss(net: Network, x: Any, target: Any, reduction: int, beta: float) -> Any:
    """d^2 / (2 beta) below beta, d - beta / 2 from there on, with the distance d"""
    distance = _distance(net, x, target)
    if beta == 0:
        return _of_all(net, distance, reduction)
    square = net.mul(net.mul(distance, distance), 0.5 / beta)
    losses = net.select(_layer(net, distance, beta, "LESS"), square, net.sub(distance, beta / 2), net.dtype(distance))
    return _of_all(net, losses, reduction)


@converter(aten.huber_loss.default)
def huber_loss(net: Network, x: Any, target: Any, reduction: int, delta: float) -> Any:
    """d^2 / 2 up to delta, delta (d - delta / 2) beyond, with the distance d"""
    distance = _distance(net, x, target)
    square = net.mul(net.mul(distance, distance), 0.5)
    line = scaled(net, net.sub(distance, delta / 2), delta)
    return _of_all(net, net.select(_layer(net, distance, delta, "GREATER"), line, square, net.dtype(line)), reduction)


def _distance(net: Network, x: Any, target: Any) -> Any:
    x, target = wide(net, x, target)
    return unary(net, net.sub(x, target), "ABS")


@converter(aten.binary_cross_entropy.default)
def binary_cross_entropy(net: Network, x: Any, target: Any, weight: Any, reduction: int) -> Any:
    """-t log(x) - (1 - t) log(1 - x), the logarithms no less than -100"""
    x, target = wide(net, x, target)
    of_one = _layer(net, unary(net, x, "LOG"), -100, "MAX")
    of_zero = _layer(net, log1p(net, unary(net, x, "NEG")), -100, "MAX")
    losses = net.sub(net.mul(net.sub(target, 1), of_zero), net.mul(target, of_one))
    return _of_all(net, losses if weight is None else net.mul(losses, weight), reduction)


@converter(aten.binary_cross_entropy_with_logits.default)
def binary_cross_entropy_with_logits(
    net: Network, x: Any, target: Any, weight: Any, pos_weight: Any, reduction: int
) -> Any:
    """(1 - t) x - (1 + (p - 1) t) log(sigmoid(x)) with the weight p of the positive ones"""
    x, target = wide(net, x, target)
    away = unary(net, unary(net, x, "ABS"), "NEG")
    log_sigmoid = net.sub(_layer(net, x, 0, "MIN"), net.activation(away, trt.ActivationType.SOFTPLUS, 1.0, 1.0))
    if pos_weight is not None:
        factor = net.sub(net.cast(pos_weight, net.dtype(x)), 1)
        log_sigmoid = net.mul(log_sigmoid, net.add(net.mul(factor, target), 1))
    losses = net.sub(net.mul(net.sub(1, target), x), log_sigmoid)
    return _of_all(net, losses if weight is None else net.mul(losses, weight), reduction)


@converter(aten.soft_margin_loss.default)
def soft_margin_loss(net: Network, x: Any, target: Any, reduction: int) -> Any:
    """log(1 + exp(-t x))"""
    x, target = wide(net, x, target)
    return _of_all(net, log1p(net, unary(net, unary(net, net.mul(x, target), "NEG"), "EXP")), reduction)


@converter(aten.nll_loss_forward.default, aten.nll_loss2d_forward.default)
def nll_loss(net: Network, x: Any, target: Any, weight: Any, reduction: int, ignore_index: int) -> list[Any]:
    """-x at the class that the target names, times the class's weight; the mean is one by these weights."""
    dtype = wide_dtype(net.output.dtype)
    axis = 1 if len(net.shape(x)) > 1 else 0
    ignored = _layer(net, target, ignore_index, "EQUAL")
    label = net.select(ignored, 0, target, torch.int64)
    shape = net.shape(target)
    picked = gather(net, x, axis, net.reshape(label, (*shape[:axis], 1, *shape[axis:])), False)
    weights: Any = 1.0 if weight is None else net.cast(net.gather(weight, label, 0), dtype)
    weights = net.select(ignored, 0, weights, dtype)
    losses = net.mul(net.reshape(net.cast(picked, dtype), shape), weights)
    losses = unary(net, net.select(ignored, 0, losses, dtype), "NEG")
    if reduction == _NONE:
        return [net.cast(losses, net.output.dtype), None]
    total = reduced(net, weights, "SUM", None)
    loss = reduced(net, losses, "SUM", None)
    loss = net.div(loss, total) if reduction == _MEAN else loss
    return [net.cast(each, net.output.dtype) for each in (loss, total)]
