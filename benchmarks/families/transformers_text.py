"""Models over tokens: encoders, decoders, and both."""

from __future__ import annotations

import torch

from families.transformers_inputs import constant, next_token, numbers, renamed, together, tokens
from families.transformers_rows import BATCH, LENGTH, TOKENS, InDoubleToo, NextToken, row, with_cache

FEW = {"num_hidden_layers": 3, "vocab_size": 2000}
SMALL = {"hidden_size": 512, "intermediate_size": 1024, "num_attention_heads": 8, **FEW}
DECODER = {**SMALL, "use_cache": False}
GROUPED = {**DECODER, "num_key_value_heads": 2}
"""A decoder whose queries share keys and values in groups of four."""
CACHED = {**GROUPED, "use_cache": True}
GPT = {"n_embd": 512, "n_layer": 3, "n_head": 8, "vocab_size": 2000}
PAIR = {"encoder_layers": 2, "decoder_layers": 2, "d_model": 512, "vocab_size": 2000, "use_cache": False}

BOXES = constant(bbox=torch.arange(128).reshape(2, 16, 4))
PAIRS = together(tokens(), renamed(tokens(), input_ids="decoder_input_ids", attention_mask="decoder_attention_mask"))
STATES = together(
    tokens(),
    numbers("encoder_hidden_states", 16, 512, batches=(2,)),
    renamed(tokens(), attention_mask="encoder_attention_mask"),
)
PAST = [({0: BATCH, 2: LENGTH}, {0: BATCH, 2: LENGTH})] * 3

ENCODERS = [
    row("bert", "BertModel", tokens(), **FEW),
    row("bert-eager", "BertModel", tokens(), **FEW, attn_implementation="eager"),
    row("bert-dynamic", "BertModel", tokens(dynamic=True), **FEW, dynamic=TOKENS),
    row("bert-masked-lm", "BertForMaskedLM", tokens(), "BertConfig", **FEW),
    row("roberta", "RobertaModel", tokens(pad=1), **FEW),
    row("roberta-classifier", "RobertaForSequenceClassification", tokens(pad=1), "RobertaConfig", **FEW),
    row("xlm-roberta", "XLMRobertaModel", tokens(pad=1), **FEW),
    row("distilbert", "DistilBertModel", tokens(), n_layers=3, vocab_size=2000),
    row("albert", "AlbertModel", tokens(), **SMALL),
    row("deberta", "DebertaModel", tokens(), **FEW, relative_attention=True, pos_att_type="c2p|p2c"),
    row(
        *("deberta-v2", "DebertaV2Model", tokens()),
        **{**SMALL, "relative_attention": True, "pos_att_type": "p2c|c2p", "position_buckets": 256},
        **{"norm_rel_ebd": "layer_norm", "share_att_key": True},
    ),
    row("electra", "ElectraModel", tokens(), **FEW),
    row("mobilebert", "MobileBertModel", tokens(), **FEW),
    row("mpnet", "MPNetModel", tokens(pad=1), **FEW),
    row("modernbert", "ModernBertModel", tokens(), num_hidden_layers=4, vocab_size=2000, pad_token_id=0),
    row("convbert", "ConvBertModel", tokens(), **FEW),
    row("squeezebert", "SqueezeBertModel", tokens(), **FEW),
    row("funnel", "FunnelModel", tokens(), block_sizes=[1, 1, 1], num_decoder_layers=1, vocab_size=2000),
    row("xlnet", "XLNetModel", tokens(left=True), n_layer=3, d_model=512, n_head=8, d_inner=1024, vocab_size=2000),
    row("roformer", "RoFormerModel", tokens(), **FEW),
    row("layoutlm", "LayoutLMModel", together(tokens(), BOXES), **FEW),
]

