"""Networks that leave the range of half precision, or lose their digits in it, keep their answers with calibration."""

import copy
import io
import re

import pytest
import torch
import torch.nn.functional as F
from reference.network import Net
from torch import nn

import trtconv
from trtconv import tensorrt as trt
from trtconv.calibration import samples
from trtconv.calibration.ranges import find_ranges
from trtconv.graph.data import DataType
from trtconv.graph.reader import read
from trtconv.inspect import compare_tensors
from trtconv.passes.precision_choice import Choice

SIZE = 32


class Block(nn.Module):
    """A forward of linear layers; `scales` are of their weights."""

    def __init__(self, *scales, forward):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(SIZE, SIZE, bias=False) for _ in scales)
        with torch.no_grad():
            for layer, scale in zip(self.layers, scales, strict=True):
                layer.weight.mul_(scale)
        self._forward = forward

    def forward(self, x):
        return self._forward(x, *self.layers)


def rms_norm(x):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def standardized(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()


def growing(x, *layers):
    for layer in layers[:-1]:
        x = x + layer(x)
    return layers[-1](rms_norm(x))


def attention(x, q, k, v):
    return torch.softmax(q(x) @ k(x).mT, -1) @ v(x)


def fused_attention(x, q, k, v):
    q, k, v = (each(x).unflatten(-1, (2, SIZE // 2)).transpose(1, 2) for each in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).flatten(2)


def outliers(x):
    x = x.clone()
    x[..., 3] *= 3000
    return x


OVERFLOWING = {
    "activations": (Block(2e5, 1e-4, forward=lambda x, a, b: b(F.relu(a(x)))), None),
    "logits": (Block(1.0, 4e4, 1.0, forward=lambda x, a, b, c: c(torch.softmax(b(a(x)), -1))), None),
    "variance": (Block(1e3, 1.0, forward=lambda x, a, b: b(standardized(a(x)))), None),
    "RMSNorm with outliers": (Block(2.0, 1.0, forward=lambda x, a, b: b(rms_norm(a(x)))), outliers),
    "residual stream": (Block(*[20.0] * 8, 1.0, forward=growing), None),
    "attention": (Block(60.0, 60.0, 1.0, forward=attention), None),
    "fused attention": (Block(60.0, 60.0, 1.0, forward=fused_attention), None),
    "products": (Block(500.0, 500.0, 1e-5, forward=lambda x, a, b, c: c(a(x) * b(x))), None),
    "small": (Block(*[0.01] * 4, *[100.0] * 4, forward=lambda x, *layers: nn.Sequential(*layers)(x)), None),
    "cancelling": (Block(1.0, 1.0, forward=lambda x, a, b: b((a(x) + 1e3) - 1e3)), None),
}
SAVED_BY_RULES = ("logits", "variance", "RMSNorm with outliers", "attention", "fused attention", "products")


def draw(change):
    x = torch.randn(2, 6, SIZE)
    return x if change is None else change(x)


def with_digits_of_fp16(x):
    """Rounded to fp16's digits, with exponents as large and small as they may be."""
    mantissa, exponent = torch.frexp(x)
    return torch.ldexp((mantissa * 2**11).round() / 2**11, exponent)


@torch.no_grad()
def compare_with_fp16(module, result, x):
    """Compare with the module where fp16 had no bounds: weights, inputs and products rounded to its digits."""
    precise, own = copy.deepcopy(module).double(), copy.deepcopy(module).double()
    for weights in own.parameters():
        weights.copy_(with_digits_of_fp16(weights))
    for layer in own.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda layer, args, y: with_digits_of_fp16(y))
    exact, rounded = precise(x.double()), own(with_digits_of_fp16(x.double()))
    return compare_tensors(exact, rounded.half(), result.half())


def is_right(module, converted, x):
    return compare_with_fp16(module, converted(x), x).correct


@pytest.mark.parametrize("name", OVERFLOWING)
def test_calibration_saves_what_leaves_the_range(name):
    torch.manual_seed(0)
    module, change = OVERFLOWING[name]
    module = copy.deepcopy(module).eval()
    x = draw(change)
    calibrated = trtconv.convert(
        module, [x], precision="fp16", calibration=[draw(change) for _ in range(4)], cache=False
    )
    assert calibrated(x).isfinite().all()
    assert is_right(module, calibrated, x)
    plain = trtconv.convert(module, [x], precision="fp16", cache=False)
    assert is_right(module, plain, x) is (name in SAVED_BY_RULES)


def test_where_calibration_can_be_given():
    """At a conversion, a conversion of an ONNX file, and a rebuilding; the reason is told."""
    torch.manual_seed(0)
    module = nn.Sequential(OVERFLOWING["activations"][0], nn.Linear(SIZE, SIZE)).eval()
    x = draw(None)
    file = io.BytesIO()
    torch.onnx.export(module, (x,), file, dynamo=False, input_names=["x"])
    plain = trtconv.convert(module, x, cache=False)
    with pytest.warns(UserWarning, match="conversion inputs, 2 samples"):
        by_example = trtconv.convert(module, x, precision="fp16", calibration=True, cache=False)
    for converted in (
        by_example,
        trtconv.from_onnx(file.getvalue(), precision="fp16", calibration=[{"x": x}], cache=False),
        plain.rebuild(precision="fp16", calibration=[x]),
    ):
        assert is_right(module, converted, x)
        graph = converted.plan.segments[0].graph
        assert any("its numbers reach" in note for note in graph.notes.values())
        assert DataType.HALF in {kind.dtype for kind in graph.tensors.values()}


class Total(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x):
        self.total += x
        return self.total * 1.0


def test_state_is_kept_from_sample_to_sample():
    options = {"state": ["total"], "precision": "fp16", "cache": False}
    for count, leaves in ((2, False), (8, True)):
        converted = trtconv.convert(Total(), torch.ones(4), calibration=[torch.full((4,), 1e4)] * count, **options)
        notes = converted.plan.segments[0].graph.notes.values()
        assert any("its numbers reach" in note for note in notes) is leaves


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"calibration": [1]}, ValueError, "without precision"),
        ({"calibration": 3, "precision": "fp16"}, TypeError, "DataLoader"),
        ({"calibration": [], "precision": "fp16"}, ValueError, "empty"),
        ({"calibration": [torch.randn(3)], "precision": "bf16"}, ValueError, "sample 0"),
    ],
)
def test_calibration_is_checked(options, error, words):
    with pytest.raises(error, match=words):
        trtconv.convert(nn.ReLU(), torch.randn(2, 4), cache=False, **options)


