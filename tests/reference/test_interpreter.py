"""Feeds, observation, memory, errors, plugins and hostile networks."""

import gc
import weakref

import pytest
import torch

from trtconv import tensorrt as trt
from trtconv.reference import (
    DataType,
    Graph,
    Interpreter,
    Layer,
    LayerError,
    TensorType,
    register_plugin,
    run,
    supported_layers,
)

from .network import Net

FLOAT, BOOL, INT32 = DataType.FLOAT, DataType.BOOL, DataType.INT32


def chain(length=3, shape=(2, 3), dynamic=False):
    net = Net()
    tensor = net.input("x", torch.zeros(shape), dynamic)
    for i in range(length):
        layer = net.add_unary(tensor, trt.UnaryOperation.NEG)
        tensor = layer.get_output(0)
        tensor.name = f"t{i}"
    net.network.mark_output(tensor)
    return net


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"no feed for input 'x'; the network's inputs are 'x': FLOAT \[-1, 3\]"),
        ({"x": torch.zeros(2, 3), "y": torch.zeros(1)}, "no input 'y'; its inputs are 'x'"),
        ({"x": torch.zeros(2, 4)}, r"input 'x' takes shape \[-1, 3\] .*has \[2, 4\]"),
        ({"x": torch.zeros(3)}, r"takes shape \[-1, 3\]"),
        ({"x": torch.zeros(2, 3, dtype=torch.float64)}, "takes torch.float32, the feed is torch.float64"),
        ({"x": [[1.0, 2.0, 3.0]]}, "is a list, not a torch tensor"),
    ],
)
def test_wrong_feeds(feeds, message):
    interpreter = Interpreter(chain(dynamic=True).network)
    with pytest.raises(ValueError, match=message):
        interpreter.run(feeds)


def test_observe_sees_each_tensor_once_in_order():
    seen = []
    x = torch.ones(2, 3)
    Interpreter(chain().network).run({"x": x}, observe=lambda name, value: seen.append((name, value)))
    assert [name for name, _ in seen] == ["x", "t0", "t1", "t2"]
    assert torch.equal(seen[1][1], -x)


def test_run_and_repeated_runs():
    net = chain(2)
    interpreter = Interpreter(net.network)
    for value in (1.0, 2.0):
        x = torch.full((2, 3), value)
        assert torch.equal(interpreter.run({"x": x})["t1"], x)
    assert torch.equal(run(net.network, {"x": x})["t1"], x)


def test_results_need_no_gradient():
    x = torch.ones(2, 3, requires_grad=True)
    result = run(chain().network, {"x": x})["t2"]
    assert not result.requires_grad
    assert torch.is_grad_enabled()


def test_tensors_are_freed_after_their_last_use():
    alive = []
    most = []

    def observe(name, value):
        if name != "x":
            alive.append(weakref.ref(value))
        most.append(sum(reference() is not None for reference in alive))

    Interpreter(chain(20).network).run({"x": torch.ones(2, 3)}, observe)
    gc.collect()
    assert max(most) <= 2


def test_what_depends_on_no_input_runs_once():
    """Unless the run is observed: then each tensor is computed and shown."""
    layers = [
        Layer("c", "CONSTANT", {"weights": torch.ones(2)}, (), ("a",)),
        negate("a", "b"),
        negate("x", "t"),
        negate("t", "u"),
        Layer("s", "SHAPE", {}, ("t",), ("s",)),
        Layer("f", "CAST", {"to_type": "FLOAT"}, ("s",), ("f",)),
        Layer("1", "ELEMENTWISE", {"op": "SUM"}, ("b", "f"), ("d",)),
        Layer("2", "ELEMENTWISE", {"op": "SUM"}, ("u", "d"), ("y",)),
    ]
    types = {"s": TensorType(DataType.INT64, (1,)), "f": TensorType(FLOAT, (1,))}
    interpreter = Interpreter(graph(layers, **types))
    for _ in range(2):
        assert interpreter.run({"x": torch.ones(2)})["y"].tolist() == [2, 2]
    prepared = interpreter._prepared[torch.device("cpu")]
    assert list(prepared.constants) == ["d"]
    assert [(step.layer.name, step.release) for step in prepared.block] == [
        ("t", []),
        ("u", ["t"]),
        ("2", ["u"]),
    ]
    seen = []
    interpreter.run({"x": torch.ones(2)}, observe=lambda name, value: seen.append(name))
    assert sorted(seen) == sorted("xtuabsfdy")


