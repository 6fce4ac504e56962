"""Graphs written to definitions read back as they were, for every layer type."""

import copy
import dataclasses
import pickle
from unittest import mock

import numpy
import pytest
import torch

from trtconv import tensorrt as trt
from trtconv.graph import digest, in_order, reader, write
from trtconv.graph.data import Live
from trtconv.graph.writer import _Writer
from trtconv.reference import DataType, Interpreter, Layer, TensorType, from_state, read, to_state

from .cases import CASES
from .network import Net

PARAMETERS = [pytest.param(case, dtype, id=f"{case.name}-{str(dtype)[6:]}") for case in CASES for dtype in case.dtypes]


def assert_reads_back(graph):
    written = write(graph)  # it holds the weights
    assert digest(read(written.definition)) == digest(graph)


@pytest.mark.parametrize(("case", "dtype"), PARAMETERS)
def test_every_layer_reads_back_as_it_was(case, dtype):
    for dynamic in (False, True) if case.dynamic and case.inputs else (False,):
        net, _ = case.network(dtype, dynamic)
        assert_reads_back(read(net.network))


@pytest.mark.filterwarnings("ignore")
def test_parsed_networks_read_back_as_they_were():
    pytest.importorskip("onnx")
    from .onnx_nodes import node, parse

    count = 0
    for case in node.collect_testcases(None):
        parsed = None if case.model is None else parse(case.model)
        if parsed is not None:
            network, _ = parsed  # the parser holds its weights
            assert_reads_back(read(network))
            count += 1
    assert count > 900


def small():
    net = Net()
    x = net.input("x", torch.zeros(2, 3))
    y = net.add_activation(x, trt.ActivationType.RELU).get_output(0)
    net.mark(net.add_elementwise(y, net.constant(torch.ones(1, 3)), trt.ElementWiseOperation.SUM).get_output(0), "y")
    return read(net.network)


def test_a_written_definition_builds_and_answers_the_same():
    graph = small()
    written = write(graph)
    assert written.builder.build_serialized_network(written.definition, written.builder.create_builder_config())
    x = {"x": torch.randn(2, 3)}
    assert torch.equal(Interpreter(read(written.definition)).run(x)["y"], Interpreter(graph).run(x)["y"])


def test_the_digest_tells_graphs_apart_and_heeds_no_order():
    graph = small()
    turned = dataclasses.replace(graph, layers=graph.layers[::-1])
    assert in_order(turned.layers) != list(turned.layers)
    by_name = {layer.name: layer for layer in graph.layers}
    for layer in in_order(turned.layers):
        assert layer is by_name[layer.name]
    for index, layer in enumerate(graph.layers):
        for name, value in layer.attributes.items():
            other = value + 1 if isinstance(value, (torch.Tensor, float)) else f"{value}?"
            changed = Layer(layer.name, layer.type, {**layer.attributes, name: other}, layer.inputs, layer.outputs)
            layers = (*graph.layers[:index], changed, *graph.layers[index + 1 :])
            assert digest(dataclasses.replace(graph, layers=layers)) != digest(graph)


@pytest.mark.parametrize(
    "weights",
    [torch.ones(1).expand(0), torch.empty_strided((1,), (5,)).fill_(2.0), torch.ones(2, 3).t(), torch.ones(())],
)
def test_the_digest_heeds_no_strides(weights):
    graphs = [
        dataclasses.replace(small(), layers=(Layer("a", "CONSTANT", {"weights": each}, (), ("y",)),))
        for each in (weights, torch.tensor(weights.tolist()).reshape(weights.shape))
    ]
    assert digest(graphs[0]) == digest(graphs[1])


def test_what_cannot_be_written_is_named():
    graph = small()
    unknown = Layer("strange", "STRANGE", {}, ("x",), ("z",))
    with pytest.raises(ValueError, match=r"layer 'strange' \(STRANGE\): layers of this type can't be written"):
        write(dataclasses.replace(graph, layers=(*graph.layers, unknown)))
    cycle = (Layer("a", "IDENTITY", {}, ("q",), ("p",)), Layer("b", "IDENTITY", {}, ("p",), ("q",)))
    with pytest.raises(ValueError, match=r"'a' .* depends on its own result"):
        in_order(cycle)


