"""ATTENTION, KV_CACHE_UPDATE, ROTARY_EMBEDDING and MOE."""

import math

import torch
import torch.nn.functional as F

from trtconv import tensorrt as trt

from ..case import FLOATS, Case, uniform

INT32 = torch.int32


def attention(name, q, kv, expected, norm="SOFTMAX", causal=None, extra=(), configure=None, dtypes=FLOATS):
    """``causal`` None uses add_attention, else add_attention_v2 with that kind."""

    def build(net, query, key, value, *more):
        operation = getattr(trt.AttentionNormalizationOp, norm)
        if causal is None:
            layer = net.add_attention(query, key, value, operation, False)
        else:
            kind = getattr(trt.CausalMaskKind, causal)
            layer = net.add_attention_v2(query, key, value, operation, kind)
        layer.decomposable = True
        if configure is not None:
            configure(layer, *more)
        return layer

    inputs = (uniform(*q, low=-1, high=1), uniform(*kv, low=-1, high=1), uniform(*kv), *extra)
    # Weights are rounded to the type before the second product, which torch's formula does not do.
    return Case(f"attention-{name}", build, expected, inputs, dtypes, steps=2.0, dynamic=False)


def reference(q, k, v, mask=None, causal=False):
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=1.0)


def grouped(q, k, v):
    repeats = q.shape[1] // k.shape[1]
    return reference(q, k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1))


def lower_right(q, k, v):
    queries, keys = q.shape[2], k.shape[2]
    visible = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    return reference(q, k, v, visible)


def with_lengths(q, k, v, lengths):
    rows = [reference(q[b : b + 1], k[b : b + 1, :, :n], v[b : b + 1, :, :n]) for b, n in enumerate(lengths)]
    return torch.cat(rows)


def masked(q, k, v, mask):
    """The formula itself: nothing is a number where a query sees no key."""
    return (q @ k.mT).masked_fill(~mask, -math.inf).softmax(-1) @ v


def with_lengths_and_mask(q, k, v, lengths, mask):
    mask = mask.expand(2, 4, 5, 7)
    rows = [masked(q[b], k[b, :, :n], v[b, :, :n], mask[b, :, :, :n]) for b, n in enumerate(lengths)]
    return torch.stack(rows)


def set_mask(layer, mask):
    layer.mask = mask


def set_lengths(layer, lengths):
    layer.key_value_lengths = lengths


def set_lengths_and_mask(layer, lengths, mask):
    layer.key_value_lengths, layer.mask = lengths, mask


def packed(net, q, k, v, lengths, mask=None):
    kind = trt.CausalMaskKind.UPPER_LEFT if mask is None else trt.CausalMaskKind.NONE
    layer = net.add_attention_v2(q, k, v, trt.AttentionNormalizationOp.SOFTMAX, kind)
    if mask is not None:
        layer.mask = mask
    layer.query_form = layer.key_value_form = trt.AttentionIOForm.PACKED_NHD
    layer.query_lengths = layer.key_value_lengths = lengths
    return layer


def packed_expected(q, k, v, lengths):
    parts = []
    for start, end in ((0, 3), (3, 8)):
        one = [x[start:end].transpose(0, 1)[None] for x in (q, k, v)]
        parts.append(reference(*one, causal=True)[0].transpose(0, 1))
    return torch.cat(parts)


def packed_and_masked(q, k, v, lengths, mask):
    parts = []
    for item, (start, end) in enumerate(((0, 3), (3, 8))):
        one = [x[start:end].transpose(0, 1) for x in (q, k, v)]
        parts.append(masked(*one, mask[item, :, : end - start, : end - start]).transpose(0, 1))
    return torch.cat(parts)


def rotary(name, x, angles, expected, interleaved=False, dimensions=0, positions=None, dtypes=FLOATS):
    def build(net, x, cos, sin, *ids):
        layer = net.add_rotary_embedding(x, cos, sin, interleaved, dimensions)
        if ids:
            layer.set_input(3, ids[0])
        return layer

    inputs = (uniform(*x), uniform(*angles, low=-1, high=1), uniform(*angles, low=-1, high=1))
    more = () if positions is None else (positions,)
    return Case(f"rotary-{name}", build, expected, (*inputs, *more), dtypes, dynamic=False)


def rotate_halves(x, cos, sin):
    """As transformers' apply_rotary_pos_emb writes it."""
    cos, sin = (torch.cat((t, t), -1)[:, None] for t in (cos, sin))
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


def rotate_pairs(x, cos, sin):
    """As a product of complex numbers."""
    pairs = torch.view_as_complex(x.double().reshape(*x.shape[:-1], -1, 2).contiguous())
    turn = torch.complex(cos.double(), sin.double())[:, None]
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


def rotate_part(x, cos, sin):
    return torch.cat((rotate_halves(x[..., :4], cos, sin), x[..., 4:]), -1)