def test_constants_may_be_used_before_they_are_folded():
    """A constant whose last use is folded must still be there for a step that was ordered before that."""
    conditional = {"conditional": "C"}
    layers = [
        Layer("c", "CONSTANT", {"weights": torch.ones(2)}, (), ("k",)),
        Layer("if", "CONDITION", conditional, ("c",), ()),
        Layer("1", "ELEMENTWISE", {"op": "SUM"}, ("x", "k"), ("t",)),
        Layer("o", "CONDITIONAL_OUTPUT", conditional, ("t", "x"), ("u",)),
        negate("k", "n"),
        Layer("2", "ELEMENTWISE", {"op": "SUM"}, ("u", "n"), ("y",)),
    ]
    network = graph(layers, ("x", "c"), c=TensorType(BOOL, ()))
    assert run(network, {"x": torch.ones(2), "c": torch.tensor(True)})["y"].tolist() == [1, 1]


def test_random_fills_differ_between_runs():
    attributes = {"operation": "RANDOM_NORMAL", "shape": (2,), "alpha": 0.0, "beta": 1.0, "to_type": "FLOAT"}
    interpreter = Interpreter(graph([Layer("r", "FILL", attributes, (), ("y",))], inputs=()))
    assert not torch.equal(interpreter.run({})["y"], interpreter.run({})["y"])


def test_deep_networks_need_no_recursion():
    net = chain(5000)
    assert torch.equal(run(net.network, {"x": torch.ones(2, 3)})["t4999"], torch.ones(2, 3))


def test_an_output_twice_and_a_constant_output():
    net = Net()
    x = net.input("x", torch.zeros(2))
    net.mark(net.add_identity(x).get_output(0), "y")
    net.network.mark_output(net.constant(torch.ones(1)))
    y, c = run(net.network, {"x": torch.ones(2)}).values()
    assert (y.tolist(), c.tolist()) == ([1, 1], [1])


def test_empty_tensors():
    net = Net()
    x = net.input("x", torch.zeros(0, 3), dynamic=True)
    layer = net.add_reduce(x, trt.ReduceOperation.MAX, 1, False)
    sums = net.add_reduce(x, trt.ReduceOperation.SUM, 1, False)
    net.mark(layer.get_output(0), "largest")
    net.mark(sums.get_output(0), "sum")
    results = run(net.network, {"x": torch.zeros(0, 3)})
    assert results["largest"].tolist() == [-torch.inf] * 3
    assert results["sum"].tolist() == [0, 0, 0]


def test_errors_name_the_layer_and_its_inputs():
    net = Net()
    x, y = net.input("x", torch.zeros(2, 3), True), net.input("y", torch.zeros(2, 3), True)
    layer = net.add_elementwise(x, y, trt.ElementWiseOperation.SUM)
    layer.name = "sum"
    net.mark(layer.get_output(0), "z")
    message = r"layer 'sum' \(ELEMENTWISE\), given \(float32 \[2, 3\], float32 \[4, 3\]\)"
    with pytest.raises(LayerError, match=message):
        run(net.network, {"x": torch.zeros(2, 3), "y": torch.zeros(4, 3)})


def test_a_strict_slice_out_of_bounds():
    net = Net()
    x = net.input("x", torch.zeros(4), dynamic=True)
    net.mark(net.add_slice(x, (2,), (4,), (1,)).get_output(0), "y")
    with pytest.raises(LayerError, match=r"SLICE.*start 2, size 4, stride 1 leave dimension 0 of size 4"):
        run(net.network, {"x": torch.zeros(4)})


def test_failing_assertion():
    net = Net()
    x = net.input("x", torch.zeros(2, 3), dynamic=True)
    shape = net.add_shape(x).get_output(0)
    rows = net.add_slice(shape, (0,), (1,), (1,)).get_output(0)
    fine = net.add_elementwise(rows, net.constant(torch.tensor([3])), trt.ElementWiseOperation.LESS)
    net.add_assertion(fine.get_output(0), "too many rows")
    net.mark(net.add_identity(x).get_output(0), "y")
    assert run(net.network, {"x": torch.zeros(2, 3)})["y"].shape == (2, 3)
    with pytest.raises(LayerError, match=r"ASSERTION.*too many rows"):
        run(net.network, {"x": torch.zeros(3, 3)})


def test_supported_layers_are_those_of_tensorrt():
    known = set(trt.LayerType.__members__)
    missing = known - set(supported_layers())
    assert missing == {"DIST_COLLECTIVE"}
    assert not set(supported_layers()) - known


def test_collectives_are_refused_by_name():
    net = Net()
    x = net.input("x", torch.zeros(2))
    layer = net.add_dist_collective(x, trt.CollectiveOperation.ALL_REDUCE, trt.ReduceOperation.SUM, -1, [0])
    layer.name = "gather them"
    net.mark(layer.get_output(0), "y")
    with pytest.raises(NotImplementedError, match=r"layer 'gather them' \(DIST_COLLECTIVE\)"):
        Interpreter(net.network)


