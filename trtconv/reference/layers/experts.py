"""MOE: mixture of experts."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trtconv.graph.data import DataType
from trtconv.reference.layers.precision import matmul, widen
from trtconv.reference.layers.quantization import encode
from trtconv.reference.layers.registry import Kernel, LayerContext, implements


@implements("MOE")
def mixture_of_experts(context: LayerContext) -> Kernel:
    """Sum over a token's selected experts of score * (act(x @ gate) * (x @ up)) @ down, with biases.

    x is [B, S, H], experts and scores [B, S, K], gate and up [E, H, I], down [E, I, H]; the biases, [E, I],
    [E, I] and [E, H], and the FP8 scale of the product that enters ``down`` are optional.
    """
    silu = context["activation_type"] == "SILU"
    swiglu = (context["swiglu_param_alpha"], context["swiglu_param_beta"], context["swiglu_param_limit"])
    if swiglu != (1.0, 0.0, math.inf):
        raise NotImplementedError("SwiGLU parameters, whose formula TensorRT does not document")

    def kernel(
        x: Tensor,
        experts: Tensor,
        scores: Tensor,
        gate: Tensor,
        up: Tensor,
        down: Tensor,
        gate_bias: Tensor | None = None,
        up_bias: Tensor | None = None,
        down_bias: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        def linear(tokens: Tensor, weight: Tensor, bias: Tensor | None, expert: int) -> Tensor:
            y = matmul(tokens, widen(weight[expert]))
            return y if bias is None else y + widen(bias[expert])

        tokens, chosen = widen(x).flatten(0, -2), experts.flatten(0, -2)
        weights = widen(scores).flatten(0, -2)
        result = torch.zeros_like(tokens)
        for expert in sorted(set(chosen.flatten().tolist())):
            row, place = torch.nonzero(chosen == expert, as_tuple=True)
            gated = linear(tokens[row], gate, gate_bias, expert)
            hidden = (F.silu(gated) if silu else gated) * linear(tokens[row], up, up_bias, expert)
            if scale is not None:
                step = scale.float() if scale.dim() == 0 else scale.float()[expert]
                hidden = encode(hidden / step, DataType.FP8).float() * step
            y = linear(hidden, down, down_bias, expert)
            result.index_add_(0, row, y * weights[row, place, None])
        return result.reshape(x.shape).to(x.dtype)

    return kernel
