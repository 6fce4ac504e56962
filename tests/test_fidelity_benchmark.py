"""The benchmark of precisions measures a small model, and says where a bar is missed."""

import importlib
import pathlib
import sys

import pytest
import torch

BENCHMARKS = pathlib.Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def fidelity(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("fidelity")
    sys.modules.pop("fidelity")


FACTS = {"machine": "here", "versions": "now"}


def test_a_small_model_is_measured(fidelity):
    device = torch.device("cpu")
    rows = list(fidelity.measure("tiny", *fidelity.of_suite("tiny", device), device))
    assert [row["precision"] for row in rows] == ["fp32", "fp16", "bf16"]
    assert 0 < rows[0]["error"] < 1e-5 < rows[1]["error"] < rows[2]["error"] < 0.1
    assert fidelity.report(rows, "cpu", FACTS).count("| tiny |") == 3


MISSED = {
    "twice as far off": {"error": 0.5},
    "not finite": {"largest": float("inf")},
    "other classes": {"model": "pictures", "agreement": 97.9},
    "other embeddings": {"model": "sentences", "cosine": 0.9998},
}


@pytest.mark.parametrize("name", MISSED)
def test_a_missed_bar_is_said(fidelity, name):
    numbers = {"error": 0.1, "torch": 0.1, "largest": 0.1, "torch_largest": 0.1}
    answers = {"agreement": 100.0, "torch_agreement": 100.0, "cosine": 1.0, "torch_cosine": 1.0}
    row = {"model": "tiny", "precision": "fp16", "calls": 1, **numbers, **answers}
    assert "All bars are met" in fidelity.report([row], "cpu", FACTS)
    row |= MISSED[name]
    assert f"Bars missed: {row['model']} in fp16" in fidelity.report([row], "cpu", FACTS)
