"""Checks: what doesn't convert is listed all at once, with its lines, and nothing is built."""

import inspect

import pytest
import torch
from torch import nn

import trtconv
from trtconv.errors import CaptureError
from trtconv.inspect import checking


class Gate(nn.Module):
    def forward(self, x):
        if x.sum() > 0:  # read
            return x * 2
        return torch.linalg.qr(x)[0]  # not taken


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.gate = Gate()
        self.more = nn.ModuleList([nn.Linear(4, 4)])
        self.last = nn.Linear(4, 4)

    def forward(self, x):
        x = self.gate(self.first(x))
        x = torch.linalg.svd(x)[0]  # decomposition
        x = self.more[0](x)
        places = torch.nonzero(x)  # sized
        y = x + torch.igamma(x.abs(), x.abs())  # special
        row = int((x + torch.rand_like(x)).argmax())  # read
        return self.last(y), places * 2, y[row % 2], torch.poisson(y.abs())  # random


def lines(kind, mark):
    """The lines of a class that have a mark."""
    source, start = inspect.getsourcelines(kind)
    return [start + place for place, line in enumerate(source) if line.rstrip().endswith(f"# {mark}")]


@pytest.fixture(scope="module")
def found():
    patch = pytest.MonkeyPatch()
    patch.setattr("trtconv.build.build", None)  # nothing is built
    try:
        return trtconv.check(Net().eval(), torch.rand(4, 4) + 1)
    finally:
        patch.undo()


def test_all_calls_that_do_not_convert_are_listed_with_their_lines(found):
    torch_only = {(call.call.split("(")[0], call.origin.line) for call in found.problems if call.status == "torch only"}
    assert torch_only == {
        ("torch.linalg.svd", *lines(Net, "decomposition")),
        ("torch.nonzero", *lines(Net, "sized")),
        ("torch.igamma", *lines(Net, "special")),
        ("torch.poisson", *lines(Net, "random")),
    }
    reads = [(call.origin.module, call.origin.line) for call in found.problems if call.status == "Python reads values"]
    assert reads == [("gate", *lines(Gate, "read")), ("", *lines(Net, "read"))]
    assert all(call.reason for call in found.problems) and not found.converts
    reasons = {call.call.split("(")[0]: call.reason for call in found.problems}
    assert reasons["torch.poisson"] == checking.without_converter(NoConverter).args[0]


class NoConverter:
    target = torch.ops.aten.poisson.default


def test_the_largest_submodules_that_convert_whole_are_named(found):
    assert found.whole == {"first": 2, "more.0": 1, "last": 1}
    for path in found.whole:
        trtconv.convert(Net().get_submodule(path).eval(), torch.randn(4, 4))


def test_what_is_printed_has_counts_lines_and_reasons(found):
    for said in (str(found), found._repr_html_()):
        assert all(status in said for status in ("converter", "torch only", "Python reads values"))
        assert f"test_check.py:{lines(Net, 'special')[0]}" in said and "first (2 calls)" in said
    assert len(found.table().rows) == len(found.calls)
    counts = dict(found.summary().rows)
    assert sum(counts.values()) == len(found.calls) and counts["converter"] == len(found.calls) - 6


def test_a_module_that_converts_is_said_to():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    x = torch.randn(1, 3, 8, 8)
    found = trtconv.check(module, [x])
    assert found.converts and found.whole == {"": 2} and "converts whole" in str(found)
    assert trtconv.convert(module, [x]).plan.provenance["calls"] == len(found.calls)


class Refused(nn.Module):
    def forward(self, x):
        return refuse(torch.relu(x)) + refuse(x)


def refuse(x):
    return x * 3


def test_what_converters_refuse_or_fail_at_is_listed_too(clean):
    @trtconv.tensorrt_converter(refuse)
    def convert(ctx):
        raise trtconv.UnsupportedArgumentError("it takes no such tensors")

    found = trtconv.check(Refused(), torch.randn(2))
    assert [call.reason for call in found.problems] == ["it takes no such tensors"] * 2
    assert sum(call.status == "converter" for call in found.calls) == 2 and found.whole == {}


def test_without_tensorrt_arguments_are_not_checked(monkeypatch):
    monkeypatch.setattr(checking.trt, "is_available", lambda: False)
    monkeypatch.setattr(checking, "obstacles", None)
    found = trtconv.check(Net().eval(), torch.rand(4, 4) + 1)
    assert not found.is_thorough and "isn't installed" in str(found) and len(found.problems) == 6


class Keeps(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.register_buffer("count", torch.zeros(3))

    def forward(self, x):
        x = self.inner(x)
        self.count += x.sum(0)
        return torch.igamma(x, x)


def test_where_the_pass_cannot_go_on_the_check_ends_with_what_it_has():
    found = trtconv.check(Keeps().eval(), torch.rand(2, 3))
    assert [call.status for call in found.problems] == ["torch only", "the check ends here"]
    assert "count" in found.problems[-1].reason and found.whole == {"inner": 1}


def test_nothing_is_left_behind(clean):
    module, x = Net().eval(), torch.rand(4, 4) + 1
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    trtconv.check(module, x)
    assert torch.equal(torch.rand(3), expected), "random numbers are drawn as before"
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert type(module(x)[0]) is torch.Tensor


def test_training_mode_is_refused():
    with pytest.raises(CaptureError, match="training mode"):
        trtconv.check(nn.Dropout(), torch.randn(2))
