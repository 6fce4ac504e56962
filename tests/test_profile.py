"""Profiles: what is timed, where it comes from, and how it adds up."""

import copy
import json
import logging
import pickle
import time

import pytest
import stand_in_engine
import torch
from torch import nn

import trtconv
from trtconv.calling.signature import Signature, TensorSpec
from trtconv.graph import Graph, Layer, TensorType
from trtconv.graph.data import DataType
from trtconv.graph.metadata import names_in
from trtconv.inspect import Profile, TimedLayer
from trtconv.places import Origin
from trtconv.plan import Plan, Segment
from trtconv.reference import Interpreter
from trtconv.shown import timing


class Loop(nn.Module):
    """An LSTM, whose network has a loop, after a convolution."""

    def __init__(self):
        super().__init__()
        self.conv, self.lstm = nn.Conv1d(3, 4, 3), nn.LSTM(4, 5, batch_first=True)

    def forward(self, x):
        return self.lstm(self.conv(x).relu().transpose(1, 2))[0]


@pytest.fixture(scope="module")
def converted():
    return trtconv.convert(Loop().eval(), torch.randn(2, 3, 9))


def test_the_network_is_timed_layer_by_layer_without_a_gpu(converted):
    x = torch.randn(2, 3, 9)
    profile = converted.profile(x, n=3)
    graph = converted.network
    layers = {layer.name: layer for layer in graph.layers}
    assert (profile.backend, profile.device, profile.runs) == ("reference", "cpu", 3)
    assert "no engine" in str(profile) and "no engine" in profile._repr_html_()
    timed = {layer.name for layer in profile.layers}
    needs_input = {layer.name for layer in graph.layers if layer.type in ("CONVOLUTION", "ACTIVATION", "ELEMENTWISE")}
    assert needs_input <= timed <= set(layers)
    assert any("loop" in layer.attributes for layer in graph.layers), "the case has a loop, whose layers are timed too"
    for layer in profile.layers:
        assert layer.origins == (layers[layer.name].origin,) and layer.milliseconds >= 0
    conv = next(layer for layer in profile.layers if layers[layer.name].type == "CONVOLUTION")
    assert (conv.modules, conv.dtype, conv.shapes) == (("conv",), "float32", "[2, 4, 1, 7]")


def test_sleeping_layers_take_as_long_as_they_sleep(converted, monkeypatch):
    real = timing.Interpreter

    def slow(graph, around):
        class Sleeping:
            def __init__(self, layer):
                self.context = around(layer)

            def __enter__(self):
                self.context.__enter__()
                time.sleep(0.001)

            def __exit__(self, *error):
                self.context.__exit__(*error)

        return real(graph, around=Sleeping)

    monkeypatch.setattr(timing, "Interpreter", slow)
    profile = converted.profile(torch.randn(2, 3, 9), n=1)
    assert all(layer.milliseconds >= 1 for layer in profile.layers)
    steps = 7
    assert any(layer.milliseconds >= steps and layer.modules == ("lstm",) for layer in profile.layers)


@pytest.mark.parametrize("depth", [0, 1, 2, None])
def test_times_by_module_add_up(depth):
    at = [Origin(module, "net.py", 1, "f") for module in ("a.b.c", "a.b.d", "a.e", "")]
    layers = [
        TimedLayer("one", (at[0], at[1]), "float32", "[1]", 3.0),
        TimedLayer("two", (at[2], at[3]), "float32", "[1]", 5.0),
        TimedLayer("three", (), "", "", 1.0),
    ]
    profile = Profile(tuple(layers), 1, "tensorrt", "GPU")
    expected = {
        0: {"": 9.0},
        1: {"a": 5.5, "": 3.5},
        2: {"a.b": 3.0, "a.e": 2.5, "": 3.5},
        None: {"a.b.c": 1.5, "a.b.d": 1.5, "a.e": 2.5, "": 3.5},
    }
    assert profile.by_module(depth) == expected[depth]
    assert sum(profile.by_module(depth).values()) == profile.milliseconds == 9.0


def test_tables_json_and_traces_say_the_same(converted, tmp_path):
    profile = converted.profile(torch.randn(2, 3, 9), n=2)
    told = json.loads(profile.to_json(tmp_path / "profile.json"))
    assert told == json.loads((tmp_path / "profile.json").read_text())
    assert [(each["name"], each["milliseconds"]) for each in told["layers"]] == [
        (layer.name, layer.milliseconds) for layer in profile.layers
    ]
    assert sum(each["share"] for each in told["layers"]) == pytest.approx(1)
    assert told["layers"][0]["origins"][0]["module"] == "conv"
    assert len(profile.table().rows) == len(profile.layers)
    slowest = max(profile.layers, key=lambda layer: layer.milliseconds)
    assert profile.table(3).rows[0][0] == slowest.name and slowest.name in str(profile)

    trace = json.loads(profile.to_chrome_trace(tmp_path / "trace.json"))["traceEvents"]
    events = [event for event in trace if event["ph"] == "X"]
    by_lane = {depth: [event for event in events if event["tid"] == depth] for depth in (0, 1)}
    assert [event["name"] for event in by_lane[0]] == [layer.name for layer in profile.layers]
    for before, after in zip(by_lane[0], by_lane[0][1:], strict=False):
        assert after["ts"] == pytest.approx(before["ts"] + before["dur"])
    modules = sum(event["dur"] for event in by_lane[1]) / 1000
    assert modules == pytest.approx(profile.milliseconds - profile.by_module().get("", 0.0))


def test_a_plot_has_a_bar_for_each_layer_or_module(converted):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    profile = converted.profile(torch.randn(2, 3, 9), n=1)
    by_layer, by_module = profile.plot(), profile.plot(depth=1)
    assert len(by_layer.patches) == min(20, len(profile.layers))
    assert sorted(patch.get_width() for patch in by_module.patches) == sorted(profile.by_module(1).values())
    matplotlib.pyplot.close("all")


