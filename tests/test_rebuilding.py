"""Converted modules built again: with other weights, and without the code of what was converted."""

import copy
import subprocess
import sys
from unittest import mock

import architectures
import pytest
import torch
import torch.nn.functional as F
from cases import Function
from models import make
from torch import nn

import trtconv
from trtconv import tensorrt as trt
from trtconv.graph import digest
from trtconv.graph.recipes import with_weights


def graph_of(module, *inputs, **options):
    """The network of a module, without an engine."""
    with mock.patch("trtconv.build.build", return_value=torch.zeros(1, dtype=torch.uint8)):
        return trtconv.convert(module.eval(), inputs, **options).network


def values_of(module):
    return dict([*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)])


@torch.no_grad()
def others(module):
    """A copy with other weights, and other statistics."""
    result = copy.deepcopy(module)
    for value in values_of(result).values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.1)
        else:
            value.add_(1)
    return result


class Folded(nn.Module):
    """Weights that are folded, transposed, concatenated, cast, written to in part, and shared."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.narrow = nn.Linear(8, 5)
        self.recurrent = nn.LSTM(5, 6, batch_first=True, bidirectional=True)
        self.up = nn.ConvTranspose1d(12, 4, 3, stride=2, dilation=2)
        self.up_again = nn.ConvTranspose1d(12, 4, 3, stride=2, dilation=2)
        self.up_again.weight = self.up.weight
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(9, 7))
        self.register_buffer("table", torch.rand(5), persistent=False)
        self.register_buffer("places", torch.tensor([2, 0, 1]))
        self.wide = nn.Parameter(torch.rand(4, dtype=torch.float64))
        self.turned = nn.Parameter(torch.rand(4, 2, dtype=torch.complex64))

    def forward(self, x):
        x = self.norm(self.convolution(x)).relu().flatten(2).mT
        x = self.recurrent(self.narrow(x)[:, self.places] * self.table.softmax(0))[0].mT
        scale = torch.zeros(4)
        scale[1:] = self.table[:3] * self.wide[1:].float()
        angle = (self.turned.conj() * 1j).imag.sum(1)
        return self.normed(self.up(x) + self.up_again(x)) * scale[:, None] + angle[:, None]


CASES = {
    "folded": (Folded, [torch.randn(2, 3, 5, 5)]),
    "unet": (lambda: architectures.UNet(3, (4, 8)), [torch.randn(1, 3, 16, 16)]),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
        [torch.randn(2, 4, 8)],
    ),
    "half": (lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).half(), [torch.randn(2, 4).half()]),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(9, 4, padding_idx=0), nn.GRU(4, 3)),
        [torch.randint(0, 9, (3, 2))],
    ),
    "mobilenet": (lambda: make("mobilenet_v3_small"), [torch.randn(1, 3, 224, 224)]),
}


@pytest.mark.filterwarnings("ignore::trtconv.PrecisionWarning")
@pytest.mark.parametrize("name", CASES)
def test_other_weights_give_the_network_of_a_conversion_with_them(name):
    make_module, inputs = CASES[name]
    module = make_module().eval()
    other = others(module)
    graph = graph_of(module, *inputs)
    before = digest(graph)
    renewed = with_weights(graph, values_of(other))
    assert digest(renewed) == digest(graph_of(other, *inputs)) != before
    assert digest(graph) == before
    # What was saved knows it, too.
    state = trtconv.reference.to_state(graph)
    assert digest(with_weights(trtconv.reference.from_state(*state), values_of(other))) == digest(renewed)


@pytest.mark.filterwarnings("ignore::trtconv.PrecisionWarning")
def test_a_module_takes_weights_in_place():
    x, module = torch.randn(2, 3, 5, 5), Folded().eval()
    converted = trtconv.convert(module, x)
    other = others(module)
    converted.update_weights(other)
    expected = trtconv.convert(other, x)(x)
    assert torch.equal(converted(x), expected)
    with torch.no_grad():
        other.narrow.weight.zero_()
    assert torch.equal(converted(x), expected)
    # Buffers that a state dict doesn't have stay as they were.
    converted.update_weights(module.state_dict())
    torch.testing.assert_close(converted(x), module(x))


class Chosen(nn.Module):
    """Python decides by a buffer."""

    def __init__(self, count):
        super().__init__()
        self.register_buffer("count", torch.tensor(count))
        self.weight = nn.Parameter(torch.rand(3))

    def forward(self, x):
        for _ in range(int(self.count)):
            x = x * self.weight
        return x


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {**state, "other": torch.ones(1)}, "has no 'other'"),
        (lambda state: {"count": state["count"]}, "values of 'weight' are missing"),
        (lambda state: {**state, "weight": torch.ones(4)}, r"weight has shape \[4\]; it was \[3\]"),
        (lambda state: {**state, "count": torch.tensor(3)}, "depend on values that are others now"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message):
    module = Chosen(2)
    graph = graph_of(module, torch.ones(3))
    assert digest(with_weights(graph, module.state_dict())) == digest(graph)
    with pytest.raises(trtconv.WeightsError, match=message):
        with_weights(graph, change(module.state_dict()))


def test_weights_that_share_memory_stay_equal():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    graph = graph_of(module, torch.ones(1, 3))
    with pytest.raises(trtconv.WeightsError, match="shares its memory"):
        with_weights(graph, {**module.state_dict(), "1.weight": torch.ones(3, 3)})


@pytest.mark.parametrize("computed", [False, True], ids=["as-it-is", "computed"])
def test_weights_that_a_converter_of_a_users_reads(clean, computed):
    @trtconv.tensorrt_converter("torch.nn.functional.linear")
    def convert_linear(ctx):
        x, weight = ctx.method_args[0]._trt, ctx.method_args[1].detach().numpy()
        weight = weight * 1.0 if computed else weight
        constant = ctx.network.add_constant(tuple(weight.shape), trt.Weights(weight)).get_output(0)
        none, transpose = trt.MatrixOperation.NONE, trt.MatrixOperation.TRANSPOSE
        ctx.method_return._trt = ctx.network.add_matrix_multiply(x, none, constant, transpose).get_output(0)

    module = nn.Linear(3, 4, bias=False)
    other, x = others(module), torch.ones(2, 3)
    graph = graph_of(module, x)
    if computed:
        with pytest.raises(trtconv.WeightsError, match="Python read them"):
            with_weights(graph, values_of(other))
    else:
        assert digest(with_weights(graph, values_of(other))) == digest(graph_of(other, x))


def test_a_network_that_knows_no_weights_says_so():
    graph = trtconv.reference.from_state(*trtconv.reference.to_state(graph_of(nn.Linear(2, 2), torch.ones(1, 2))))
    converted = trtconv.convert(nn.Linear(2, 2), torch.ones(1, 2), keep_network=False)
    with pytest.raises(trtconv.EngineError, match="keep_network=True"):
        converted.update_weights(nn.Linear(2, 2))
    with pytest.raises(trtconv.EngineError, match="keep_network=True"):
        converted.rebuild()
    object.__setattr__(graph, "program", None)
    with pytest.raises(trtconv.WeightsError, match="an older trtconv"):
        with_weights(graph, {})


SCRIPT = """
import sys, torch, trtconv
module = trtconv.TRTModule()
module.load_state_dict(torch.load(sys.argv[1]))
x = torch.load(sys.argv[2])
built = module.rebuild(tf32=False, compute_capabilities=["8.6"] if trtconv.tensorrt.is_rtx() else None)
assert torch.equal(built(x), module(x))
provenance = built.plan.provenance
assert provenance["tf32"] is False and provenance["module"].endswith("Varying"), provenance
module.update_weights({name: value * 2 for name, value in torch.load(sys.argv[3]).items()})
torch.save((built(x), module(x), built.state_dict()), sys.argv[4])
"""


class Varying(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(F.relu(self.convolution(x)).mean((2, 3)))


def test_a_saved_module_is_rebuilt_without_its_code(tmp_path):
    module, x = Varying().eval(), torch.randn(2, 2, 7, 6)
    converted = trtconv.convert(module, x, dynamic_shapes={"x": {0: (1, 2, 4), 2: (4, 7, 9)}})
    places = [tmp_path / name for name in ("module.pth", "x.pth", "weights.pth", "results.pth")]
    for place, content in zip(places, (converted.state_dict(), x, module.state_dict()), strict=False):
        torch.save(content, place)
    done = subprocess.run([sys.executable, "-c", SCRIPT, *places], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built, doubled, state = torch.load(places[-1])
    assert torch.equal(built, converted(x))
    with torch.no_grad():
        for value in module.parameters():
            value.mul_(2)
    torch.testing.assert_close(doubled, module(x))
    again = trtconv.TRTModule()
    again.load_state_dict(state)
    small = torch.randn(1, 2, 4, 6)
    assert torch.equal(again(small), converted(small))


def test_functions_have_no_names_of_their_own():
    weight = torch.rand(3)
    graph = graph_of(Function(lambda x: x * weight), torch.ones(3))
    assert graph.program is not None and not graph.program.sources
    assert digest(with_weights(graph, {})) == digest(graph)


class Method(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("shift", torch.rand(3), persistent=False)

    def encode(self, x):
        return self.linear(x) + self.shift + beside(x)


beside = nn.Linear(3, 3)


def test_a_methods_weights_have_the_names_of_its_object():
    module, x = Method(), torch.rand(2, 3)
    converted = trtconv.convert(module.encode, x)
    other = others(module)
    converted.update_weights({**other.state_dict(), "shift": other.shift, **named(beside, "beside.")})
    torch.testing.assert_close(converted(x), other.encode(x))


def named(module, prefix):
    return {prefix + name: value for name, value in module.state_dict().items()}


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.up = nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 3, bias=False)
        self.linear = nn.Linear(16, 5)
        self.scale = nn.Parameter(torch.rand(5))

    def forward(self, x):
        x = self.up(self.convolution(x).relu()).reshape(2, -1, 16)
        return self.linear(x) * self.scale


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("as_file", [False, True])
def test_initializers_of_onnx_files_by_name(tmp_path, as_file):
    onnx = pytest.importorskip("onnx")
    module, x = Plain().eval(), torch.randn(2, 3, 8, 8)
    other = others(module)

    def model(module):
        path = tmp_path / "model.onnx"
        torch.onnx.export(module, (x,), path, dynamo=False)
        return str(path) if as_file else path.read_bytes(), onnx.load(path)

    def network(source):
        with mock.patch("trtconv.build.build", return_value=torch.zeros(1, dtype=torch.uint8)):
            return trtconv.from_onnx(source).network

    graph = network(model(module)[0])
    source, file = model(other)
    values = {each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).copy()) for each in file.graph.initializer}
    assert digest(with_weights(graph, values)) == digest(network(source)) != digest(graph)
    with pytest.raises(trtconv.WeightsError, match="has no 'x'"):
        with_weights(graph, {**values, "x": torch.ones(1)})
    # What the parser computed with, as a shape, may not change.
    for name in (name for name, value in values.items() if value.dtype is torch.int64):
        with pytest.raises(trtconv.WeightsError, match="depend on values"):
            with_weights(graph, {**values, name: values[name] + 1})
