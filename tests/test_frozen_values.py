"""Values that differ from call to call are told by their line; what only looks like one isn't."""

import random
import warnings

import numpy
import pytest
import torch
from torch import nn

import trtconv


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.step = 0

    def forward(self, x):
        self.step += 1
        return x.relu() * self.step


class CountsInside(nn.Sequential):
    pass


class DrawsFromPython(nn.Module):
    def forward(self, x):
        return x.relu() * random.random()


class DrawsFromNumpy(nn.Module):
    def forward(self, x):
        return x.relu() + torch.from_numpy(numpy.random.rand(3)).to(x)


class Branches(nn.Module):
    """Runs one layer more from the second call on."""

    def __init__(self):
        super().__init__()
        self.started = False

    def forward(self, x):
        y = x.exp() if self.started else x
        self.started = True
        return y.relu()


class KeepsAState(nn.Module):
    """What the last call left, as tensors or not there before the first call."""

    def __init__(self, state):
        super().__init__()
        self.state = state

    def forward(self, x):
        if self.state is None:
            self.state = torch.zeros(3)
        self.state = self.state + x[0]
        return x.relu() + self.state


class CountsInTensors(nn.Module):
    def __init__(self):
        super().__init__()
        self.step = torch.zeros(())

    def forward(self, x):
        self.step = self.step + 1
        return x.relu() * self.step


FROZEN = {
    "counter": (Counts(), "step (0, then 1)"),
    "inside": (CountsInside(nn.ReLU(), Counts()), "1.step (0, then 1)"),
    "random": (DrawsFromPython(), "random numbers"),
    "numpy": (DrawsFromNumpy(), "random numbers"),
    "state": (KeepsAState(torch.zeros(3)), "state (float32[3], then float32[3])"),
    "later-state": (KeepsAState(None), "state (None, then float32[3])"),
    "tensor": (CountsInTensors(), "step (float32[], then float32[])"),
    "branch": (Branches(), "started (False, then True)"),
}


@pytest.mark.parametrize("dynamic_shapes", [None, {0: (1, 2, 4)}], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", FROZEN)
def test_values_that_differ_from_call_to_call_are_told(name, dynamic_shapes):
    module, words = FROZEN[name]
    before = dict(module.__dict__)
    parameter = "input" if name == "inside" else "x"
    options = {} if dynamic_shapes is None else {"dynamic_shapes": {parameter: dynamic_shapes}}
    if name in ("random", "numpy") and options:
        pytest.skip("its captures for several sizes differ, which is an error")
    with pytest.warns(trtconv.FrozenValueWarning) as warned:
        trtconv.convert(module.eval(), [torch.randn(2, 3)], **options)
    (warning,) = [each for each in warned if each.category is trtconv.FrozenValueWarning]
    assert words in str(warning.message)
    assert "test_frozen_values.py:" in str(warning.message)
    assert {**module.__dict__, "training": None} == {**before, "training": None}


class CountsForNothing(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls, self.size, self.table, self.shown, self.scale = 0, None, None, None, torch.ones(3)

    def forward(self, x):
        self.calls += 1
        self.size = x.shape[-1]
        if self.table is None:
            self.table = torch.arange(3.0)
        self.shown = x * 2
        self.scale = self.scale.to(torch.float64)
        random.random()
        numpy.random.rand()
        return x * self.table * self.scale.to(x.dtype)


@pytest.mark.parametrize(
    "module", [CountsForNothing(), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())]
)
def test_values_that_nothing_uses_are_not_told(module):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trtconv.convert(module.eval(), [torch.randn(2, 3)])
