"""Losses, covariances and norms whose own code looks at values first, or writes to statistics inside.

Each gives NotImplemented where torch's own code does.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from trtconv.capture.trace import DependsOnInput


def gaussian_nll_loss(
    depends: DependsOnInput,
    input: torch.Tensor,
    target: torch.Tensor,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Any:
    """torch looks for negative variances. (log(v) + (x - t)^2 / v) / 2 with the variance v, which is at least eps."""
    if not isinstance(var, torch.Tensor) or not depends(var) or reduction not in ("none", "mean", "sum"):
        return NotImplemented
    if var.dim() == input.dim() - 1:
        var = var.unsqueeze(-1)
    var = var.clamp(min=eps)
    losses = (var.log() + (input - target) ** 2 / var) * 0.5
    losses = losses + 0.5 * math.log(2 * math.pi) if full else losses
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


def cov(
    depends: DependsOnInput, input: torch.Tensor, *, correction: int = 1, fweights: Any = None, aweights: Any = None
) -> Any:
    """torch looks at the weights first: none may be negative."""
    given = [each for each in (fweights, aweights) if each is not None]
    if not any(map(depends, given)):
        return NotImplemented
    x = input if input.dim() == 2 else input.reshape(1, -1)
    weights = functools.reduce(torch.mul, given)
    total = weights.sum()
    distance = x - ((x * weights).sum(1) / total)[:, None]
    share = 1 if aweights is None else (weights * aweights).sum() / total
    norm = total - correction * share
    return ((distance * weights) @ distance.T / norm.clamp(min=0)).squeeze()


def batch_norm(
    depends: DependsOnInput,
    input: torch.Tensor,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """torch writes to the running statistics inside, which may be inputs."""
    if not training or running_mean is None or not depends(running_mean):
        return NotImplemented
    var, mean = torch.var_mean(input, [axis for axis in range(input.dim()) if axis != 1])
    _follow(running_mean, mean, momentum)
    _follow(running_var, var, momentum)
    return F.batch_norm(input, None, None, weight, bias, True, momentum, eps)


def instance_norm(
    depends: DependsOnInput,
    input: torch.Tensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """torch writes to the running statistics inside, which may be inputs."""
    if not use_input_stats or running_mean is None or not depends(running_mean):
        return NotImplemented
    var, mean = torch.var_mean(input, list(range(2, input.dim())))
    _follow(running_mean, mean.mean(0), momentum)
    _follow(running_var, var.mean(0), momentum)
    return F.instance_norm(input, None, None, weight, bias, True, momentum, eps)


def _follow(running: torch.Tensor, new: torch.Tensor, momentum: float) -> None:
    running.copy_(running * (1 - momentum) + new * momentum)


def linear_cross_entropy(depends: DependsOnInput, *args: Any, options: Any = None, **kwargs: Any) -> Any:
    """How torch takes it apart, to save memory, changes nothing of the loss."""
    return NotImplemented if options is None else F.linear_cross_entropy(*args, **kwargs)


STATISTICS: dict[Any, Callable[..., Any]] = {
    F.gaussian_nll_loss: gaussian_nll_loss,
    torch.cov: cov,
    torch.Tensor.cov: cov,
    F.batch_norm: batch_norm,
    F.instance_norm: instance_norm,
}
if hasattr(F, "linear_cross_entropy"):  # PyTorch 2.14
    STATISTICS[F.linear_cross_entropy] = linear_cross_entropy
