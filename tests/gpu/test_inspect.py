"""Engines looked at from inside: call by call through a second build, and in parts."""

import subprocess
import sys

import pytest
import torch
from faults import PICTURES, Scales, count_of, doubled, line_of, tanh, with_fault

import trtconv
from trtconv import tensorrt as trt
from trtconv.inspect import Part, bisect, compare
from trtconv.inspect.running import EngineRunner
from trtconv.passes.edit import rewritten

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def scales():
    torch.manual_seed(0)
    module = Scales().eval().cuda()
    return module, trtconv.convert(module, (PICTURES.cuda(),), tf32=False)


def faulty(is_met, kind, change):
    """What builds engines of parts, of wrong ones where a condition is met."""
    right = EngineRunner(tf32=False)

    def run(graph, feeds):
        return right(rewritten(graph, {kind: change}) if is_met(graph) else graph, feeds)

    return run


def resizes_are_computed_rightly():
    """TensorRT-RTX 1.6.1 gets three of them wrong together: `benchmarks/results/coverage_engines_h200.md`."""
    return not (trt.is_rtx() and trt.release().partition(" ")[2].startswith("1.6.1"))


def test_an_engine_is_right_at_every_call(scales):
    module, converted = scales
    assert converted.backend("cuda") == "tensorrt"
    found = compare(module, converted, PICTURES.cuda() * 1.5, layers=True)
    wrong = {call.origin.line for call in found.calls if call.share > 4}
    assert not wrong or not resizes_are_computed_rightly(), str(found)
    assert len(found.calls) == len(converted.network.sites) and not found.missing


def test_an_engine_that_is_wrong_is_wrong_from_a_line_on(scales):
    """The engine of another module, with the hyperbolic tangent where there was a softmax."""
    module, converted = scales
    wrong = with_fault(converted, "SOFTMAX", tanh).rebuild()
    assert compare(module, wrong, PICTURES.cuda(), layers=True).begins.origin.line == line_of(Scales, "softmax")


@pytest.mark.parametrize(("kind", "count"), [("SOFTMAX", 1), ("RESIZE", 3)])
def test_layers_that_are_built_wrongly_are_found(scales, kind, count, tmp_path):
    _, converted = scales
    run = faulty(lambda graph: count_of(graph, kind) >= count, kind, doubled)
    found = bisect(converted, PICTURES.cuda(), run=run, save=tmp_path / "wrong.py")
    assert [layer.type for layer in found.part.layers] == [kind] * count
    part = Part.load(tmp_path / "wrong.py")
    assert part.compare(part.run()).correct and not part.compare(part.run(run)).correct
    result = subprocess.run([sys.executable, tmp_path / "wrong.py"], capture_output=True, text=True, check=False)
    assert result.returncode == 0 and "correct" in result.stdout, result.stderr


@pytest.mark.parametrize("tf32", [False, True])
def test_from_a_wrong_answer_to_three_resizes(tf32):
    """On TensorRT-RTX 1.6.1 the engine of such a module is wrong, and bisecting it ends at the resizes."""
    torch.manual_seed(0)
    found = bisect(trtconv.convert(Scales().eval().cuda(), (PICTURES.cuda(),), tf32=tf32), PICTURES.cuda())
    if not found:
        assert resizes_are_computed_rightly(), "the release's known fault isn't found, or this module doesn't show it"
        return
    assert {layer.type for layer in found.part.layers} <= {"RESIZE", "ELEMENTWISE"}
    assert count_of(found.part.graph, "RESIZE") <= 3
    assert line_of(Scales, "resize") in {layer.origin.line for layer in found.part.layers}, str(found)