def test_types_are_those_that_tensorrt_infers():
    graph = small()
    tensors = {**graph.tensors, "y": TensorType(DataType.HALF, (2, 3))}
    with pytest.raises(ValueError, match=r"ELEMENTWISE.*: TensorRT says that 'y' is FLOAT, not HALF \[2, 3\]"):
        write(dataclasses.replace(graph, tensors=tensors))


@pytest.mark.parametrize(("kind", "method"), [("PLUGIN_V2", "add_plugin_v2"), ("PLUGIN_V3", "add_plugin_v3")])
def test_plugins_are_carried_within_a_process(kind, method):
    plugin = object()
    attributes = {"plugin": "Twice_TEST", "instance": Live(plugin)}
    graph = dataclasses.replace(small(), layers=(Layer("p", kind, attributes, ("x",), ("y",)),))
    definition = mock.MagicMock()
    getattr(definition, method).return_value.get_output.return_value.dtype = trt.float32
    _Writer(graph, definition).write()
    inputs, *_, given = getattr(definition, method).call_args.args
    assert inputs == [definition.add_input.return_value] and given is plugin
    for other in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph)), from_state(*to_state(graph))):
        assert digest(other) == digest(graph)
        with pytest.raises(ValueError, match=r"'p' .*: its plugin isn't in this process"):
            write(other)


@pytest.fixture
def creator():
    """The registered creator of a plugin with a number, names and a table."""

    class Plugin(trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneRuntime):
        def __init__(self, fields):
            for base in Plugin.__bases__:
                base.__init__(self)
            self.fields = [(each.name, each.data.copy(), each.type) for each in fields]
            self.plugin_name, self.plugin_version, self.plugin_namespace = "Scaled_TEST", "3", ""

        def get_capability_interface(self, kind):
            return self

        def get_fields_to_serialize(self):
            return trt.PluginFieldCollection([trt.PluginField(*each) for each in self.fields])

    class Creator(trt.IPluginCreatorV3One):
        def __init__(self):
            super().__init__()
            self.name, self.plugin_version, self.plugin_namespace = "Scaled_TEST", "3", ""
            self.field_names = trt.PluginFieldCollection([])

        def create_plugin(self, name, fields, phase):
            return Plugin(fields)

    made = Creator()
    trt.get_plugin_registry().register_creator(made, "")
    yield made
    trt.get_plugin_registry().deregister_creator(made)


def test_saved_plugins_are_made_again_by_their_creators(creator):
    kinds, floats = trt.PluginFieldType, numpy.arange(4, dtype=numpy.float32)
    fields = [("count", numpy.array([5], numpy.int32), kinds.INT32), ("table", floats, kinds.FLOAT32)]
    plugin = creator.create_plugin("p", [trt.PluginField(*each) for each in fields], trt.TensorRTPhase.BUILD)
    attributes = reader._plugin(mock.Mock(plugin=plugin), Layer("p", "PLUGIN_V3", {}, ("x",), ("y",)), {})
    graph = dataclasses.replace(small(), layers=(Layer("p", "PLUGIN_V3", attributes, ("x",), ("y",)),))
    definition = mock.MagicMock()
    definition.add_plugin_v3.return_value.get_output.return_value.dtype = trt.float32
    for other in (copy.deepcopy(graph), from_state(*to_state(graph))):
        _Writer(other, definition).write()
        made = definition.add_plugin_v3.call_args.args[-1]
        assert made is not plugin
        for (name, values, kind), (other_name, others, other_kind) in zip(fields, made.fields, strict=True):
            assert (name, kind) == (other_name, other_kind) and numpy.array_equal(values, others)
    trt.get_plugin_registry().deregister_creator(creator)
    with pytest.raises(ValueError, match=r"'p' .*: no creator of plugin 'Scaled_TEST', version '3', is registered"):
        write(from_state(*to_state(graph)))
    trt.get_plugin_registry().register_creator(creator, "")
