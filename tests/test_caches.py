"""Decoders with caches of keys and values: as arguments that grow from call to call, and as state."""

import copy

import pytest
import torch
from torch import nn

import trtconv
from trtconv import Dim
from trtconv.errors import CaptureError, InputError

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # transformers warns of its own names

BATCH, PAST, NEW, SOURCE = Dim("batch", 1, 4), Dim("past", 1, 40), Dim("new", 1, 8), Dim("source", 1, 30)
LENGTHS = range(1, 21)
LLAMA = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GPT2 = {"vocab_size": 60, "n_embd": 32, "n_layer": 1, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
T5 = {"vocab_size": 60, "d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 1, "num_heads": 4}
WHISPER = {
    "vocab_size": 60,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "num_mel_bins": 8,
    "max_source_positions": 30,
    "max_target_positions": 64,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "decoder_start_token_id": 0,
}


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def check_cache(ours, theirs):
    assert type(ours) is type(theirs)
    if isinstance(theirs, transformers.EncoderDecoderCache):
        assert ours.is_updated == theirs.is_updated
        check_cache(ours.self_attention_cache, theirs.self_attention_cache)
        return check_cache(ours.cross_attention_cache, theirs.cross_attention_cache)
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        close((one.keys, one.values), (other.keys, other.values))


def grown(config, length, batch):
    """A cache of random keys and values."""
    cache = transformers.DynamicCache()
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", None)
    size = getattr(config, "d_kv", None) or config.hidden_size // config.num_attention_heads
    layers = getattr(config, "decoder_layers", None) or config.num_hidden_layers
    for layer in range(layers):
        cache.update(torch.randn(batch, heads, length, size), torch.randn(batch, heads, length, size), layer)
    return cache


@pytest.mark.parametrize(
    ("cls", "config"),
    [
        ("LlamaForCausalLM", transformers.LlamaConfig(**LLAMA)),
        ("GPT2LMHeadModel", transformers.GPT2Config(**GPT2)),
    ],
)
def test_steps_with_a_mask_and_a_growing_cache(cls, config):
    model = getattr(transformers, cls)(config).eval()

    def draw(past, new, batch):
        mask = torch.ones(batch, past + new, dtype=torch.int64)
        mask[1:, : past // 2] = 0
        ids = torch.randint(1, 60, (batch, new))
        return {"input_ids": ids, "attention_mask": mask, "past_key_values": grown(config, past, batch)}

    shapes = {
        "input_ids": {0: BATCH, 1: NEW},
        "attention_mask": {0: BATCH, 1: PAST + NEW},
        "past_key_values": {0: BATCH, 2: PAST},
    }
    converted = trtconv.convert(model, kwargs=draw(7, 2, 2), dynamic_shapes=shapes)
    for past in LENGTHS:
        given = draw(past, 1 + past % 3, 1 + past % 4)
        ours, theirs = converted(**given), model(**copy.deepcopy(given))
        close(ours.logits, theirs.logits)
        check_cache(ours.past_key_values, theirs.past_key_values)
        assert given["past_key_values"].get_seq_length() == past


@pytest.mark.parametrize("name", ["T5", "Whisper"])
def test_decoders_with_caches_of_their_own_and_of_the_encoder(name):
    """Both parts of the cache vary, one growing."""
    config = getattr(transformers, f"{name}Config")(**(T5 if name == "T5" else WHISPER))
    decoder = getattr(transformers, f"{name}Model")(config).eval().decoder

    def draw(past, source, batch):
        caches = [grown(config, length, batch) for length in (past, source)]
        return {
            "input_ids": torch.randint(1, 60, (batch, 1)),
            "encoder_hidden_states": torch.randn(batch, source, 32),
            "past_key_values": transformers.EncoderDecoderCache(*caches),
        }

    own, encoders = {0: BATCH, 2: PAST}, {0: BATCH, 2: SOURCE}
    shapes = {
        "input_ids": {0: BATCH},
        "encoder_hidden_states": {0: BATCH, 1: SOURCE},
        "past_key_values": {"self_attention_cache": own, "cross_attention_cache": encoders},
    }
    converted = trtconv.convert(decoder, kwargs=draw(7, 9, 2), dynamic_shapes=shapes)
    for past in LENGTHS:
        given = draw(past, 1 + past * 7 % 23, 1 + past % 4)
        ours, theirs = converted(**given), decoder(**copy.deepcopy(given))
        close(ours.last_hidden_state, theirs.last_hidden_state)
        check_cache(ours.past_key_values, theirs.past_key_values)
        assert given["past_key_values"].get_seq_length() == past


class Generating(nn.Module):
    """A decoder that keeps a static cache, in buffers."""

    def __init__(self, model, length):
        super().__init__()
        self.model = model
        self.cache = transformers.StaticCache(model.config, max_cache_len=length)
        config = model.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = config.hidden_size // config.num_attention_heads
        self.cache.early_initialization(1, heads, size, torch.float32, torch.device("cpu"))
        for index, layer in enumerate(self.cache.layers):
            for name in ("keys", "values", "cumulative_length"):
                self.register_buffer(f"{name}_{index}", getattr(layer, name))

    def forward(self, input_ids):
        return self.model(input_ids, past_key_values=self.cache, use_cache=True).logits


@pytest.mark.skipif(not hasattr(transformers.StaticCache, "early_initialization"), reason="an older transformers")
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_static_cache_is_state(name):
    if name == "llama":
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA))
    else:
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2))
    module = Generating(model, 32).eval()
    state = [name for name, _ in module.named_buffers() if not name.startswith("model.")]
    example, shapes = torch.randint(1, 60, (1, 5)), [{"input_ids": {1: 1}}, {"input_ids": {1: NEW}}]
    converted = trtconv.convert(module, example, state=state, dynamic_shapes=shapes)
    for count in [5, *[1] * 18, 3, 2]:
        ids = torch.randint(1, 60, (1, count))
        close(converted(ids), module(ids))
        close([converted.get_buffer(name) for name in state], [module.get_buffer(name) for name in state])
    assert int(converted.cumulative_length_0) == 28
    converted.reset_state()
    assert int(converted.cumulative_length_0) == 0


