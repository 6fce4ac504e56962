"""Reading definitions, and saving and restoring what was read."""

import json
import subprocess
import sys

import pytest
import torch

from trtconv import tensorrt as trt
from trtconv.reference import DataType, Graph, Interpreter, Layer, TensorType, from_state, read, to_state

from .case import several
from .cases import CASES
from .network import Net


def test_importing_loads_no_tensorrt():
    code = "import sys, trtconv.reference; sys.exit(any('tensorrt_rtx' in name for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_running_a_saved_graph_loads_no_tensorrt(tmp_path):
    net = Net()
    x = net.input("x", torch.zeros(2, 3))
    net.mark(net.add_activation(x, trt.ActivationType.RELU).get_output(0), "y")
    text, tensors = to_state(read(net.network))
    torch.save((text, tensors), tmp_path / "state.pt")
    code = (
        "import sys, torch; from trtconv.reference import from_state, run\n"
        f"text, tensors = torch.load({str(tmp_path / 'state.pt')!r})\n"
        "y = run(from_state(text, tensors), {'x': torch.tensor([[-1., 0, 1], [2, -2, 0]])})['y']\n"
        "assert y.tolist() == [[0, 0, 1], [2, 0, 0]]\n"
        "assert not any('tensorrt_rtx' in name for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_weights_are_copied():
    net = Net()
    x = net.input("x", torch.zeros(2))
    values = torch.ones(2)
    constant = net.network.add_constant((2,), values.numpy()).get_output(0)
    net.mark(net.add_elementwise(x, constant, trt.ElementWiseOperation.SUM).get_output(0), "y")
    interpreter = Interpreter(net.network)
    values += 5
    del net, x, constant
    assert interpreter.run({"x": torch.zeros(2)})["y"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("BF16", torch.tensor([1.5, -2.0, 3e38], dtype=torch.bfloat16)),
        ("FP8", torch.tensor([1.5, -448.0, 0.001953125]).to(torch.float8_e4m3fn)),
        ("HALF", torch.tensor([1.5, -2.0, 6e4], dtype=torch.float16)),
        ("INT64", torch.tensor([2**62 + 1, -5])),
        ("BOOL", torch.tensor([True, False, True])),
    ],
)
def test_constants_of_every_type(name, values):
    net = Net(values.dtype)
    net.network.mark_output(net.constant(values))
    graph = read(net.network)
    weights = graph.layers[0].attributes["weights"]
    assert weights.dtype == DataType[name].carrier
    assert torch.equal(weights.view(torch.uint8), values.view(torch.uint8))


@pytest.mark.parametrize(
    ("name", "patterns", "expected"),
    [
        ("INT4", [1, 7, 8, 15, 0], [1, 7, -8, -1, 0]),
        ("FP4", [0, 1, 2, 3, 4, 5, 6, 7, 9, 15], [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.5, -6]),
    ],
)
def test_four_bit_constants(name, patterns, expected):
    """Two to a byte, the first in the low half; an odd number leaves half a byte over."""
    net = Net()
    padded = patterns + [0] * (len(patterns) % 2)
    values = torch.tensor(padded, dtype=torch.uint8)
    packed = (values[0::2] | values[1::2] << 4).contiguous()
    weights = trt.Weights(getattr(trt.DataType, name), packed.data_ptr(), len(patterns))
    net.network.add_constant((len(patterns),), weights)
    graph = read(net.network)
    assert graph.layers[0].attributes["weights"].tolist() == expected


def test_layers_before_their_producers():
    """The order of a definition is free: an edit may point a layer at a later one."""
    net = Net()
    x = net.input("x", torch.zeros(2))
    first = net.add_unary(x, trt.UnaryOperation.NEG)
    second = net.add_unary(x, trt.UnaryOperation.EXP)
    first.set_input(0, second.get_output(0))
    net.mark(first.get_output(0), "y")
    value = torch.tensor([0.5, 1.0])
    assert torch.equal(Interpreter(net.network).run({"x": value})["y"], -torch.exp(value))


def test_unused_layers_do_not_run():
    net = Net()
    x = net.input("x", torch.zeros(2))
    net.add_non_zero(x)
    net.mark(net.add_unary(x, trt.UnaryOperation.NEG).get_output(0), "y")
    seen = []
    Interpreter(net.network).run({"x": torch.ones(2)}, observe=lambda name, value: seen.append(name))
    assert seen == ["x", "y"]


def test_an_invalid_layer_is_named():
    net = Net()
    a, b = net.input("a", torch.zeros(2)), net.input("b", torch.zeros(2, dtype=torch.int32))
    layer = net.add_elementwise(a, b, trt.ElementWiseOperation.SUM)
    layer.name = "mixed"
    with pytest.raises(ValueError, match=r"layer 'mixed' \(ELEMENTWISE\).*TensorRT's logger"):
        read(net.network)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_state_round_trip(case):
    """Every case's network after JSON and back: equal data, and the same answers."""
    dtype = case.dtypes[0]
    net, names = case.network(dtype)
    graph = read(net.network)
    text, tensors = to_state(graph)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    restored = from_state(text, tensors)
    assert (restored.inputs, restored.outputs) == (graph.inputs, graph.outputs)
    assert restored.tensors == graph.tensors
    for old, new in zip(graph.layers, restored.layers, strict=True):
        assert (old.name, old.type, old.inputs, old.outputs) == (new.name, new.type, new.inputs, new.outputs)
        assert old.attributes.keys() == new.attributes.keys()
        for key, value in old.attributes.items():
            same = value is new.attributes[key] if isinstance(value, torch.Tensor) else None
            assert same or (type(value), value) == (type(new.attributes[key]), new.attributes[key])
    feeds = dict(zip(names, case.values(dtype), strict=True))
    before, after = Interpreter(graph).run(feeds), Interpreter(restored).run(feeds)
    for a, b in zip(several(list(before.values())), several(list(after.values())), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(
            a.nan_to_num() if a.dtype.itemsize > 1 else a.float(),
            b.nan_to_num() if b.dtype.itemsize > 1 else b.float(),
        )


GRAPH = Graph(
    ("x",),
    ("y",),
    (Layer("relu", "ACTIVATION", {"type": "RELU", "alpha": float("inf"), "beta": 0.1}, ("x",), ("y",)),),
    {name: TensorType(DataType.FLOAT, (-1, 2)) for name in "xy"},
)


def test_special_numbers_survive():
    text, tensors = to_state(GRAPH)
    assert from_state(text, tensors) == GRAPH


def damaged(**changes):
    return json.dumps({**json.loads(to_state(GRAPH)[0]), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (None, "not JSON"),
        ("[1, 2]", "not the state of a graph"),
        ('{"format": "other"}', "not the state of a graph"),
        (damaged(version=99), "version 99"),
        (damaged(layers=3), "damaged"),
        (damaged(layers=[["a", "b"]]), "damaged"),
        (damaged(layers=[["a", "RELU", [], ["x"], ["y"]]]), "damaged"),
        (damaged(layers=[["a", "RELU", {"w": {"tensor": "gone"}}, ["x"], ["y"]]]), "damaged.*gone"),
        (damaged(tensors={}), "damaged.*no type"),
        (damaged(tensors={"x": ["FLOAT80", [1]], "y": ["FLOAT", [1]]}), "damaged.*FLOAT80"),
        (damaged(inputs=None), "damaged"),
        (damaged(outputs=[5]), "damaged.*name"),
    ],
)
def test_damaged_states(text, message):
    with pytest.raises(ValueError, match=message):
        from_state(text, {})
