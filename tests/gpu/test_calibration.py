"""Calibration and the search for a precision where there is a GPU."""

import copy
import json

import pytest
import torch
from test_ranges import OVERFLOWING, compare_with_fp16, draw
from test_search_precision import make

import trtconv
from trtconv.calibration import Observer, observe, samples
from trtconv.calibration.ranges import find_ranges
from trtconv.passes.precision_choice import Choice
from trtconv.search import relative_error

pytestmark = pytest.mark.gpu


class Devices(Observer):
    def __init__(self):
        self.seen = set()

    def see_tensor(self, name, value):
        self.seen.add(value.device.type)


def test_what_is_observed_runs_on_the_gpu_and_finds_what_the_cpu_does():
    torch.manual_seed(0)
    for module, change in OVERFLOWING.values():
        converted = trtconv.convert(copy.deepcopy(module).eval(), draw(change), cache=False)
        graph = converted.plan.segments[0].graph
        data = list(samples([draw(change)], converted.plan.signature))
        devices = Devices()
        observe(graph, data, [devices])
        assert devices.seen == {"cuda"}
        found = [
            find_ranges(graph, data, device=torch.device(each)).kept(Choice.of("fp16")) for each in ("cpu", "cuda")
        ]
        assert found[0].keys() == found[1].keys()


@pytest.mark.parametrize("name", OVERFLOWING)
def test_calibrated_engines_keep_their_answers(name):
    torch.manual_seed(0)
    module, change = OVERFLOWING[name]
    module, x = copy.deepcopy(module).eval().cuda(), draw(change).cuda()
    converted = trtconv.convert(
        module, x, precision="fp16", calibration=[draw(change) for _ in range(4)], tf32=False, cache=False
    )
    found = compare_with_fp16(module, converted(x), x)
    assert found.correct, str(found)


def test_a_search_measures_by_the_gpu_s_clock(tmp_path):
    module, data = make()
    state = tmp_path / "search.json"
    module = module.cuda()
    found = trtconv.search_precision(module, data, args=data[0].cuda(), budget=0.02, state=state, cache=False)
    numbers = json.loads(state.read_text())["numbers"]
    seconds = {key: value for key, value in numbers.items() if key.startswith("seconds")}
    assert len(seconds) == 2 and all(0 < value < 1 for value in seconds.values())
    kept = [key for key, name in found.items() if name == "fp32"]
    assert kept == ["default"] or all(key.startswith("middle.bad") for key in kept)  # so small, fp32 may be faster
    converted = trtconv.convert(module, data[0].cuda(), precision=found, cache=False)
    with torch.no_grad():
        assert relative_error(converted(data[0].cuda()), module(data[0].cuda())) <= 0.03  # TensorFloat-32 counts too
