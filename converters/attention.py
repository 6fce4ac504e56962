"""Scaled dot-product attention, kept whole at function level.

`torch.nn.MultiheadAttention` and the transformer layers arrive as linear layers around it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from trtconv import tensorrt as trt
from trtconv.capture.trace import is_constant
from trtconv.converters.creation import sequence
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, is_same, is_static

aten = torch.ops.aten


@converter(F.scaled_dot_product_attention)
def attention(
    net: Network,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(query @ key.T * scale + mask) @ value; 0 for queries that the mask leaves no key."""
    if dropout_p != 0:
        raise UnsupportedArgumentError(f"it drops weights at random, dropout_p={dropout_p}; call eval() on the module")
    if scale is None:
        scale = 1 / math.sqrt(_static(net.shape(query)[-1]))
    if is_causal:
        attn_mask = _causal_mask(net, net.shape(query)[-2], net.shape(key)[-2])
    if enable_gqa:
        query, key, value, attn_mask = _grouped(net, query, key, value, attn_mask)
    result = net.cast(_attend(net, query, key, value, attn_mask, scale), net.output.dtype)
    if attn_mask is not None and not is_causal:
        result = _without_lost_queries(net, result, attn_mask)
    return net.reshape(result, tuple(net.output.shape))


@converter(
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
)
def attention_by_kernel(
    net: Network,
    query: Any,
    key: Any,
    value: Any,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    attn_mask: Any = None,
    attn_bias: Any = None,
    compute_log_sumexp: bool = False,
) -> Any:
    """What the function becomes under autocast and in torch's own modules. Results for its gradient aren't given."""
    mask = attn_mask if attn_bias is None else attn_bias
    result = attention(net, query, key, value, mask, dropout_p, is_causal, scale)
    assert net.call is not None
    return result, *[None for _ in net.call.output_tensors()[1:]]


def _static(size: Size) -> int:
    if not is_static(size):
        raise UnsupportedArgumentError("the scale follows from the size of the heads, which varies; give scale=")
    return int(size)


def _attend(net: Network, query: Any, key: Any, value: Any, mask: Any, scale: float) -> Any:
    """Two products and a softmax in float32.

    TensorRT fuses this form as it does its attention layer, and builds it for values of another width than the keys
    and for heads of any size, too.
    """
    # The power of 2 in the scale goes to the query, where it costs no rounding and prevents overflow.
    fraction, exponent = math.frexp(scale)
    scores = net.matmul(net.mul(query, 2.0**exponent), key, transpose_b=True)
    scores = net.cast(scores, torch.float32)
    if fraction != 1:
        scores = net.mul(scores, fraction)
    if mask is not None and _dtype(net, mask) is torch.bool:
        scores = net.select(mask, scores, -math.inf, torch.float32)
    elif mask is not None:
        scores = net.add(scores, net.cast(mask, torch.float32))
    weights = net.softmax(scores, len(net.shape(scores)) - 1)
    return net.matmul(net.cast(weights, _dtype(net, value)), value)


def _dtype(net: Network, x: Any) -> torch.dtype:
    return x.dtype if isinstance(x, torch.Tensor) else net.dtype(x)


def _without_lost_queries(net: Network, result: Any, mask: Any) -> Any:
    """Zeros for queries without a key, for which the softmax is 0 / 0."""
    boolean = _dtype(net, mask) is torch.bool
    if is_constant(mask):
        alive = (mask if boolean else mask > -math.inf).any(-1, keepdim=True)
        return result if bool(alive.all()) else net.select(alive, result, 0.0, net.dtype(result))
    last = [len(net.shape(mask)) - 1]
    largest = net.reduce(net.cast(mask, torch.int32) if boolean else mask, trt.ReduceOperation.MAX, last, True)
    alive = net.elementwise(largest, 0 if boolean else -math.inf, trt.ElementWiseOperation.GREATER)
    return net.select(alive, result, 0.0, net.dtype(result))


def _causal_mask(net: Network, queries: Size, keys: Size) -> Any:
    """True where the key's place isn't after the query's."""
    if is_static(queries) and is_static(keys):
        return torch.ones(int(queries), int(keys), dtype=torch.bool).tril()
    rows = net.reshape(sequence(net, queries), (queries, 1))
    columns = net.reshape(sequence(net, keys), (1, keys))
    return net.elementwise(net.add(rows, 1), columns, trt.ElementWiseOperation.GREATER)


def _grouped(net: Network, query: Any, key: Any, value: Any, mask: Any) -> tuple[Any, Any, Any, Any]:
    """Operands with the axis of heads split in two, [key heads, queries' heads for each]."""
    heads = net.shape(key)[-3]
    group = net.shape(query)[-3] // heads

    def split(x: Any, first: Size, second: Size) -> Any:
        shape = net.shape(x)
        return net.reshape(x, (*shape[:-3], first, second, *shape[-2:]))

    if mask is not None and len(net.shape(mask)) > 2:
        shared = is_same(net.shape(mask)[-3], 1)
        mask = split(mask, 1, 1) if shared else split(mask, heads, group)
    return split(query, heads, group), split(key, heads, 1), split(value, heads, 1), mask
