"""New weights for engines that are there, on a stand-in for TensorRT's refitter: a GPU builds such engines."""

import itertools
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch import nn

import trtconv
from trtconv import tensorrt as trt
from trtconv.errors import EngineError
from trtconv.graph.weights import to_tensor
from trtconv.passes import for_engine
from trtconv.runtime.refitting import changed_layers, refit
from trtconv.runtime.session import _bring_up_to_date


class Net(nn.Module):
    """Weights of all kinds of layers: kernels with and without a bias, folded ones, constants, and integers."""

    def __init__(self, width=4):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(2, width, 3), nn.BatchNorm2d(width)
        self.up, self.linear = nn.ConvTranspose2d(width, 3, 2, bias=False), nn.Linear(7, 5)
        self.register_buffer("places", torch.arange(3).flip(0))

    def forward(self, x):
        x = self.up(self.norm(self.convolution(x)).relu())
        return self.linear(x)[:, self.places]


def made(seed, **options):
    torch.manual_seed(seed)
    net = Net(**options)
    net.norm.running_var.uniform_(0.5, 2)
    return net.eval()


def built_of(graph):
    return for_engine(graph, tf32=True)


@pytest.fixture
def builds(monkeypatch):
    """Engines that are numbers, in place of TensorRT's; gives the options of each build."""
    options = []

    def build(graph, *_, **given):
        options.append(given)
        return torch.full((1,), len(options), dtype=torch.uint8)

    monkeypatch.setattr("trtconv.build.build", build)
    return options


class Refitter:
    """A stand-in for `trt.Refitter` on an engine with all weights of a graph but those of the layers `fixed`."""

    def __init__(self, engine, logger):
        self.engine = engine

    def get_all(self):
        roles = {"weights": "CONSTANT", "kernel": "KERNEL", "bias": "BIAS"}
        names = [
            (layer.name, trt.WeightsRole.__members__[role])
            for layer, (name, role) in itertools.product(self.engine.graph.layers, roles.items())
            if isinstance(layer.attributes.get(name), torch.Tensor) and layer.name not in self.engine.fixed
        ]
        return list(map(list, zip(*names, strict=True)))

    def set_weights(self, name, role, weights):
        self.engine.pending[name, role.name] = weights
        return name not in self.engine.refused

    def refit_cuda_engine(self):
        # Only now is the memory read.
        self.engine.weights = {key: to_tensor(weights).clone() for key, weights in self.engine.pending.items()}
        return not self.engine.fails


@pytest.fixture
def engine_of(monkeypatch):
    monkeypatch.setattr(trt.load(), "Refitter", Refitter)

    def make(graph):
        return SimpleNamespace(graph=built_of(graph), fixed=(), refused=(), fails=False, pending={}, weights=None)

    return make


def weights_of(graph):
    roles = {"weights": "CONSTANT", "kernel": "KERNEL", "bias": "BIAS"}
    return {
        (layer.name, roles[name]): value.reshape(-1)
        for layer in graph.layers
        for name, value in layer.attributes.items()
        if isinstance(value, torch.Tensor)
    }


def test_a_refittable_module_takes_weights_without_a_build(builds, engine_of):
    x, second, third = torch.randn(1, 2, 8, 8), made(2), made(3)
    converted = trtconv.convert(made(1), x, refittable=True)
    assert [each["refittable"] for each in builds] == [True]
    engine, first = engine_of(converted.network), converted.plan.segments[0]
    _bring_up_to_date(first, engine)
    assert engine.weights is None
    second.linear.load_state_dict(made(1).linear.state_dict())
    converted.update_weights(second)
    layers = [converted.plan.segments[0].outdated.layers]
    converted.update_weights(third)
    layers.append(converted.plan.segments[0].outdated.layers)
    assert set(layers[0]) < set(layers[1]) and first.outdated is None
    torch.testing.assert_close(converted(x), third(x))
    with torch.no_grad():
        third.convolution.weight.zero_()
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(converted.state_dict())
    for each in (converted, loaded):
        segment = each.plan.segments[0]
        assert bytes(segment.engine.numpy()) == b"\1" and segment.outdated.layers == layers[1]
        _bring_up_to_date(segment, engine)
        expected = weights_of(built_of(trtconv.convert(made(3), x).network))
        assert engine.weights.keys() == expected.keys() > set()
        assert all(torch.equal(value, expected[key]) for key, value in engine.weights.items())
    del builds[1:]
    # Other tools get an engine with the module's weights, and what is built anew needs none.
    with pytest.warns(UserWarning, match="the engine has older weights than the module; it was built again"):
        assert bytes(loaded.engine.serialize()) == b"\2"
    assert loaded.plan.segments[0].outdated is None and len(builds) == 2
    assert [loaded.rebuild(refittable=flag).plan.provenance["refittable"] for flag in (None, False)] == [True, False]


def test_an_engine_that_cannot_take_the_weights_is_built_again(builds, engine_of):
    x = torch.randn(1, 2, 8, 8)
    converted = trtconv.convert(made(1), x)
    converted.update_weights(made(2))
    assert len(builds) == 2 and converted.plan.segments[0].outdated is None
    converted = trtconv.convert(made(1), x, refittable=True)
    with mock.patch("trtconv.rebuilding.changed_layers", return_value=None):
        converted.update_weights(made(2))
    assert len(builds) == 4 and converted.plan.segments[0].outdated is None


def test_layers_that_changed():
    x = torch.randn(1, 2, 8, 8)
    with mock.patch("trtconv.build.build", return_value=torch.zeros(1, dtype=torch.uint8)):
        graphs = [trtconv.convert(net, x).network for net in (made(1), made(1), made(2), made(1, width=5))]
    one, same, other, wider = map(built_of, graphs)
    assert changed_layers(one, same) == []
    assert (
        {"convolution.conv2d", "up.conv_transpose2d"}
        <= set(changed_layers(one, other))
        < {layer.name for layer in one.layers}
    )
    assert changed_layers(one, wider) is None


@pytest.mark.parametrize(
    "what, message",
    [
        ({"fixed": ["convolution.conv2d"]}, "takes no new weights of layer 'convolution.conv2d'"),
        (
            {"refused": ["convolution.conv2d"]},
            "take the new weights of layer 'convolution.conv2d'. TensorRT says",
        ),
        ({"fails": True}, "the engine doesn't take new weights. TensorRT says"),
    ],
)
def test_what_the_engine_refuses_is_told(builds, engine_of, what, message):
    graph = trtconv.convert(made(1), torch.randn(1, 2, 8, 8)).network
    engine = engine_of(graph)
    vars(engine).update(what)
    with pytest.raises(EngineError, match=message):
        refit(engine, built_of(graph), ["convolution.conv2d"])


def test_options():
    with pytest.raises(ValueError, match="refittable=1: it is True or False"):
        trtconv.convert(made(1), torch.randn(1, 2, 8, 8), refittable=1)
    with pytest.raises(ValueError, match="needs the network"):
        trtconv.convert(made(1), torch.randn(1, 2, 8, 8), refittable=True, keep_network=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines where TensorRT-RTX builds no such engine")
def test_where_no_such_engine_is_built_the_error_says_what_to_do():
    with pytest.raises(trtconv.BuildError, match=r"(?s)TensorRT says:.*refittable=True"):
        trtconv.convert(made(1), torch.randn(1, 2, 8, 8), refittable=True)
