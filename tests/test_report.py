"""Reports: their numbers are those of the network, the trace and the plan."""

import collections
import html

import pytest
import torch
from torch import nn

import trtconv
from trtconv.shown import text
from trtconv.shown.table import Table


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.body(x).mean((2, 3))
        return self.head(x), self.head(x + 1).half()


@pytest.fixture(scope="module")
def converted():
    return trtconv.convert(Net().eval(), torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize("depth", [0, 1, None])
def test_numbers_by_module_are_the_networks(converted, depth):
    found = converted.report().by_module(depth)
    graph = converted.network

    def module(layer):
        return text.folded(layer.origin.module, depth)

    assert {name: counts.layers for name, counts in found.items() if counts.layers} == collections.Counter(
        map(module, graph.layers)
    )
    types = collections.Counter((module(layer), layer.type) for layer in graph.layers)
    assert {(name, kind): n for name, counts in found.items() for kind, n in counts.types.items()} == types
    # The batch norm is folded into the convolution; the head's weights are in the network once or twice, as one.
    assert sum(counts.weights for counts in found.values()) == sum(
        weights.numel() for weights in {weights.data_ptr(): weights for weights in graph.weights()}.values()
    )
    expected = {0: {"": 6}, 1: {"body": 2, "": 3, "head": 2}, None: {"body.0": 1, "body.2": 1, "": 3, "head": 2}}
    calls = {name: counts.calls for name, counts in found.items()}
    assert sum(calls.values()) == converted.plan.provenance["calls"]
    if depth is not None and depth > 0:
        assert calls == expected[depth]


def test_weights_are_those_of_what_is_built(converted):
    assert converted.report().by_module(1)["body"].weights == 4 * 3 * 9 + 4  # the batch norm made a bias


def test_passes_times_and_sizes_are_told(converted):
    report = converted.report()
    rows = [(name, before - after, new) for name, before, after, new, _ in report.passes().rows]
    assert ("fold batch norm", 1, 1) in rows
    assert report.engine_bytes == len(converted.engine)
    assert report.weight_bytes == 4 * sum(counts.weights for counts in report.by_module().values())
    assert set(report.seconds) == {"capture", "emit", "build"}
    assert report.folded_operators > 0  # those that fold the batch norm
    assert report.dtypes.keys() == {"float32", "float16"}
    for said in (str(report), html.unescape(report._repr_html_())):
        assert f"engine {text.bytes_text(report.engine_bytes)}" in said
        assert "fold batch norm" in said and "test_report.Net" in said and "float16" in said
        assert all(module in said for module in ("body", "head", "(outermost)"))


def test_a_saved_module_reports_the_same(converted):
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(converted.state_dict())
    assert str(loaded.report()) == str(converted.report())
    rebuilt = converted.rebuild().report()
    assert rebuilt.passes().rows == converted.report().passes().rows
    assert rebuilt.by_module() == converted.report().by_module()


def test_what_is_not_known_is_left_out():
    report = trtconv.convert(nn.ReLU(), torch.randn(2), keep_network=False).report()
    assert "wasn't kept" in str(report) and report.folded_operators is None


def test_html_is_escaped():
    table = Table(("a<b",), [("<script>",)])
    assert "<script>" not in table._repr_html_() and "<script>" in str(table)


@pytest.mark.parametrize("count", [1, 40])
def test_a_module_is_one_short_line(count):
    class Sum(nn.Module):
        def forward(self, xs):
            return sum(xs)

    shown = repr(trtconv.convert(Sum(), ([torch.randn(2, 3)] * count,)))
    assert len(shown) < 200 and "\n" not in shown and "float32[2, 3]" in shown