def test_profiling_prints_at_each_call_and_leaves_nothing(converted, capsys):
    x = torch.randn(2, 3, 9)
    expected = converted(x)
    converted.enable_profiling()
    copies = [copy.deepcopy(converted), pickle.loads(pickle.dumps(converted))]
    assert torch.equal(converted(x), expected)
    lines = capsys.readouterr().out.splitlines()
    converted.disable_profiling()
    for module in (converted, *copies):
        assert torch.equal(module(x), expected)
        assert "forward" not in vars(module)
    assert capsys.readouterr().out == ""
    assert all(line.endswith("ms") for line in lines) and any(line.startswith("conv.conv1d") for line in lines)


def test_ranges_are_around_calls_and_layers(converted, monkeypatch):
    ranges = []
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", ranges.append)
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: ranges.append(None))
    x = torch.randn(2, 3, 9)
    expected = converted(x)
    with converted.nvtx_ranges():
        assert torch.equal(converted(x), expected)
    assert ranges[0].startswith("TRTModule") and ranges[-1] is None
    inside = [name for name in ranges[1:-1] if name]
    assert "conv.conv1d" in " ".join(inside) and ranges.count(None) == len(inside) + 1
    ranges.clear()
    converted(x)
    assert ranges == []


def test_a_layer_runs_in_its_context_once_and_constants_in_none(converted):
    seen = []

    class Around:
        def __init__(self, layer):
            self.layer = layer

        def __enter__(self):
            seen.append(self.layer.name)

        def __exit__(self, *error):
            pass

    graph = converted.network
    Interpreter(graph, around=Around).run({"input_0": torch.randn(2, 3, 9)})
    assert not {layer.name for layer in graph.layers if layer.type == "CONSTANT"} & set(seen)
    assert seen.count(next(layer.name for layer in graph.layers if layer.type == "CONVOLUTION")) == 1


# -- engines, as far as they can be followed without a GPU -------------------------------------------


def test_each_layer_of_a_built_engine_names_the_layers_that_it_was_made_of(caplog):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    with caplog.at_level(logging.DEBUG, "trtconv.tensorrt"):
        converted = trtconv.convert(module.eval(), torch.randn(1, 3, 8, 8))
    (layers,) = [text for record in caplog.records if (text := record.getMessage()).startswith("Layers:")]
    named = [names_in(line.rpartition("Metadata:")[2]) for line in layers.splitlines()[1:]]
    known = {layer.name for layer in converted.network.layers}
    assert {name for names in named for name in names} <= known
    assert known - {name for names in named for name in names} <= {
        layer.name for layer in converted.network.layers if layer.type in ("CONSTANT", "SHUFFLE")
    }
    assert any(len(names) > 1 for names in named), "some layers are fused"


def at(module, line):
    return Origin(module, "net.py", line, "f")


ORIGINS = {"a.conv": at("a", 1), "a.relu": at("a", 2), "b <c>": at("b", 3), "d.elu": at("d", 4)}


@pytest.mark.parametrize(
    ("name", "metadata", "found"),
    [
        ("conv_myl0_1", "<a.conv><a.relu>", [1, 2]),
        ("conv_myl0_1", "<a.conv>\x1e<b %3Cc%3E>", [1, 3]),
        ("__myl_Mul", "<d.elu.activation_1>", [4]),  # a pass has added it in the place of d.elu
        ("a.conv + a.relu", None, [1, 2]),
        ("PWN(a.relu, d.elu)", None, [2, 4]),
        ("Reformatting", "", []),
    ],
)
def test_layers_of_an_engine_have_all_their_origins(monkeypatch, name, metadata, found):
    engine = stand_in_engine.install(monkeypatch)
    engine.times = [(name, 2.0), ("other", 1.0)]
    said = {"Name": name, "Metadata": metadata, "Outputs": [{"Datatype": "Half", "Dimensions": [1, 2]}]}
    engine.information = json.dumps({"Layers": [name if metadata is None else said, "other"], "Bindings": ["x"]})
    tensors = {each: TensorType(DataType.FLOAT, (-1, -1)) for each in "xy"}
    layers = tuple(Layer(key, "IDENTITY", {}, (), (), origin) for key, origin in ORIGINS.items())
    graph = Graph(("x",), ("y",), (*layers, Layer("y", "IDENTITY", {}, ("x",), ("y",))), tensors)
    specs = [TensorSpec(each, torch.float32, ("?", "?")) for each in "xy"]
    segment = Segment(("x",), ("y",), torch.empty(7, dtype=torch.uint8), graph)
    module = trtconv.TRTModule(Plan(Signature.of_tensors(specs[:1], specs[1:]), (segment,), {}))
    x = torch.randn(2, 3)
    module(x)
    contexts = engine.contexts
    profile = module.profile(x, n=4)
    layer, other = profile.layers
    assert (layer.name, layer.milliseconds, other.milliseconds) == (name, 2.0, 1.0)
    assert [origin.line for origin in layer.origins] == found
    assert (layer.dtype, layer.shapes) == (("", "") if metadata is None else ("float16", "[1, 2]"))
    assert profile.backend == "tensorrt" and "no engine" not in str(profile)
    assert engine.contexts == contexts + 1, "the profiler has a context of its own"
    engine.taken_log()
    assert torch.equal(module(x), x * 2 + 1)


@pytest.mark.parametrize("n", [0, 2.0, True])
def test_the_number_of_runs_is_checked(converted, n):
    with pytest.raises(ValueError, match="n="):
        converted.profile(torch.randn(2, 3, 9), n=n)
