"""ATTENTION, KV_CACHE_UPDATE and ROTARY_EMBEDDING."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trtconv.reference.graph import DataType
from trtconv.reference.layers.precision import widen
from trtconv.reference.layers.quantization import encode
from trtconv.reference.layers.registry import Kernel, LayerContext, implements

_PACKED = "PACKED_NHD"


@dataclass(frozen=True)
class _Attention:
    """The settings of an IAttention."""

    softmax: bool
    causal: str
    quantized: DataType | None

    def scores_mask(self, queries: int, keys: int, device: torch.device) -> Tensor | None:
        """Where a query may look at a key, [queries, keys]; None: everywhere."""
        if self.causal == "NONE":
            return None
        shift = keys - queries if self.causal == "LOWER_RIGHT" else 0
        row = torch.arange(queries, device=device)[:, None]
        return torch.arange(keys, device=device)[None, :] <= row + shift

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scale: Tensor | None,
    ) -> Tensor:
        """norm(q @ k^T + mask) @ v of [..., H, S, D]; scores stay in float32 until they are normalized."""
        repeats = query.shape[-3] // key.shape[-3]
        if repeats > 1:
            key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
        scores = widen(query) @ widen(key).mT
        visible = self.scores_mask(query.shape[-2], key.shape[-2], query.device)
        for allowed in (visible, mask):
            if allowed is None:
                continue
            if allowed.dtype != torch.bool:
                scores = scores + widen(allowed)
            elif self.softmax:
                scores = scores.masked_fill(~allowed, -math.inf)
            else:
                scores = scores.masked_fill(~allowed, 0)
        if self.softmax:
            scores = torch.softmax(scores, -1)
        weights = scores.to(query.dtype)
        if self.quantized is not None and scale is not None:
            wide = scale.float()
            weights = (encode(weights.float() / wide, self.quantized).float() * wide).to(query.dtype)
        return (widen(weights) @ widen(value)).to(query.dtype)


@implements("ATTENTION_INPUT")
def attention(context: LayerContext) -> Kernel:
    """norm(q @ k^T + mask) @ v; a query's scale must have been applied before.

    q is [B, Hq, Sq, D], k and v [B, Hkv, Skv, D] with Hq a multiple of Hkv, or packed [tokens, H, D] with
    cumulative lengths [B + 1]. A boolean mask says where to attend, another is added. Padded keys beyond
    key_value_lengths [B] are ignored. Inputs: q, k, v, mask, scale of the normalization's quantization,
    query lengths, key and value lengths.

    The whole attention is computed here; ATTENTION_OUTPUT hands it on.
    """
    causal = context["causal_kind"] or ("UPPER_LEFT" if context["causal"] else "NONE")
    to_type = context["normalization_quantize_to_type"]
    settings = _Attention(context["norm_op"] == "SOFTMAX", causal, None if to_type is None else DataType[to_type])
    query_packed = context["query_form"] == _PACKED
    key_packed = context["key_value_form"] == _PACKED

    def kernel(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        scale: Tensor | None = None,
        query_lengths: Tensor | None = None,
        key_lengths: Tensor | None = None,
    ) -> Tensor:
        if not query_packed and not key_packed and key_lengths is None:
            return settings.attend(query, key, value, mask, scale)
        queries = _items(query, query_packed, query_lengths)
        keys = _items(key, key_packed, key_lengths)
        values = _items(value, key_packed, key_lengths)
        results = []
        for item, (q, k, v) in enumerate(zip(queries, keys, values, strict=True)):
            part = None if mask is None else mask[min(item, mask.shape[0] - 1), ..., : k.shape[-2]]
            results.append(settings.attend(q, k, v, part, scale))
        if query_packed:
            return torch.cat([result.transpose(0, 1) for result in results])
        return torch.stack(results)

    return kernel


def _items(x: Tensor, packed: bool, lengths: Tensor | None) -> list[Tensor]:
    """One [H, S, D] for each batch item, without its padding."""
    if packed:
        if lengths is None:
            raise ValueError("packed tokens need cumulative lengths")
        ends = lengths.tolist()
        return [x[start:end].transpose(0, 1) for start, end in itertools.pairwise(ends)]
    if lengths is None:
        return list(x)
    # Query lengths of padded tensors are ignored, so these are those of keys.
    return [item[:, : int(length)] for item, length in zip(x, lengths.tolist(), strict=True)]


@implements("ATTENTION_OUTPUT")
def attention_output(context: LayerContext) -> Kernel:
    """The attention's result, which its input boundary computed."""
    return lambda x: x


@implements("ROTARY_EMBEDDING")
def rotary_embedding(context: LayerContext) -> Kernel:
    """Rotate pairs of the last dimension of x [B, H, S, D] by angles given as cosines and sines.

    A pair is made of adjacent elements where interleaved, else of elements half the rotated dimensions
    apart. The first ``rotary_embedding_dim`` dimensions are rotated, 0 meaning all. Cosines and sines
    are [B, S, dim/2], or [positions, dim/2] looked up by input 3, position ids [B, S].
    """
    interleaved, dimensions = context["interleaved"], context["rotary_embedding_dim"]

    def kernel(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
        if positions is not None:
            cos, sin = cos[positions.long()], sin[positions.long()]
        cos, sin = widen(cos).unsqueeze(1), widen(sin).unsqueeze(1)  # [B, 1, S, dim/2]
        count = dimensions or x.shape[-1]
        wide = widen(x)
        rotated, rest = wide[..., :count], wide[..., count:]
        split: Callable[[Tensor], tuple[Tensor, Tensor]] = _adjacent if interleaved else _halves
        first, second = split(rotated)
        real, imaginary = first * cos - second * sin, first * sin + second * cos
        joined = torch.stack((real, imaginary), -1).flatten(-2) if interleaved else torch.cat((real, imaginary), -1)
        return torch.cat((joined, rest), -1).to(x.dtype)

    return kernel


def _adjacent(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 0::2], x[..., 1::2]


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


@implements("KV_CACHE_UPDATE")
def kv_cache_update(context: LayerContext) -> Kernel:
    """The cache [B, H, S, D] with new tokens written from write_indices[b] on.

    The update is [B, H, T, D], or packed [tokens, H, D] with cumulative lengths [B + 1] as input 3. What
    would go beyond the cache is dropped. An engine writes into the cache that it is given; here the cache
    that comes in stays as it was, and the result is a new tensor.
    """
    packed = context["update_form"] == _PACKED

    def kernel(cache: Tensor, update: Tensor, indices: Tensor, lengths: Tensor | None = None) -> Tensor:
        result = cache.clone()
        items = _items(update, packed, lengths if packed else None)
        for batch, (item, start) in enumerate(zip(items, indices.tolist(), strict=True)):
            if 0 <= start < cache.shape[2]:
                count = min(item.shape[1], cache.shape[2] - start)
                result[batch, :, start : start + count] = item[:, :count]
        return result

    return kernel