class Boxed:
    """An object that is there for its attributes."""

    def __init__(self, values, scale):
        self.values, self.scale, self.device, self.kind = values, scale, values.device, torch.float32


class TakesBoxed(nn.Module):
    def forward(self, box, how="new"):
        total = sum(box.values.values()) if isinstance(box.values, dict) else box.values
        if how == "new":
            return Boxed(total * box.scale, 2)
        box.scale, box.values = 3, total + 1
        return (box, total) if how == "same" else total


def test_objects_are_taken_apart_by_their_attributes():
    box, module = Boxed(torch.randn(3), 4), TakesBoxed()
    converted = trtconv.convert(module, (box,))
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(converted.state_dict())
    for each in (converted, loaded):
        given = Boxed(torch.randn(3), 4)
        result = each(given)
        assert (type(result), result.scale, result.device, result.kind) == (
            Boxed,
            2,
            torch.device("cpu"),
            torch.float32,
        )
        close(result.values, given.values * 4)
        for way in (sorted, reversed):  # the order of attributes is no matter
            given.__dict__ = {name: given.__dict__[name] for name in way(list(given.__dict__))}
            close(each(given).values, given.values * 4)
        with pytest.raises(InputError, match=r"\"box\['scale'\]\" is 5; the module was converted with 4"):
            each(Boxed(torch.randn(3), 5))
        given.kind = torch.int32
        with pytest.raises(InputError, match=r"\"box\['kind'\]\""):
            each(given)


def test_an_object_that_changes_has_to_be_returned():
    box = Boxed(torch.ones(3), 4)
    result, total = trtconv.convert(TakesBoxed(), (box, "same"))(box, "same")
    assert (result.scale, box.scale) == (3, 4)
    close((result.values, total), (torch.full((3,), 2.0), torch.ones(3)))
    with pytest.raises(CaptureError, match=r"changes args\[0\], a Boxed that it is given"):
        trtconv.convert(TakesBoxed(), (box, "not"))


def test_what_an_object_may_not_hold_is_named():
    box = Boxed(torch.ones(3), 4)
    box.scale = lambda: 4
    with pytest.raises(trtconv.ConversionError, match=r"a test_caches\.Boxed; allowed are"):
        trtconv.convert(TakesBoxed(), (box,))
