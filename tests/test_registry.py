import sys
import threading

import pytest
import torch
import torch.nn.functional as F
from cases import Function
from torch import nn

import trtconv
from trtconv import tensorrt as trt
from trtconv.inspect import compare


def triple(x, factor=3.0):
    """A function of the user's own."""
    return x * factor


def register_relu(seen):
    @trtconv.tensorrt_converter("torch.relu")
    def convert_relu(ctx):
        seen.append(ctx.method_args[0].shape)
        layer = ctx.network.add_activation(ctx.method_args[0]._trt, trt.ActivationType.RELU)
        ctx.method_return._trt = layer.get_output(0)


@pytest.mark.parametrize(
    "module",
    [
        Function(torch.relu),
        Function(F.relu),
        Function(torch.Tensor.relu),
        Function(lambda x: F.relu(x.clone(), inplace=True)),
        Function(lambda x: x.clone().relu_()),
        nn.ReLU(),
        nn.ReLU(inplace=True),
    ],
    ids=["torch.relu", "F.relu", "Tensor.relu", "F.relu-inplace", "relu_", "ReLU", "ReLU-inplace"],
)
def test_a_converter_fires_for_every_way_to_call_the_function(clean, module):
    seen = []
    register_relu(seen)
    converted = trtconv.convert(module, torch.randn(2, 3))
    assert seen == [(2, 3)]
    x = torch.randn(2, 3)
    assert torch.equal(converted(x.clone()), x.relu())


def test_constants_have_a_tensorrt_tensor_too(clean):
    weight = torch.randn(3)

    @trtconv.tensorrt_converter("torch.ops.aten.mul.Tensor")
    def convert_mul(ctx):
        a, b = ctx.method_args
        assert isinstance(b, torch.Tensor) and b.shape == (3,)
        shuffle = ctx.network.add_shuffle(b._trt)
        shuffle.reshape_dims = (1, 3)
        layer = ctx.network.add_elementwise(a._trt, shuffle.get_output(0), trt.ElementWiseOperation.PROD)
        ctx.method_return._trt = layer.get_output(0)

    module = Function(lambda x: x * weight)
    converted = trtconv.convert(module, torch.randn(2, 3))
    assert compare(module, converted, torch.randn(2, 3)).correct
    assert not hasattr(weight, "_trt")


def test_the_network_has_all_that_a_definition_has(clean):
    @trtconv.tensorrt_converter("torch.relu")
    def convert_relu(ctx):
        net = ctx.network
        assert (net.num_inputs, net.get_input(0).name, net.num_layers) == (1, "input_0", 0)
        layer = net.add_activation(net.get_input(0), trt.ActivationType.RELU)
        assert net.num_layers == 1 and net.get_layer(0).name == layer.name
        with pytest.raises(AttributeError, match="no_such"):
            net.no_such()
        ctx.method_return._trt = layer.get_output(0)

    x = torch.randn(3)
    assert torch.equal(trtconv.convert(nn.ReLU(), x)(x), x.relu())


def test_a_function_of_ones_own(clean):
    calls = []

    @trtconv.tensorrt_converter(f"{__name__}.triple")
    def convert_triple(ctx):
        calls.append((len(ctx.method_args), ctx.method_kwargs))
        three = ctx.network.add_constant((1, 1), torch.tensor([ctx.method_kwargs["factor"]]).numpy()).get_output(0)
        layer = ctx.network.add_elementwise(ctx.method_args[0]._trt, three, trt.ElementWiseOperation.PROD)
        ctx.method_return._trt = layer.get_output(0)

    original = triple
    converted = trtconv.convert(Function(lambda x: triple(x, factor=4.0) + 1), torch.randn(2, 3))
    assert calls == [(1, {"factor": 4.0})]
    assert triple is original is sys.modules[__name__].triple
    x = torch.randn(2, 3)
    assert torch.equal(converted(x), x * 4 + 1)


def test_registering_twice_raises_but_running_a_cell_again_does_not(clean):
    register_relu([])
    register_relu([])
    with pytest.raises(ValueError, match=r"torch\.relu has a converter already: .*test_registry.*unregister"):

        @trtconv.tensorrt_converter(torch.relu)
        def another(ctx):
            pass

    trtconv.unregister("torch.relu")
    with pytest.raises(KeyError):
        trtconv.unregister("torch.relu")


