"""A graph whose attributes can't be its layers' is refused where it is loaded, by the layer's name."""

import copy
import json

import pytest
import torch

from trtconv.graph.reader import ATTRIBUTES, CONSTRUCTS
from trtconv.graph.schema import KINDS
from trtconv.reference import Interpreter, LayerError, from_state, to_state

from .cases import CASES


def test_each_attribute_that_is_read_has_a_kind():
    for table in (ATTRIBUTES, CONSTRUCTS):
        for kind, (_, names) in table.items():
            assert set([names] if isinstance(names, str) else names) <= set(KINDS[kind]), kind


@pytest.fixture(scope="module")
def places():
    """For each layer type and attribute a graph that has it: its state, its weights, and the layer's place."""
    found = {}
    for case in CASES:
        net, _ = case.network(case.dtypes[0])
        graph = Interpreter(net.network).graph
        text, tensors = to_state(graph)
        for place, layer in enumerate(graph.layers):
            for name in layer.attributes:
                found.setdefault((layer.type, name), (json.loads(text), tensors, place))
    return found


def with_value(state, place, name, value):
    state = copy.deepcopy(state)
    state["layers"][place][2][name] = value
    return json.dumps(state)


# Any number may stand for these.
NUMBERS = {"alpha", "beta", "k", "blend_factor", "epsilon", "cubic_coeff", "block_size"} | {
    f"swiglu_param_{name}" for name in ("alpha", "beta", "limit")
}


def test_what_no_attribute_can_be_is_refused(places):
    for (kind, name), (state, tensors, place) in places.items():
        values = [[[[]]], ["load"], {"tensor": "none"}]
        values += [] if name in NUMBERS and kind != "TOPK" else [10**10, 1.5]
        for value in values:
            with pytest.raises(ValueError, match=r"damaged"):
                from_state(with_value(state, place, name, value), tensors)
        missing = copy.deepcopy(state)
        del missing["layers"][place][2][name]
        with pytest.raises(ValueError, match=f"{kind}.* has no {name}"):
            from_state(json.dumps(missing), tensors)


def test_layers_without_their_tensors_are_refused():
    for case in CASES:
        net, _ = case.network(case.dtypes[0])
        text, tensors = to_state(Interpreter(net.network).graph)
        state = json.loads(text)
        for layer in state["layers"]:
            name, kind, _, inputs, outputs, *_ = layer
            wrong = [(inputs, outputs[1:] if outputs else [name])]
            if kind not in ("CONSTANT", "FILL"):
                wrong += [([None, *inputs[1:]], outputs), ([], outputs)]
            for layer[3], layer[4] in wrong:
                with pytest.raises(ValueError, match=f"{kind}.* has (in|out)puts|have no type"):
                    from_state(json.dumps(state), tensors)
            layer[3:5] = inputs, outputs


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("CONSTANT", "shape", [10**10]),
        ("CONVOLUTION", "kernel_size_nd", [10**9, 3]),
        ("CONVOLUTION", "pre_padding", [10**9, 1]),
        ("CONVOLUTION", "stride_nd", [10**9, 1]),
        ("DECONVOLUTION", "stride_nd", [10**9, 1]),
        ("FILL", "shape", [10**10]),
        ("ITERATOR", "axis", 7),
        ("CONCATENATION", "axis", -7),
        ("PADDING", "post_padding_nd", [10**10, 0]),
        ("POOLING", "post_padding", [10**9, 0]),
        ("RESIZE", "shape", [1, 1, 10**10, 1]),
        ("RESIZE", "scales", [1.0, 1.0, 1e10, 1.0]),
        ("SLICE", "shape", [10**10, 1, 1]),
    ],
)
def test_sizes_that_are_not_the_outputs_are_refused(places, kind, name, value):
    state, tensors, place = places[kind, name]
    label = state["layers"][place][0]
    with pytest.raises(ValueError, match=r"damaged") as caught:
        from_state(with_value(state, place, name, value), tensors)
    assert label in str(caught.value)


# The input that says how large the output is.
SIZES = {"FILL": 0, "ONE_HOT": 2, "RESIZE": 1, "SLICE": 2}


def test_sizes_that_constants_give_are_refused_before_memory_is_taken():
    tried = set()
    for case in CASES:
        net, names = case.network(case.dtypes[0])
        graph = Interpreter(net.network).graph
        constants = {layer.outputs[0]: layer for layer in graph.layers if layer.type == "CONSTANT"}
        for layer in graph.layers:
            place = SIZES.get(layer.type, len(layer.inputs))
            sizes = constants.get(layer.inputs[place]) if place < len(layer.inputs) else None
            if sizes is not None:
                tried.add(layer.type)
                sizes.attributes["weights"] = torch.full_like(sizes.attributes["weights"], 10**9)
                feeds = dict(zip(names, case.values(case.dtypes[0]), strict=True))
                with pytest.raises(LayerError, match="are asked for"):
                    Interpreter(graph).run(feeds)
    assert tried == set(SIZES)
