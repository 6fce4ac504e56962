"""Comparing call by call: a layer that is wrong is found at the line that it comes from."""

import pytest
import torch
from faults import line_of, tanh, with_fault
from torch import nn
from torch.nn import functional as F

import trtconv
from trtconv import tensorrt as trt
from trtconv.inspect import compare, join

X = torch.linspace(-2, 2, 2 * 4 * 6 * 6).reshape(2, 4, 6, 6)


class Block(nn.Module):
    """The same lines for each of its instances; writes in place, has calls without layers, and calls in a loop."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout()
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x):
        y = self.norm(self.conv(x))  # norm
        y[:, 0] = 0.5
        y.add_(1)
        for _ in range(3):
            y = self.drop(y).contiguous()
            y = torch.relu(y - 0.1)  # relu
        return x + y  # sum


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.LSTM(6, 5, batch_first=True)

    def forward(self, x):
        x = self.blocks(x)
        x, (hidden, cell) = self.head(x.flatten(0, 1))  # lstm
        return F.softmax(x, -1), hidden, cell  # softmax


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    module = Net().eval()
    return module, trtconv.convert(module, (X,))


def test_a_right_module_is_right_at_every_call(net):
    found = compare(*net, X * 1.5, layers=True)
    assert found.correct and found.begins is None and not found.missing, str(found)
    names = [(call.origin.module, call.origin.function.rpartition(".")[2], call.number) for call in found.calls]
    for block in ("blocks.0", "blocks.1"):
        assert [number for module, name, number in names if (module, name) == (block, "relu")] == [0, 1, 2]
        assert (f"{block}.norm", "batch_norm", 0) in names
    (lstm,) = [call for call in found.calls if "lstm" in call.origin.function]
    assert len(lstm.outputs) == 3
    layers = [name for call in found.calls for name in call.layers]
    assert len(layers) == len(set(layers))
    kinds = "ACTIVATION", "CONVOLUTION", "SOFTMAX", "RECURRENCE"
    assert {layer.name for layer in net[1].network.layers if layer.type in kinds} <= set(layers)


@pytest.mark.parametrize(
    ("kind", "number", "module", "marker", "call"),
    [
        ("ACTIVATION", 1, "blocks.0", "relu", 1),
        ("ACTIVATION", 5, "blocks.1", "relu", 2),
        ("CONVOLUTION", 1, "blocks.1.norm", "norm", 0),
        ("SOFTMAX", 0, "", "softmax", 0),
    ],
)
def test_a_wrong_layer_is_found_at_its_line(net, kind, number, module, marker, call):
    module_, converted = net
    faulty = with_fault(converted, kind, tanh, number)
    found = compare(module_, faulty, X * 1.5, layers=True)
    assert not found.correct
    begins = found.begins
    assert (begins.origin.module, begins.origin.line, begins.number) == (module, line_of(Net, marker), call)
    assert begins.origin.file == __file__
    names = [layer.name for layer in converted.network.layers if layer.type == kind]
    assert names[number] in begins.layers
    assert f"{__file__}:{line_of(Net, marker)}" in str(found) and "The error begins at" in found._repr_html_()
    assert compare(module_, converted, X, layers=True).begins is None


def test_a_converter_that_is_wrong_is_found(clean):
    @trtconv.tensorrt_converter("torch.sigmoid")
    def wrong(ctx):
        layer = ctx.network.add_activation(ctx.method_args[0]._trt, trt.ActivationType.HARD_SIGMOID)
        layer.alpha, layer.beta = 0.25, 0.5
        ctx.method_return._trt = layer.get_output(0)

    class Gate(nn.Module):
        def forward(self, x):
            y = x * 2
            gate = torch.sigmoid(y)  # gate
            return y * gate

    found = compare(Gate(), trtconv.convert(Gate(), X), X, layers=True)
    assert (found.begins.origin.line, found.begins.origin.function) == (line_of(Net, "gate"), "torch.sigmoid")


def test_a_saved_module_knows_its_calls(net):
    module, converted = net
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(with_fault(converted, "SOFTMAX", tanh).state_dict())
    found = compare(module, loaded, X, layers=True)
    assert found.begins.origin.file == __file__ and found.begins.origin.line == line_of(Net, "softmax")
    assert len(found.calls) == len(net[1].network.sites)


class Sized(nn.Module):
    def forward(self, x):
        y = F.interpolate(x, scale_factor=2)
        return torch.relu(y).mean(1)  # sized


def test_other_sizes_than_those_of_the_conversion():
    converted = trtconv.convert(Sized(), X, dynamic_shapes={"x": {0: (1, 2, 4), 2: (4, 6, 9)}})
    x = torch.randn(3, 4, 8, 6)
    assert compare(Sized(), converted, x, layers=True).begins is None
    found = compare(Sized(), with_fault(converted, "ACTIVATION", tanh), x, layers=True)
    assert found.begins.origin.line == line_of(Net, "sized")


def test_calls_that_were_not_made_are_counted(net):
    class Other(Net):
        def forward(self, x):
            return tuple(torch.zeros(shape) for shape in ((8, 6, 5), (1, 8, 5), (1, 8, 5)))

    found = compare(Other().eval(), net[1], X, layers=True)
    assert found.missing == len(net[1].network.sites) and not found.calls


def test_what_has_no_calls_is_refused(net):
    with pytest.raises(ValueError, match=r"needs what trtconv\.convert returns"):
        compare(net[0], net[0], X, layers=True)
    with pytest.raises(ValueError, match="says which calls it comes from"):
        compare(nn.ReLU(), trtconv.convert(nn.ReLU(), X, keep_network=False), X, layers=True)


def test_several_comparisons_are_joined_call_by_call(net):
    module, converted = net
    right = compare(module, converted, X, layers=True)
    wrong = compare(module, with_fault(converted, "SOFTMAX", tanh), X, layers=True)
    assert join([right, wrong]).begins.origin == wrong.begins.origin and join([right, right]).correct


def test_the_lower_dtype_is_what_counts():
    """What is as exact as PyTorch's float16 is right by that, and wrong by float32."""
    module = nn.Linear(64, 64).eval()
    half = nn.Linear(64, 64).half().eval()
    half.load_state_dict(module.state_dict())
    x = torch.randn(9, 64)

    def in_half(x):
        return half(x.half()).float()

    assert not compare(module, in_half, x).correct
    found = compare(module, in_half, x, dtype=torch.float16)
    assert found.correct and "PyTorch's float16" in str(found)
    assert not compare(module, lambda x: half(x.half() * 1.01).float(), x, dtype=torch.float16).correct


def test_where_an_error_begins_is_drawn(net):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    found = compare(net[0], with_fault(net[1], "ACTIVATION", tanh, 1), X, layers=True)
    axes = found.plot()
    texts = "".join(text.get_text() for text in axes.texts)
    assert f"test_compare_calls.py:{line_of(Net, 'relu')}" in texts and "module blocks.0" in texts
    assert len(axes.lines[0].get_xdata()) == len(found.calls)
    pyplot.close("all")
    with pytest.raises(ValueError, match="layers=True"):
        compare(*net, X).plot()
