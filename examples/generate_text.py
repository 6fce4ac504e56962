"""Decode greedily with a converted language model, in two ways, and compare with PyTorch.

    python examples/generate_text.py                   a small Llama
    python examples/generate_text.py --model gpt2      a small GPT-2
    python examples/generate_text.py --no-compile      without torch.compile, which takes a compiler and its time

The models have random weights, so that the "text" is numbers of tokens. Each way is one engine with two optimization
profiles: one for the prompt, one for the single tokens after it.

- The past as arguments: a call takes the keys and values of the tokens before and returns them with its own, as
  transformers' models do by default.
- The past as state: a static cache lies in buffers of the model, which each call reads and writes. Calls of one token
  always have the same shapes, so that one CUDA graph runs them on a GPU.

On a machine with a GPU that TensorRT supports the engines run there; elsewhere the reference interpreter runs the same
networks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import transformers

import trtconv

LONGEST = 256
PROMPT = trtconv.Dim("prompt", 1, 64, opt=16)
PAST = trtconv.Dim("past", 1, LONGEST, opt=LONGEST // 2)
VOCABULARY, WIDTH, LAYERS, HEADS = 1000, 256, 4, 8

Step = Callable[[torch.Tensor], torch.Tensor]
"""Takes the next tokens [1, count], and returns the logits after the last [1, vocabulary]."""


def make_model(name: str) -> torch.nn.Module:
    """A small model, whose weights are large enough for tokens that differ."""
    sizes = {"vocab_size": VOCABULARY, "initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": 0}
    if name == "gpt2":
        config = transformers.GPT2Config(**sizes, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS)
        return transformers.GPT2LMHeadModel(config).eval()
    config = transformers.LlamaConfig(
        **sizes,
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
    )
    return transformers.LlamaForCausalLM(config).eval()


def heads_of(config: transformers.PretrainedConfig) -> int:
    """How many heads keys and values have."""
    return getattr(config, "num_key_value_heads", None) or HEADS


class WithPast(torch.nn.Module):
    """A decoder that is given the keys and values of the tokens before."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, tokens: torch.Tensor, past: transformers.DynamicCache
    ) -> tuple[torch.Tensor, transformers.DynamicCache]:
        result = self.model(tokens, past_key_values=past, use_cache=True)
        return result.logits[:, -1], result.past_key_values


class WithState(torch.nn.Module):
    """A decoder that keeps keys and values in buffers of its own."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model
        self.cache = transformers.StaticCache(model.config, max_cache_len=LONGEST)
        size, device = WIDTH // HEADS, next(model.parameters()).device
        self.cache.early_initialization(1, heads_of(model.config), size, torch.float32, device)
        for index, layer in enumerate(self.cache.layers):
            for name in ("keys", "values", "cumulative_length"):
                self.register_buffer(f"{name}_{index}", getattr(layer, name))

    @property
    def state(self) -> list[str]:
        """The names of the buffers of the cache."""
        return [name for name, _ in self.named_buffers(recurse=False)]

    def reset(self) -> None:
        """Forget all tokens."""
        for name in self.state:
            self.get_buffer(name).zero_()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.model(tokens, past_key_values=self.cache, use_cache=True).logits[:, -1]


def empty_past(config: transformers.PretrainedConfig, device: torch.device) -> transformers.DynamicCache:
    """A cache of no tokens, whose tensors have their shapes."""
    past = transformers.DynamicCache()
    for layer in range(LAYERS):
        empty = torch.empty(1, heads_of(config), 0, WIDTH // HEADS, device=device)
        past.update(empty, empty, layer)
    return past


def stepping(module: Callable[..., tuple[torch.Tensor, transformers.DynamicCache]], past: object) -> Step:
    """Steps of a module that is given the past and returns it."""

    def step(tokens: torch.Tensor) -> torch.Tensor:
        nonlocal past
        logits, past = module(tokens, past)
        return logits

    return step


@torch.no_grad()
def decode(step: Step, prompt: torch.Tensor, count: int) -> tuple[list[int], float]:
    """The best tokens one after the other, and how many come a second, after the first two."""
    tokens = [step(prompt).argmax(1)]
    tokens.append(step(tokens[-1][:, None]).argmax(1))
    wait_for(prompt.device)
    began = time.perf_counter()
    while len(tokens) < count:
        tokens.append(step(tokens[-1][:, None]).argmax(1))
    wait_for(prompt.device)
    seconds = time.perf_counter() - began
    return [int(token) for token in tokens], (count - 2) / seconds


def wait_for(device: torch.device) -> None:
    """Wait for what a GPU is given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description="Decode with a converted language model.")
    parser.add_argument("--model", choices=("llama", "gpt2"), default="llama")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--steps", type=int, default=200, help="how many tokens (3 to 240)")
    options = parser.parse_args()
    steps: int = options.steps
    if not 3 <= steps <= 240:
        parser.error("--steps takes 3 to 240")
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = make_model(options.model).to(device)
    prompt = torch.randint(VOCABULARY, (1, 12), device=device)

    # fp32 as exact as PyTorch's, so that the same token is the best one 200 times.
    with_past = trtconv.convert(
        WithPast(model),
        (prompt, empty_past(model.config, device)),
        dynamic_shapes=[{"tokens": {1: PROMPT}, "past": {2: 0}}, {"tokens": {1: 1}, "past": {2: PAST}}],
        tf32=False,
    )
    stateful = WithState(model).eval()
    with_state = trtconv.convert(
        stateful,
        prompt,
        dynamic_shapes=[{"tokens": {1: PROMPT}}, {"tokens": {1: 1}}],
        state=stateful.state,
        tf32=False,
    )
    theirs, speed = decode(stepping(WithPast(model), empty_past(model.config, device)), prompt, steps)
    print(f"{'PyTorch, eager':<28}{speed:>8.0f} tokens/s")

    def compare(name: str, make: Callable[[], Step], reset: Callable[[], None]) -> None:
        decode(make(), prompt, steps)  # in which kernels are compiled and graphs are captured
        reset()
        ours, speed = decode(make(), prompt, steps)
        same = sum(one == other for one, other in zip(ours, theirs, strict=True))
        print(f"{name:<28}{speed:>8.0f} tokens/s, {same} of {steps} tokens as eager PyTorch's")

    if not options.no_compile:
        compiled = torch.compile(stateful, mode="reduce-overhead" if device.type == "cuda" else None)
        compare("PyTorch, torch.compile", lambda: compiled, stateful.reset)
    compare("converted, past as arguments", lambda: stepping(with_past, empty_past(model.config, device)), lambda: None)
    compare("converted, past as state", lambda: with_state, with_state.reset_state)
    print("tokens:", *theirs[:12], "...")


if __name__ == "__main__":
    main()
