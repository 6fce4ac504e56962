"""Graphs edited by passes: what is replaced, what is left, and what is refused."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import trtconv
from trtconv import tensorrt as trt
from trtconv.graph import check, digest
from trtconv.passes.edit import Edit, rewritten
from trtconv.reference import Interpreter, Layer


def graph_of(module, *inputs, **options):
    return trtconv.convert(module.eval(), inputs, **options).network


def answer(graph, *inputs):
    return Interpreter(graph).run(dict(zip(graph.inputs, inputs, strict=True)))[graph.outputs[0]]


def kinds(graph):
    return [layer.attributes["type"] for layer in graph.layers if layer.type == "ACTIVATION"]


def relu_to_clip(edit, layer):
    if layer.attributes["type"] == "RELU":
        return edit.net.activation(edit.tensor(layer.inputs[0]), trt.ActivationType.CLIP, 0.0, math.inf)


def clip_to_relu(edit, layer):
    if layer.attributes["type"] == "CLIP":
        return edit.net.activation(edit.tensor(layer.inputs[0]), trt.ActivationType.RELU)


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        x = F.relu(F.relu(self.first(x)) - 0.25).mean((2, 3))
        return F.relu(self.second(x))


@pytest.mark.parametrize("dynamic", [None, {"x": {0: (1, 2, 4), 3: (4, 6, 8)}}], ids=["fixed", "dynamic"])
def test_a_pass_and_its_inverse_leave_the_first_graph(dynamic):
    x = torch.randn(2, 3, 6, 6)
    graph = graph_of(Deep(), x, dynamic_shapes=dynamic)
    before = digest(graph)
    clipped = rewritten(graph, {"ACTIVATION": relu_to_clip})
    check(clipped)
    assert kinds(graph) == ["RELU"] * 3 and kinds(clipped) == ["CLIP"] * 3 and digest(graph) == before
    assert torch.equal(answer(clipped, x), answer(graph, x))
    assert [layer.origin for layer in clipped.layers] == [layer.origin for layer in graph.layers]
    assert digest(rewritten(clipped, {"ACTIVATION": clip_to_relu})) == before
    assert rewritten(graph, {"ACTIVATION": clip_to_relu}) is graph


def test_what_is_computed_of_the_old_tensor_comes_after_it():
    x = torch.randn(2, 3, 6, 6)
    graph = graph_of(Deep(), x)

    def doubled(edit, layer):
        return edit.net.mul(edit.before(layer.outputs[0]), 2.0)

    once = rewritten(graph, {"ACTIVATION": doubled})
    check(once)
    assert len(once.layers) == len(graph.layers) + 6  # constants and products
    twice = rewritten(once, {"ACTIVATION": doubled})
    check(twice)
    torch.testing.assert_close(answer(twice, x), 4 * _with_factor(graph, x, 4))


def _with_factor(graph, x, factor):
    """The network's answer with each ReLU but the last times a factor."""
    last = graph.outputs[0]

    def scaled(edit, layer):
        return None if layer.outputs[0] == last else edit.net.mul(edit.before(layer.outputs[0]), float(factor))

    return answer(rewritten(graph, {"ACTIVATION": scaled}), x)


def test_what_nothing_reads_is_removed_with_what_only_it_read():
    x = torch.randn(2, 3, 6, 6)
    graph = graph_of(Deep(), x)
    with Edit(graph) as edit:
        sums = next(layer for layer in graph.layers if layer.type == "REDUCE")
        edit.replace(sums.outputs[0], edit.net.constant(torch.ones(2, 4)))
        edit.net.constant(torch.zeros(3))  # and what was never used
        left = edit.graph()
    check(left)
    assert not any(layer.type in ("CONVOLUTION", "REDUCE") for layer in left.layers)
    assert set(left.tensors) == {"input_0", *(name for layer in left.layers for name in layer.outputs)}
    assert torch.isfinite(answer(left, x)).all()


class Identity(nn.Module):
    def forward(self, x, y):
        return x + y - y, x


def test_a_tensor_may_take_the_place_of_several():
    graph = graph_of(Identity(), torch.ones(2), torch.ones(2))
    with Edit(graph) as edit:
        for name in graph.outputs:
            edit.replace(name, edit.tensor("input_1"))
        changed = edit.graph()
    check(changed)
    results = Interpreter(changed).run({"input_0": torch.zeros(2), "input_1": torch.ones(2)})
    assert all(torch.equal(value, torch.ones(2)) for value in results.values())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(3, 4, nonlinearity="relu")

    def forward(self, x):
        return F.relu(self.rnn(x)[0])


def test_bodies_of_loops_are_edited_too():
    x = torch.randn(5, 2, 3)
    graph = graph_of(Recurrent(), x)
    assert any(layer.type == "RECURRENCE" for layer in graph.layers)
    clipped = rewritten(graph, {"ACTIVATION": relu_to_clip})
    assert set(kinds(clipped)) == {"CLIP"}
    torch.testing.assert_close(answer(clipped, x), answer(graph, x))
    assert digest(rewritten(clipped, {"ACTIVATION": clip_to_relu})) == digest(graph)


def test_a_tensor_of_another_type_is_refused():
    graph = graph_of(Deep(), torch.randn(2, 3, 6, 6))
    with Edit(graph) as edit, pytest.raises(ValueError, match=r"HALF \[2, 5\] can't take the place of 'output_0'"):
        edit.replace("output_0", edit.net.cast(edit.tensor("output_0"), torch.float16))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: {"layers": (*g.layers, dataclasses.replace(g.layers[-1], name="twin"))}, "is made by layer .*twin"),
        (lambda g: {"layers": g.layers[1:]}, "which nothing makes"),
        (lambda g: {"outputs": (*g.outputs, "z")}, "output 'z' is made by nothing"),
        (lambda g: {"tensors": {k: v for k, v in g.tensors.items() if k != "output_0"}}, "'output_0' has no type"),
        (
            lambda g: {
                "layers": (
                    *g.layers,
                    Layer("a", "IDENTITY", {}, ("q",), ("p",)),
                    Layer("b", "IDENTITY", {}, ("p",), ("q",)),
                ),
                "tensors": {**g.tensors, "p": g.tensors["input_0"], "q": g.tensors["input_0"]},
            },
            "depends on its own result",
        ),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    graph = graph_of(Deep(), torch.randn(2, 3, 6, 6))
    with pytest.raises(ValueError, match=message):
        check(dataclasses.replace(graph, **change(graph)))