def rotate_positions(x, cos, sin, ids):
    return rotate_halves(x, cos[ids], sin[ids])


def cache_update(net, cache, update, indices):
    return net.add_kv_cache_update(cache, update, indices, trt.KVCacheMode.LINEAR)


def updated(cache, update, indices):
    y = cache.clone()
    y[0, :, 1:3] = update[0]
    y[1, :, 4:5] = update[1, :, :1]  # the second token falls off the end
    return y


def experts(biased):
    def build(net, x, selected, scores, gate, up, down, *biases):
        layer = net.add_moe(x, selected, scores)
        layer.set_gated_weights(gate, up, down, trt.MoEActType.SILU)
        if biased:
            layer.set_gated_biases(*biases)
        return layer

    def expected(x, selected, scores, gate, up, down, *biases):
        b = biases or [torch.zeros(1, 1, dtype=x.dtype).expand(3, n) for n in (6, 6, 4)]
        y = torch.zeros_like(x)
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                for expert, score in zip(selected[i, j].tolist(), scores[i, j], strict=True):
                    hidden = F.silu(x[i, j] @ gate[expert] + b[0][expert])
                    hidden = hidden * (x[i, j] @ up[expert] + b[1][expert])
                    y[i, j] += score * (hidden @ down[expert] + b[2][expert])
        return y

    selected = torch.tensor([[[0, 2], [1, 0], [2, 1]]], dtype=INT32)
    biases = (uniform(3, 6), uniform(3, 6), uniform(3, 4)) if biased else ()
    weights = (uniform(3, 4, 6), uniform(3, 4, 6), uniform(3, 6, 4))
    return Case(
        f"moe{'-biased' if biased else ''}",
        build,
        expected,
        (uniform(1, 3, 4), selected, uniform(1, 3, 2, low=0, high=1), *weights, *biases),
        dynamic=False,
        engine=False,
        steps=4.0,
    )


Q, KV = (2, 4, 5, 8), (2, 4, 7, 8)
MASK = torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(1)) < 0.6
MASK[..., 0] = True
PACKED_MASK = MASK[..., :5]
LOST_QUERY = MASK.clone()
LOST_QUERY[1, 0, 2] = False
LENGTHS = torch.tensor([3, 7], dtype=INT32)
PACKED = (*[uniform(8, 4, 8, low=-1, high=1)] * 3, torch.tensor([0, 3, 8], dtype=INT32))
CASES = [
    attention("plain", Q, KV, reference),
    attention("no-softmax", Q, KV, lambda q, k, v: q @ k.mT @ v, "NONE", dtypes=FLOATS[:1]),
    attention("grouped", Q, (2, 2, 7, 8), grouped),
    attention("causal", Q, KV, lambda q, k, v: reference(q, k, v, causal=True), causal="UPPER_LEFT"),
    attention("causal-lower-right", Q, KV, lower_right, causal="LOWER_RIGHT"),
    attention("decode", (2, 4, 1, 8), KV, lower_right, causal="LOWER_RIGHT"),
    attention("bool-mask", Q, KV, reference, extra=(MASK,), configure=set_mask),
    attention("added-mask", Q, KV, reference, extra=(uniform(1, 4, 5, 7),), configure=set_mask),
    attention("lost-query", Q, KV, masked, extra=(LOST_QUERY,), configure=set_mask),
    attention("lengths", Q, KV, with_lengths, extra=(LENGTHS,), configure=set_lengths),
    *(
        attention(
            f"lengths-mask-{name}", Q, KV, with_lengths_and_mask, extra=(LENGTHS, mask), configure=set_lengths_and_mask
        )
        for name, mask in (("items", MASK), ("one", MASK[:1]), ("keys", MASK[:, :, :1]))
    ),
    Case("attention-packed", packed, packed_expected, PACKED, FLOATS, dynamic=False, engine=False, steps=2.0),
    Case(
        "attention-packed-mask",
        packed,
        packed_and_masked,
        (*PACKED, PACKED_MASK),
        FLOATS,
        dynamic=False,
        engine=False,
        steps=2.0,
    ),
    rotary("halves", (2, 3, 5, 8), (2, 5, 4), rotate_halves),
    rotary("interleaved", (2, 3, 5, 8), (2, 5, 4), rotate_pairs, True),
    rotary("part", (2, 3, 5, 8), (2, 5, 2), rotate_part, False, 4),
    rotary(
        "positions",
        (2, 3, 5, 8),
        (9, 4),
        rotate_positions,
        positions=torch.tensor([[0, 1, 2, 3, 4], [8, 7, 0, 0, 1]]),
    ),
    Case(
        "kv-cache-update",
        cache_update,
        updated,
        (uniform(2, 3, 5, 4), uniform(2, 3, 2, 4), torch.tensor([1, 4], dtype=INT32)),
        FLOATS,
        dynamic=False,
    ),
    experts(False),
    experts(True),
]