def graph(layers, inputs=("x",), outputs=("y",), **types):
    """A graph by hand, of what TensorRT-RTX can't hold or would refuse."""
    names = {*inputs, *outputs, *(n for layer in layers for n in (*layer.inputs, *layer.outputs) if n)}
    tensors = {name: types.get(name, TensorType(FLOAT, (2,))) for name in names}
    return Graph(tuple(inputs), tuple(outputs), tuple(layers), tensors)


def negate(source, target):
    return Layer(target, "UNARY", {"op": "NEG"}, (source,), (target,))


def test_plugins_by_registered_functions():
    layers = [Layer("p", "PLUGIN_V3", {"plugin": "Twice_TEST"}, ("x", None), ("y",))]
    with pytest.raises(NotImplementedError, match=r"layer 'p' \(PLUGIN_V3\)"):
        Interpreter(graph(layers))
    register_plugin("Twice_TEST", lambda layer, inputs: [inputs[0] * 2])
    assert run(graph(layers), {"x": torch.ones(2)})["y"].tolist() == [2, 2]
    register_plugin("Twice_TEST", lambda layer, inputs: inputs[0].repeat(2))
    with pytest.raises(LayerError, match=r"'y' came out as torch.float32 \[4\], TensorRT infers FLOAT \[2\]"):
        run(graph(layers), {"x": torch.ones(2)})


def test_unknown_layer_types():
    with pytest.raises(NotImplementedError, match=r"'n' \(NEW_LAYER\), layer 'm' \(OTHER\)"):
        Interpreter(graph([Layer("n", "NEW_LAYER", {}, ("x",), ("t",)), Layer("m", "OTHER", {}, ("t",), ("y",))]))


def test_unused_unknown_layers_do_no_harm():
    layers = [negate("x", "y"), Layer("n", "NEW_LAYER", {}, ("x",), ("t",))]
    assert run(graph(layers), {"x": torch.ones(2)})["y"].tolist() == [-1, -1]


def test_layers_that_depend_on_themselves():
    with pytest.raises(ValueError, match=r"depend on themselves.*'a'.*'b'"):
        Interpreter(graph([negate("b", "a"), negate("a", "b"), negate("a", "y")]))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([negate("gone", "y")], "reads tensor 'gone', which no layer makes"),
        ([negate("x", "t")], r"network outputs \['y'\] are made by no layer"),
    ],
)
def test_missing_tensors(layers, message):
    with pytest.raises(ValueError, match=message):
        Interpreter(graph(layers))


def loop_layers(*extra, next_value="n", kind="LAST_VALUE"):
    loop = {"loop": "L"}
    return [
        Layer("r", "RECURRENCE", loop, ("x", next_value), ("s",)),
        negate("s", "n"),
        Layer("out", "LOOP_OUTPUT", {**loop, "kind": kind, "axis": 0}, ("s",), ("y",)),
        *(Layer(f"limit {t}", "TRIP_LIMIT", {**loop, "kind": k}, (t,), ()) for t, k in extra),
    ]


def test_loop_without_a_trip_limit():
    with pytest.raises(ValueError, match="loop 'L' has no trip limit"):
        Interpreter(graph(loop_layers()))


def test_recurrence_without_a_next_value():
    layers = loop_layers(("c", "COUNT"), next_value=None)
    with pytest.raises(ValueError, match=r"layer 'r' \(RECURRENCE\) of loop 'L' has no second input"):
        Interpreter(graph(layers, ("x", "c")))


def test_endless_while_is_given_up():
    layers = loop_layers(("w", "WHILE"))
    network = graph(layers, ("x", "w"), w=TensorType(BOOL, ()))
    with pytest.raises(LayerError, match=r"loop 'L' has no COUNT trip limit .* after 50 iterations"):
        Interpreter(network, max_loop_iterations=50).run({"x": torch.ones(2), "w": torch.tensor(True)})


def test_loop_tensor_used_outside():
    layers = [*loop_layers(("c", "COUNT")), negate("n", "z")]
    with pytest.raises(ValueError, match="inside loop 'L' and used outside it"):
        Interpreter(graph(layers, ("x", "c"), ("y", "z")))


def test_recurrence_that_changes_shape():
    layers = loop_layers(("c", "COUNT"))
    layers[1] = Layer("cat", "CONCATENATION", {"axis": 0}, ("s", "s"), ("n",))
    network = graph(layers, ("x", "c"), c=TensorType(INT32, ()), n=TensorType(FLOAT, (4,)))
    with pytest.raises(LayerError, match=r"'r' \(RECURRENCE\): .*\[4\], TensorRT infers FLOAT \[2\]"):
        run(network, {"x": torch.ones(2), "c": torch.tensor(2, dtype=torch.int32)})