DECODERS = [
    row("gpt2", "GPT2LMHeadModel", tokens(), "GPT2Config", **GPT, use_cache=False),
    row("gpt2-left-padding", "GPT2LMHeadModel", tokens(left=True), "GPT2Config", **GPT, use_cache=False),
    row("gpt2-dynamic", "GPT2LMHeadModel", tokens(dynamic=True), "GPT2Config", **GPT, use_cache=False, dynamic=TOKENS),
    row("gpt2-cache", "GPT2LMHeadModel", tokens(), "GPT2Config", **GPT, wrapper=with_cache),
    row("llama", "LlamaForCausalLM", tokens(), **GROUPED),
    row("llama-eager", "LlamaForCausalLM", tokens(), **GROUPED, attn_implementation="eager"),
    row("llama-left-padding", "LlamaForCausalLM", tokens(left=True), **GROUPED),
    row("llama-dynamic", "LlamaForCausalLM", tokens(dynamic=True), **GROUPED, dynamic=TOKENS),
    row("llama-cache", "LlamaForCausalLM", tokens(), **CACHED, wrapper=with_cache),
    row(
        *("llama-next-token", "LlamaForCausalLM", next_token(3, 2, 64)),
        **CACHED,
        wrapper=NextToken,
        dynamic={"input_ids": {0: BATCH}, "past": PAST},
    ),
    row("mistral", "MistralForCausalLM", tokens(), **GROUPED, sliding_window=8),
    row("qwen2", "Qwen2ForCausalLM", tokens(), **GROUPED),
    row("qwen3", "Qwen3ForCausalLM", tokens(), **GROUPED, head_dim=64),
    row("gemma", "GemmaForCausalLM", tokens(), **GROUPED, head_dim=64),
    row("gemma2", "Gemma2ForCausalLM", tokens(), **GROUPED, head_dim=64, sliding_window=8),
    row("gemma3", "Gemma3ForCausalLM", tokens(), "Gemma3TextConfig", **GROUPED, head_dim=64, sliding_window=8),
    row("phi", "PhiForCausalLM", tokens(), **DECODER),
    row("phi3", "Phi3ForCausalLM", tokens(), **GROUPED, pad_token_id=0),
    row("opt", "OPTForCausalLM", tokens(pad=1), **DECODER, ffn_dim=1024, word_embed_proj_dim=512),
    row("gpt-neox", "GPTNeoXForCausalLM", tokens(), **DECODER),
    row(
        *("gpt-neo", "GPTNeoForCausalLM", tokens()),
        **{"hidden_size": 512, "num_layers": 2, "attention_types": [[["global", "local"], 1]], "num_heads": 8},
        **{"window_size": 8, "vocab_size": 2000, "use_cache": False},
    ),
    row("gptj", "GPTJForCausalLM", tokens(), **GPT, rotary_dim=32, use_cache=False),
    row("bloom", "BloomForCausalLM", tokens(left=True), **GPT, hidden_size=512, use_cache=False),
    row("falcon", "FalconForCausalLM", tokens(), **DECODER),
    row("olmo", "OlmoForCausalLM", tokens(), **GROUPED),
    row("stablelm", "StableLmForCausalLM", tokens(), **GROUPED),
    row("starcoder2", "Starcoder2ForCausalLM", tokens(), **GROUPED),
    row("cohere", "CohereForCausalLM", tokens(), **GROUPED, pad_token_id=0),
    row("mixtral", "MixtralForCausalLM", tokens(), **GROUPED, num_local_experts=4, wrapper=InDoubleToo),
    row("mamba", "MambaForCausalLM", tokens(), hidden_size=256, num_hidden_layers=2, vocab_size=2000, use_cache=False),
]

T5 = {"num_layers": 3, "vocab_size": 2000, "use_cache": False}
SOUND = numbers("input_features", 80, 200)
SOUNDS = numbers("input_features", 80, 200, batches=(2, 1, 8, 3))
HEARD = together(tokens(), numbers("encoder_hidden_states", 100, 384, batches=(2,)))
WHISPER = {"max_source_positions": 100, "vocab_size": 2000, "pad_token_id": 0, "use_cache": False}

ENCODER_DECODERS = [
    row("t5-encoder", "T5EncoderModel", tokens(), "T5Config", **T5),
    row("t5-encoder-dynamic", "T5EncoderModel", tokens(dynamic=True), "T5Config", **T5, dynamic=TOKENS),
    row("t5-decoder", "T5Model", STATES, part="decoder", **T5),
    row("t5", "T5ForConditionalGeneration", PAIRS, "T5Config", **T5),
    row("bart-encoder", "BartModel", tokens(pad=1), part="encoder", **PAIR),
    row("bart-decoder", "BartModel", STATES, part="decoder", **PAIR),
    row("bart", "BartForConditionalGeneration", PAIRS, "BartConfig", **PAIR),
    row("marian", "MarianMTModel", PAIRS, "MarianConfig", **PAIR, pad_token_id=0),
    row("pegasus", "PegasusModel", PAIRS, **PAIR),
    row("whisper-encoder", "WhisperModel", SOUND, part="encoder", **WHISPER),
    row(
        *("whisper-encoder-dynamic", "WhisperModel", SOUNDS),
        **{**WHISPER, "part": "encoder", "dynamic": {"input_features": {0: BATCH}}},
    ),
    row("whisper-decoder", "WhisperModel", HEARD, part="decoder", **WHISPER),
]

EXAMPLES = [*ENCODERS, *DECODERS, *ENCODER_DECODERS]
