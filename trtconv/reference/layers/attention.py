"""ATTENTION, KV_CACHE_UPDATE and ROTARY_EMBEDDING."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trtconv.graph.data import DataType
from trtconv.reference.layers.precision import matmul, widen
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
        scores = matmul(widen(query), widen(key).mT)
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
        return matmul(widen(weights), widen(value)).to(query.dtype)


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
        _check_heads(query, key, value)
        if not query_packed and not key_packed and key_lengths is None:
            mask = _spread(mask, query.shape[0], query.shape[1], query.shape[2], key.shape[2])
            return settings.attend(query, key, value, mask, scale)
        # Query lengths of padded tensors are ignored.
        queries = _items(query, query_packed, query_lengths if query_packed else None)
        keys = _items(key, key_packed, key_lengths)
        values = _items(value, key_packed, key_lengths)
        if len(queries) != len(keys):
            raise ValueError(f"queries are of {len(queries)} items, keys of {len(keys)}")
        longest = [max((x.shape[1] for x in items), default=0) for items in (queries, keys)]
        rows = longest[0] if query_packed else query.shape[2]
        columns = longest[1] if key_packed else key.shape[2]
        mask = _spread(mask, len(queries), query.shape[1], rows, columns)
        results = []
        for item, (q, k, v) in enumerate(zip(queries, keys, values, strict=True)):
            part = None if mask is None else mask[item, :, : q.shape[1], : k.shape[1]]
            results.append(settings.attend(q, k, v, part, scale))
        if query_packed:
            return torch.cat([result.transpose(0, 1) for result in results])
        return torch.stack(results)

    return kernel


def _check_heads(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Refuse shapes that TensorRT refuses where it knows them beforehand; heads are axis 1, packed or not."""
    if key.shape != value.shape:
        raise ValueError(f"keys {list(key.shape)} and values {list(value.shape)} differ in shape")
    if query.shape[1] % max(key.shape[1], 1):
        raise ValueError(f"{query.shape[1]} heads of queries are no multiple of {key.shape[1]} heads of keys")


def _spread(mask: Tensor | None, *shape: int) -> Tensor | None:
    """A mask for every item, head, query and key."""
    if mask is None:
        return None
    if mask.dim() != 4 or any(size not in (1, full) for size, full in zip(mask.shape, shape, strict=True)):
        raise ValueError(f"a mask {list(mask.shape)} doesn't spread over [items, heads, queries, keys] {list(shape)}")
    return mask.expand(shape)


def _items(x: Tensor, packed: bool, lengths: Tensor | None) -> list[Tensor]:
    """One [H, S, D] for each batch item, without its padding."""
    if packed:
        if lengths is None:
            raise ValueError("packed tokens need cumulative lengths")
        ends = lengths.tolist()
        if ends[:1] != [0] or ends[-1] != x.shape[0] or ends != sorted(ends):
            raise ValueError(f"cumulative lengths {ends} don't go from 0 to the {x.shape[0]} tokens")
        return [x[start:end].transpose(0, 1) for start, end in itertools.pairwise(ends)]
    if lengths is None:
        return list(x)
    counts = lengths.tolist()
    if len(counts) != x.shape[0] or any(not 0 <= count <= x.shape[2] for count in counts):
        raise ValueError(f"lengths {counts} don't fit {x.shape[0]} items of up to {x.shape[2]} tokens")
    return [item[:, :count] for item, count in zip(x, counts, strict=True)]


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