def test_iterator_beyond_its_tensor():
    loop = {"loop": "L"}
    layers = [
        Layer("i", "ITERATOR", {**loop, "axis": 0, "reverse": False}, ("x",), ("s",)),
        Layer("out", "LOOP_OUTPUT", {**loop, "kind": "CONCATENATE", "axis": 0}, ("s", "c"), ("y",)),
        Layer("limit", "TRIP_LIMIT", {**loop, "kind": "COUNT"}, ("c",), ()),
    ]
    scalar = TensorType(FLOAT, ())
    network = graph(layers, ("x", "c"), c=TensorType(INT32, ()), s=scalar, y=TensorType(FLOAT, (-1,)))
    feeds = {"x": torch.ones(2), "c": torch.tensor(3, dtype=torch.int32)}
    with pytest.raises(LayerError, match=r"'i' \(ITERATOR\): iteration 2 is outside axis 0"):
        run(network, feeds)
    feeds["c"] = torch.tensor(2, dtype=torch.int32)
    assert run(network, feeds)["y"].tolist() == [1, 1]


def test_missing_attributes():
    layers = [Layer("n", "UNARY", {}, ("x",), ("y",))]
    with pytest.raises(ValueError, match=r"layer 'n' \(UNARY\) has no or an unknown 'op'"):
        run(graph(layers), {"x": torch.ones(2)})


def test_assertion_inside_a_loop():
    """It is tested in each iteration, on the values of that iteration."""
    layers = [
        *loop_layers(("c", "COUNT")),
        Layer("positive", "ELEMENTWISE", {"op": "GREATER"}, ("s", "k"), ("p",)),
        Layer("assert", "ASSERTION", {"message": "not above"}, ("p",), ()),
    ]
    types = {"c": TensorType(INT32, ()), "p": TensorType(BOOL, (2,))}
    interpreter = Interpreter(graph(layers, ("x", "c", "k"), **types))
    feeds = {"x": torch.ones(2), "k": torch.zeros(2), "c": torch.tensor(1, dtype=torch.int32)}
    assert interpreter.run(feeds)["y"].tolist() == [-1, -1]
    with pytest.raises(LayerError, match=r"'assert' \(ASSERTION\).*not above"):
        interpreter.run({**feeds, "c": torch.tensor(2, dtype=torch.int32)})


def test_conditional_without_a_condition():
    layers = [Layer("o", "CONDITIONAL_OUTPUT", {"conditional": "C"}, ("x", "x"), ("y",))]
    with pytest.raises(ValueError, match="conditional 'C' has no condition"):
        Interpreter(graph(layers))


def test_only_the_branch_taken_runs():
    """The other one would fail: it reads row 5 of two."""
    conditional = {"conditional": "C"}
    cut = {"start": (5,), "shape": (2,), "stride": (1,), "axes": None, "mode": "STRICT_BOUNDS"}
    layers = [
        Layer("c", "CONDITION", conditional, ("c",), ()),
        Layer("i", "CONDITIONAL_INPUT", conditional, ("x",), ("t",)),
        Layer("bad", "SLICE", cut, ("t",), ("b",)),
        negate("t", "g"),
        Layer("o", "CONDITIONAL_OUTPUT", conditional, ("g", "b"), ("y",)),
    ]
    interpreter = Interpreter(graph(layers, ("x", "c"), c=TensorType(BOOL, ())))
    x = torch.ones(2)
    assert interpreter.run({"x": x, "c": torch.tensor(True)})["y"].tolist() == [-1, -1]
    with pytest.raises(LayerError, match="'bad'"):
        interpreter.run({"x": x, "c": torch.tensor(False)})


def test_loop_invariant_layers_run_once():
    """What a loop's body uses but does not change is computed before the loop."""
    layers = loop_layers(("c", "COUNT"))
    layers[1] = Layer("add", "ELEMENTWISE", {"op": "SUM"}, ("s", "k"), ("n",))
    layers.append(negate("x", "k"))
    network = graph(layers, ("x", "c"), c=TensorType(INT32, ()))
    seen = []
    feeds = {"x": torch.ones(2), "c": torch.tensor(5, dtype=torch.int32)}
    result = Interpreter(network).run(feeds, observe=lambda name, value: seen.append(name))
    assert result["y"].tolist() == [-4, -4]
    assert (seen.count("k"), seen.count("n")) == (1, 5)
