"""`precision=` on networks whose numbers half precision doesn't hold, by the rules alone: finite, and right.

Where PyTorch in half precision leaves the range, PyTorch in bfloat16, which doesn't, stands for it: its numbers have an
eighth of the digits. What is measured is the network as it is built, run by the interpreter.
"""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import trtconv
from trtconv.graph import check
from trtconv.passes import run_graph_passes
from trtconv.passes.precision import prepared
from trtconv.passes.precision_choice import Choice
from trtconv.reference import Interpreter

pytestmark = pytest.mark.usefixtures("without_engines")


class Between(nn.Module):
    """A function between two products, in half precision both."""

    def __init__(self, function, width=32):
        super().__init__()
        self.function = function
        self.first, self.last = nn.Linear(width, width), nn.Linear(width, 8)

    def forward(self, x):
        return self.last(self.function(self.first(x)))


class Attention(nn.Module):
    """Attention by hand, its scale after the product, or none."""

    def __init__(self, scale, heads=2, width=32):
        super().__init__()
        self.scale, self.heads = scale, heads
        self.projections, self.last = nn.Linear(heads * width, 3 * heads * width), nn.Linear(heads * width, 8)

    def forward(self, x):
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.projections(x).chunk(3, -1))
        scores = q @ k.transpose(-1, -2)
        scores = scores if self.scale is None else scores * self.scale
        return self.last((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def rms_norm(x):
    x = x * torch.where(torch.arange(x.shape[-1]) == 3, 3e3, 1.0).to(x.dtype)  # one outlier in each row
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def standardized(x):
    x = x * 1000 + 2000
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-5)


def softmax_by_hand(x):
    powers = (8 * x).exp()
    return powers / powers.sum(-1, keepdim=True)


CASES = {
    "activations of 1e5": (Between(lambda x: F.relu(x * 3e5) * 1e-5), 1.0),
    "logits of 1e4": (Between(lambda x: F.softmax(x * 1e4, -1)), 1.0),
    "masked with the least number": (
        Between(lambda x: F.softmax(x.masked_fill(torch.arange(32) > 20, torch.finfo(torch.float32).min), -1)),
        1.0,
    ),
    "variance of large values": (Between(standardized), 1.0),
    "RMSNorm with outliers": (Between(rms_norm), 1.0),
    "layer norm of large values": (Between(lambda x: F.layer_norm(x * 3e3, (32,))), 1.0),
    "layer scale": (Between(lambda x: x + (x * 1e-6) * 1e6), 1.0),
    "exponentials": (Between(softmax_by_hand), 1.0),
    "log of a sum of exponentials": (Between(lambda x: x * 30 - torch.logsumexp(x * 30, -1, keepdim=True)), 1.0),
    "normalized by length": (Between(lambda x: F.normalize(x * 3e3, dim=-1)), 1.0),
    "attention, scaled after the product": (Attention(1 / math.sqrt(32)), 60.0),
    "attention without scale": (Attention(None), 60.0),
}


def largest_error(result, precise):
    return float((result.double() - precise).abs().max())


def own_error(module, x, dtype, precise):
    """PyTorch's error in a dtype; infinity where it has no result."""
    try:
        return largest_error(copy.deepcopy(module).to(dtype)(x.to(dtype)).nan_to_num(math.inf), precise)
    except RuntimeError:  # a constant is too large for the dtype
        return math.inf


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_answers_are_finite_and_right(name):
    torch.manual_seed(0)
    module, size = CASES[name]
    module = module.eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    shape = 2, 16, 64 if isinstance(module, Attention) else 32
    example, x = torch.randn(shape), torch.randn(shape) * size
    lower = trtconv.convert(module, (example,), precision="fp16", cache=False)
    precise = copy.deepcopy(module).double()(x.double())
    own = min(own_error(module, x, torch.float16, precise), own_error(module, x, torch.bfloat16, precise) / 8)
    unit = float(precise.abs().max()) * 2**-10
    result = lower(x)
    assert result.isfinite().all()
    assert largest_error(result, precise) <= 2 * own + unit
    products = [layer for layer in lower.network.layers if layer.type == "MATRIX_MULTIPLY"]
    assert "HALF" in [lower.network.tensors[layer.outputs[0]].dtype.name for layer in products]


@pytest.mark.parametrize(
    ("scale", "factors"),
    [(1 / 8, [1 / 8]), (1 / 6, [1 / 8, 8 / 6]), (None, [1 / 8, 8])],
    ids=["eighth", "sixth", "none"],
)
def test_a_scale_that_is_a_power_of_2_stands_before_the_product(scale, factors):
    graph = trtconv.convert(Attention(scale), (torch.randn(2, 4, 64),), cache=False).network
    changed = prepared(graph, Choice.of("fp16"))
    check(changed)
    numbers = {layer.outputs[0]: layer.attributes["weights"] for layer in changed.layers if layer.type == "CONSTANT"}
    products = [layer for layer in changed.layers if layer.attributes.get("op") == "PROD"]
    found = [float(numbers[name]) for layer in products for name in layer.inputs if name in numbers]
    assert found == pytest.approx(factors)
    assert prepared(changed, Choice.of("fp16")) is changed
    assert prepared(graph, Choice.of("bf16")) is graph
    x = {graph.inputs[0]: torch.randn(2, 4, 64)}
    (before,), (after,) = (Interpreter(each).run(x).values() for each in (graph, changed))
    torch.testing.assert_close(before, after)


@torch.no_grad()
def test_scores_that_a_scale_before_the_product_does_not_save_are_found_by_calibration():
    torch.manual_seed(0)
    module, x = Attention(None).eval(), torch.randn(2, 16, 64) * 1e3
    answers = {
        calibration: trtconv.convert(module, (x,), precision="fp16", calibration=calibration, cache=False)(x)
        for calibration in (None, True)
    }
    assert not answers[None].isfinite().all()
    torch.testing.assert_close(answers[True], module(x), rtol=2**-8, atol=2**-8 * float(module(x).abs().max()))


class Growing(nn.Module):
    """A residual stream that leaves the range of half precision, of which the graph shows nothing."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(32, 32)
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(6))
        self.last = nn.Linear(32, 8)

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = x + layer(F.layer_norm(x, (32,))) * 100 * x.abs().amax()
        return self.last(F.layer_norm(x, (32,)))


@torch.no_grad()
def test_what_is_kept_stays_in_float32_with_what_reads_it():
    torch.manual_seed(0)
    module, x = Growing().eval(), torch.randn(4, 32)
    graph = prepared(trtconv.convert(module, (x,), cache=False).network, Choice.of("fp16"))
    found = {}
    Interpreter(graph).run({graph.inputs[0]: x}, lambda name, value: found.update({name: value}))
    large = {
        name for name, value in found.items() if value.is_floating_point() and value.numel() and value.abs().max() > 3e4
    }
    leaving = {
        layer.name: "it leaves the range"
        for layer in graph.layers
        if large.intersection((*layer.inputs, *layer.outputs))
    }
    assert leaving
    (without,), (result,) = (
        Interpreter(run_graph_passes(graph, Choice.of("fp16"), kept)).run({graph.inputs[0]: x}).values()
        for kept in (None, leaving)
    )
    assert not without.isfinite().all()
    torch.testing.assert_close(result, module(x), rtol=5e-3, atol=5e-3)
    lower = run_graph_passes(graph, Choice.of("fp16"), leaving)
    assert "it leaves the range" in lower.notes.values()
    for layer in lower.layers:
        if layer.type != "CAST" and any(name in large for name in (*layer.inputs, *layer.outputs)):
            kinds = {lower.tensors[name].dtype.name for name in (*layer.inputs, *layer.outputs) if name is not None}
            assert kinds <= {"FLOAT"}
    one = next(layer.name for layer in graph.layers if layer.type == "MATRIX_MULTIPLY")
    kept = run_graph_passes(graph, Choice.of("fp16"), {one: "its sum cancels"})
    assert kept.notes[one] == "its sum cancels"
    assert next(kept.tensors[layer.outputs[0]].dtype.name for layer in kept.layers if layer.name == one) == "FLOAT"