def kept(module, x, dtype=DataType.HALF):
    converted = trtconv.convert(module.eval(), [x], cache=False)
    graph = converted.plan.segments[0].graph
    ranges = find_ranges(graph, samples([x], converted.plan.signature), device=torch.device("cpu"))
    return ranges.kept(Choice(dtype))


@pytest.mark.parametrize("dtype", [DataType.HALF, DataType.BF16])
def test_ordinary_networks_keep_nothing(dtype):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.ConvTranspose2d(8, 8, 2, 2), nn.MaxPool2d(2)
    head = nn.Flatten(2), nn.TransformerEncoderLayer(9, 3, 16, batch_first=True), nn.LayerNorm(9), nn.Softmax(-1)
    assert kept(nn.Sequential(*layers, *head), torch.randn(2, 3, 5, 5), dtype) == {}


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


REASONS = {
    "overflow": (lambda x: x * 1e5, DataType.HALF, "its numbers reach"),
    "sums": (lambda x: (x.abs() * 1000).mean(), DataType.HALF, "sums of magnitudes"),
    "products": (lambda x: (x * 300) @ (x.mT * 100), DataType.HALF, "sums of magnitudes|its numbers reach"),
    "subnormals": (lambda x: x * 1e-7, DataType.HALF, "too small for fp16"),
    "divisor": (lambda x: 1 / (x[:, :1].abs() * 1e-6 + 1e-8) * 1e-6, DataType.HALF, "divides by|too small"),
    "difference": (lambda x: (x + 100) - 100.5, DataType.BF16, "terms that cancel"),
    "normalization": (lambda x: F.layer_norm(x + 100, (SIZE,)), DataType.BF16, "terms that cancel"),
    "logits": (lambda x: torch.softmax((x * 0.01 + 500), -1), DataType.BF16, "logits of"),
    "whole numbers": (lambda x: (x.abs() * 3000).long(), DataType.HALF, "whole numbers up to"),
}


@pytest.mark.parametrize("name", REASONS)
def test_each_reason_is_told(name):
    torch.manual_seed(0)
    function, dtype, words = REASONS[name]
    found = kept(Function(function), torch.randn(4, 2, SIZE) * (5 if name == "products" else 1), dtype)
    assert found
    assert any(re.search(words, reason) for reason in found.values()), found


def test_each_layer_counts_in_its_own_type():
    """What overflows in fp16 needn't stay in fp32 where it is in bf16."""
    torch.manual_seed(0)
    module, x = OVERFLOWING["activations"][0].eval(), draw(None)
    types = {"default": "fp16", "layers.*": "bf16", "torch.nn.functional.relu": "bf16"}
    graph = trtconv.convert(module, x, precision=types, calibration=[x], cache=False).plan.segments[0].graph
    assert not any("its numbers reach" in note for note in graph.notes.values())
    assert DataType.BF16 in {kind.dtype for kind in graph.tensors.values()}


def test_attention_in_one_layer():
    def attend(scale):
        net = Net()
        q, k, v = (net.add_input(name, trt.DataType.FLOAT, (1, 2, 6, 32)) for name in "qkv")
        q = net.add_elementwise(q, net.constant([[[[scale]]]]), trt.ElementWiseOperation.PROD).get_output(0)
        layer = net.add_attention_v2(q, k, v, trt.AttentionNormalizationOp.SOFTMAX, trt.CausalMaskKind.NONE)
        net.mark(layer.get_output(0), "y")
        graph = read(net.network)
        found = find_ranges(graph, [[torch.randn(1, 2, 6, 32) for _ in range(3)]], device=torch.device("cpu"))
        return {layer.type for layer in graph.layers if layer.name in found.kept(Choice.of("fp16"))}

    torch.manual_seed(0)
    assert attend(0.2) == set()
    assert attend(5000.0) >= {"ATTENTION_INPUT", "ATTENTION_OUTPUT"}


def test_fewer_bits_are_kept_where_only_a_row_is_masked():
    """A masked row isn't one whose logits are near one another."""
    mask = torch.zeros(SIZE)
    mask[5:] = torch.finfo(torch.float32).min
    found = kept(Function(lambda x: torch.softmax(x + mask, -1)), torch.randn(2, SIZE), DataType.BF16)
    assert not any("logits" in reason for reason in found.values())
