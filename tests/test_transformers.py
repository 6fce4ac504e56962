"""Language models with a dynamic batch and length: masks, positions and caches that follow from them."""

import pytest
import torch

import trtconv
from trtconv import Dim
from trtconv.inspect import compare

transformers = pytest.importorskip("transformers")

BATCH, LENGTH = Dim(min=1, max=8, opt=2, name="batch"), Dim(min=1, max=40, opt=12, name="length")
TOKENS = {0: BATCH, 1: LENGTH}
SIZES = ((1, 1), (1, 40), (8, 1), (8, 40), (3, 7))
SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
GPT2 = {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4}
GROUPED = {**SMALL, "num_key_value_heads": 2}
T5 = {"vocab_size": 100, "d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4}


def tokens(batch, length, padding="right"):
    """Tokens whose rows but the first are padded; with padding=None without a mask."""
    ids = torch.randint(1, 100, (batch, length))
    if padding is None:
        return {"input_ids": ids}
    lengths = torch.randint(1, length + 1, (batch, 1))
    lengths[0] = length
    places = torch.arange(length)
    mask = places < lengths if padding == "right" else places >= length - lengths
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def check(module, draw, dynamic):
    module = module.eval()
    converted = trtconv.convert(module, kwargs=draw(2, 12), dynamic_shapes=dynamic)
    for size in SIZES:
        result = compare(module, converted, (), draw(*size))
        assert result.correct, f"{size}: {result}"


@pytest.mark.parametrize(
    ("cls", "config", "options", "paddings"),
    [
        ("BertModel", "BertConfig", SMALL, ("right", None)),
        ("GPT2LMHeadModel", "GPT2Config", {**GPT2, "use_cache": False}, ("left", None)),
        ("LlamaForCausalLM", "LlamaConfig", {**GROUPED, "use_cache": False}, ("left", None)),
        ("MistralForCausalLM", "MistralConfig", {**GROUPED, "sliding_window": 8, "use_cache": False}, ("left",)),
        ("T5EncoderModel", "T5Config", T5, ("right",)),
    ],
)
def test_dynamic_batch_and_length(cls, config, options, paddings):
    module = getattr(transformers, cls)(getattr(transformers, config)(**options))
    for padding in paddings:

        def draw(batch, length, padding=padding):
            return tokens(batch, length, padding)

        check(module, draw, dict.fromkeys(draw(2, 2), TOKENS))


class NextToken(torch.nn.Module):
    """A decoder that takes the keys and values of the tokens before, and returns them with its own."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, past):
        cache = transformers.DynamicCache()
        for index, (keys, values) in enumerate(past):
            cache.update(keys, values, index)
        result = self.model(input_ids=input_ids, past_key_values=cache, use_cache=True)
        return result.logits, [(layer.keys, layer.values) for layer in result.past_key_values.layers]


def test_next_token_with_a_growing_cache():
    module = NextToken(transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED)))

    def draw(batch, length):
        past = [tuple(torch.randn(batch, 2, length, 8) for _ in range(2)) for _ in range(2)]
        return {"input_ids": torch.randint(1, 100, (batch, 1)), "past": past}

    cached = {0: BATCH, 2: LENGTH}
    check(module, draw, {"input_ids": {0: BATCH}, "past": [(cached, cached)] * 2})


def test_caches_are_containers_once_registered():
    """As by default: the first call returns a cache, the next one takes it."""
    transformers.integrations.executorch.register_dynamic_cache_export_support()
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)).eval()
    converted = trtconv.convert(model, kwargs=tokens(2, 7, "left"))
    prompt = tokens(2, 7, "left")
    assert compare(model, converted, (), prompt).correct
    mask = torch.cat([prompt["attention_mask"], torch.ones(2, 1, dtype=torch.int64)], 1)

    def following():
        cache = converted(**prompt).past_key_values
        return {"input_ids": torch.tensor([[5], [6]]), "attention_mask": mask, "past_key_values": cache}

    converted_next = trtconv.convert(model, kwargs=following())
    assert compare(model, converted_next, (), following()).correct
    assert converted_next(**following()).past_key_values.get_seq_length() == 8


def test_a_mask_of_ones_is_left_out_as_without_conversion():
    """Nystromformer's own code adds a mask of other sizes to its scores, and relies on that."""
    config = transformers.NystromformerConfig(**SMALL, segment_means_seq_len=16, num_landmarks=4)
    module = transformers.NystromformerModel(config).eval()
    for dynamic_shapes in (None, {"input_ids": {0: trtconv.Dim(1, 4)}}):
        converted = trtconv.convert(module, torch.randint(1, 100, (2, 16)), dynamic_shapes=dynamic_shapes)
        assert compare(module, converted, torch.randint(1, 100, (2 if dynamic_shapes is None else 3, 16))).correct


def test_a_decoder_with_a_loop_and_elus():
    config = transformers.EncodecConfig(num_filters=4, hidden_size=8, num_residual_layers=1, upsampling_ratios=[2, 2])
    module = transformers.EncodecModel(config).decoder.eval()
    assert compare(module, trtconv.convert(module, torch.randn(1, 8, 6)), torch.randn(1, 8, 6)).correct
