"""ONNX's own node tests through TensorRT's parser and the interpreter: where the two disagree is listed."""

import collections

import numpy
import pytest
import torch

from trtconv import tensorrt as trt
from trtconv.reference import Interpreter, LayerError

pytest.importorskip("onnx")

from .engine import build
from .onnx_nodes import AWAITING, DIFFERENT, DIFFERENT_IN, MISFITS, PARSER_LOSES, cases, feed, parse

# How many agree at least: the rest the parser refuses.
AGREEING = {"static": 850, "dynamic": 600, "constants": 270, "dynamic constants": 260}
TOLERANCES = {torch.float32: 2e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}


def agree(result, answer):
    """Whether errors are at most the type's tolerance, and a few roundings of the largest value."""
    answer = torch.from_numpy(numpy.asarray(answer).astype(numpy.float64))
    tolerance = TOLERANCES.get(result.dtype, 0.0)
    finite = answer[answer.isfinite()].abs()
    rounding = torch.finfo(result.dtype).eps if result.is_floating_point() else 0.0
    slack = max(tolerance, 4 * rounding * float(finite.max())) if finite.numel() else tolerance
    return result.shape == answer.shape and torch.allclose(result.double(), answer, tolerance, slack, equal_nan=True)


def outcome(model, inputs, answers):
    """ "refused", "misfits" (the first run refuses the shapes), "agrees" or "differs"."""
    if not all(isinstance(array, (numpy.ndarray, numpy.generic)) for array in (*inputs, *answers)):
        return "refused"  # sequences, optionals and types that numpy lacks
    parsed = parse(model)
    if parsed is None:
        return "refused"
    interpreter = Interpreter(parsed[0])
    try:
        results = interpreter.run(feed(interpreter.graph, inputs)).values()
    except LayerError:
        return "misfits"
    return "agrees" if all(map(agree, results, answers)) else "differs"


@pytest.mark.filterwarnings("ignore")
def test_onnx_nodes():
    found = collections.defaultdict(lambda: collections.defaultdict(set))
    for name, form, model, inputs, answers in cases():
        found[form][outcome(model, inputs, answers)].add(name)
    listed = set(PARSER_LOSES) | set(DIFFERENT)
    assert found["static"]["differs"] == listed
    assert set(AWAITING) <= set(DIFFERENT) | set(DIFFERENT_IN["constants"])
    assert found["dynamic"]["misfits"] == set(MISFITS)
    for form, names in found.items():
        assert names["differs"] - listed == set(DIFFERENT_IN.get(form, ())), form
        assert not names["agrees"] & listed, form
        assert names["misfits"] <= set(MISFITS), form
    assert all(len(found[form]["agrees"]) > least for form, least in AGREEING.items())


@pytest.mark.skipif(not trt.is_rtx(), reason="only TensorRT-RTX builds without a GPU")
@pytest.mark.filterwarnings("ignore")
def test_what_the_interpreter_refuses_for_its_shapes_the_builder_refuses():
    refused = set()
    for name, form, model, inputs, _ in cases(MISFITS):
        if form == "dynamic":
            network, _parser = parse(model)
            if build(network, feed(Interpreter(network).graph, inputs)) is None:
                refused.add(name)
    assert refused == set(MISFITS)
