"""transformers' models from their configurations, with random weights: the real architectures with fewer layers."""

from __future__ import annotations

from families import transformers_sentences, transformers_text, transformers_vision

EXAMPLES = [*transformers_text.EXAMPLES, *transformers_vision.EXAMPLES, *transformers_sentences.EXAMPLES]