def test_unknown_functions_are_named():
    with pytest.raises(ValueError, match=r"'torch\.rilu'.*no attribute 'rilu'"):
        trtconv.tensorrt_converter("torch.rilu")
    with pytest.raises(ValueError, match="full dotted name"):
        trtconv.tensorrt_converter("no_such_module.relu")
    with pytest.raises(ValueError, match=r"overloads.*default"):
        trtconv.tensorrt_converter("torch.ops.aten.relu")


def test_a_converter_that_forgets_its_result_is_told(clean):
    @trtconv.tensorrt_converter("torch.relu")
    def convert_relu(ctx):
        ctx.network.add_activation(ctx.method_args[0]._trt, trt.ActivationType.RELU)

    with pytest.raises(trtconv.BuildError, match=r"converter of torch\.relu, .*set no _trt for the result"):
        trtconv.convert(nn.ReLU(), torch.randn(2, 3))


def test_a_converter_with_a_wrong_result_is_told(clean):
    @trtconv.tensorrt_converter("torch.relu")
    def convert_relu(ctx):
        shuffle = ctx.network.add_shuffle(ctx.method_args[0]._trt)
        shuffle.reshape_dims = (3, 2)
        ctx.method_return._trt = shuffle.get_output(0)

    with pytest.raises(trtconv.BuildError, match=r"returned float32\[3, 2\].*torch returns float32\[2, 3\]"):
        trtconv.convert(nn.ReLU(), torch.randn(2, 3))


def test_a_layer_that_tensorrt_refuses_is_told(clean):
    @trtconv.tensorrt_converter("torch.relu")
    def convert_relu(ctx):
        half = ctx.network.add_constant((1, 1), torch.ones(1, dtype=torch.float16).numpy()).get_output(0)
        layer = ctx.network.add_elementwise(ctx.method_args[0]._trt, half, trt.ElementWiseOperation.SUM)
        ctx.method_return._trt = layer.get_output(0)

    with pytest.raises(trtconv.BuildError, match="must have same input types") as caught:
        trtconv.convert(Function(torch.relu), torch.randn(2, 3))
    assert "Float and Half" in str(caught.value)
    assert "torch.relu" in str(caught.value)


def test_disabled_converters_are_not_registered(clean):
    @trtconv.tensorrt_converter("torch.relu", enabled=False)
    def convert_relu(ctx):
        raise AssertionError("it was called")

    trtconv.convert(nn.ReLU(), torch.randn(2, 3))


def test_two_threads_convert_at_once():
    modules = [nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval() for _ in range(12)]
    results = {}

    def work(index):
        results[index] = trtconv.convert(modules[index], torch.randn(2, 4))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(modules))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, module in enumerate(modules):
        assert compare(module, results[index], torch.randn(2, 4)).correct


def test_a_converter_that_decides_by_a_dynamic_size_is_refused(clean):
    @trtconv.tensorrt_converter("torch.relu")
    def convert_relu(ctx):
        kind = trt.ActivationType.RELU if ctx.method_args[0].shape[0] > 2 else trt.ActivationType.SIGMOID
        ctx.method_return._trt = ctx.network.add_activation(ctx.method_args[0]._trt, kind).get_output(0)

    shapes = {"input": {0: trtconv.Dim(1, 4)}}
    with pytest.raises(trtconv.BuildError, match=r"the converter of torch\.relu decides by a dynamic size"):
        trtconv.convert(nn.ReLU(), torch.randn(3, 3), dynamic_shapes=shapes)


class Pair(nn.Module):
    """Its converter reads a child's weights, and a buffer."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.register_buffer("scale", torch.rand(1, 4))

    def forward(self, x):
        return self.inner(x) * self.scale


def test_the_weights_of_a_module_that_is_taken_whole_are_tensors_of_the_network(clean):
    @trtconv.tensorrt_converter(Pair)
    def convert_pair(ctx):
        module, x = ctx.method_args
        flat, transposed = trt.MatrixOperation.NONE, trt.MatrixOperation.TRANSPOSE
        layer = ctx.network.add_matrix_multiply(x._trt, flat, module.inner.weight._trt, transposed)
        bias = ctx.network.add_shuffle(module.inner.bias._trt)
        bias.reshape_dims = (1, 4)
        layer = ctx.network.add_elementwise(layer.get_output(0), bias.get_output(0), trt.ElementWiseOperation.SUM)
        layer = ctx.network.add_elementwise(layer.get_output(0), module.scale._trt, trt.ElementWiseOperation.PROD)
        ctx.method_return._trt = layer.get_output(0)

    module, x = Pair(), torch.randn(2, 3)
    torch.testing.assert_close(trtconv.convert(module, x)(x), module(x))
    assert not hasattr(module.inner.weight, "_trt")
