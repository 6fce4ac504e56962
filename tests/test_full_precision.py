import warnings
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from cases import Function
from torch import nn

import trtconv
from trtconv import tensorrt as trt
from trtconv.build import build
from trtconv.emit.network import Network
from trtconv.graph import check
from trtconv.inspect import compare
from trtconv.passes.full_precision import use_full_precision
from trtconv.reference import Interpreter
from trtconv.tensorrt.logger import collect_messages


class Built(nn.Module):
    """Runs the graph that the engine was built from."""

    def __init__(self, graph):
        super().__init__()
        self.interpreter = Interpreter(graph)

    def forward(self, *args):
        feeds = {f"input_{index}": value for index, value in enumerate(args)}
        return self.interpreter.run(feeds)["output_0"]


PRODUCTS = {"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY"}


def convert(*args, **options):
    """The converted module, and the graph that its engine was built from."""
    with mock.patch("trtconv.build.build", side_effect=build) as built:
        converted = trtconv.convert(*args, **options)
    return converted, built.call_args.args[0]


def check_rewritten(module, shapes, dynamic_shapes=None, others=()):
    """No product is left, and the result has not changed."""
    module = module.eval()
    inputs = [torch.randn(size) for size in shapes]
    converted, graph = convert(module, inputs, dynamic_shapes=dynamic_shapes, tf32=False)
    assert not products(graph)
    for sizes in (shapes, *others):
        inputs = tuple(torch.randn(size) for size in sizes)
        for candidate in (converted, Built(graph)):
            result = compare(module, candidate, inputs)
            # The terms are summed in another order: PyTorch's error is no bound for so small a product.
            assert all(not o.problem and o.error <= o.whole.allowed + 4 * o.whole.unit for o in result.outputs), str(
                result
            )


def products(graph):
    return PRODUCTS & {layer.type for layer in graph.layers}


@pytest.mark.parametrize(
    ("module", "shapes"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), [(2, 3, 7, 7)]),
        (nn.Conv2d(8, 6, 3, stride=2, dilation=2, bias=False), [(1, 8, 9, 9)]),
        (nn.Conv2d(8, 6, (2, 3), stride=(3, 1), padding=(0, 2)), [(2, 8, 9, 8)]),
        (nn.Conv2d(24, 12, 1, groups=2), [(1, 24, 5, 4)]),
        (nn.Conv2d(6, 5, 1, stride=2), [(1, 6, 5, 4)]),
        (nn.Conv1d(8, 5, 3), [(2, 8, 9)]),
        (nn.Conv3d(6, 5, (1, 2, 3), stride=(1, 2, 1), padding=(0, 1, 1)), [(2, 6, 3, 4, 5)]),
        (nn.Conv3d(6, 6, 3, groups=6, dilation=(1, 2, 1)), [(1, 6, 3, 6, 5)]),
        (nn.Conv3d(6, 4, 1), [(2, 6, 2, 3, 4)]),
        (nn.Conv3d(4, 6, (2, 3, 2), stride=(2, 3, 2), groups=2), [(2, 4, 4, 6, 5)]),
        (Function(F.conv2d), [(2, 4, 5, 6), (6, 4, 2, 3)]),
        (Function(lambda x, w, b: F.conv2d(x, w, b, groups=2)), [(2, 4, 5, 6), (6, 2, 3, 3), (6,)]),
        (nn.ConvTranspose2d(8, 6, 3, stride=2, groups=1), [(1, 8, 4, 4)]),
        (nn.ConvTranspose2d(16, 6, 3, stride=2, groups=2, output_padding=1), [(1, 16, 4, 4)]),
        (nn.ConvTranspose2d(4, 6, 3, padding=(2, 1), dilation=(2, 1)), [(2, 4, 5, 4)]),
        (nn.ConvTranspose1d(4, 6, 4, stride=3, padding=1, bias=False), [(2, 4, 5)]),
        (nn.ConvTranspose3d(4, 6, (1, 2, 3), stride=(1, 2, 1)), [(2, 4, 2, 3, 4)]),
        (Function(F.conv_transpose2d), [(2, 4, 5, 6), (4, 6, 2, 3)]),
        (nn.Linear(5, 7), [(4, 5)]),
        (nn.Linear(5, 7), [(1, 5)]),
        (Function(torch.matmul), [(2, 3, 5), (2, 5, 4)]),
        (Function(torch.matmul), [(5,), (2, 5, 4)]),
        (Function(torch.matmul), [(2, 3, 5), (5,)]),
        (Function(lambda a, b: a @ b.mT), [(2, 3, 5), (2, 4, 5)]),
        (nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)), [(1, 6, 6, 6)]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_products_element_by_element_are_equal(module, shapes):
    check_rewritten(module, shapes)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(16, 27), (8, 9), (17, 35)], ids=["patches", "one-patch", "rest"])
def test_adjacent_patches(bias, size):
    check_rewritten(nn.Conv2d(3, 7, (8, 9), stride=(8, 9), bias=bias), [(2, 3, *size)])


@pytest.mark.parametrize(
    ("module", "shape", "others"),
    [
        (nn.Conv2d(8, 5, 3, stride=2, padding=1), (2, 8, 6, 7), [(1, 8, 4, 4), (4, 8, 9, 9)]),
        (nn.Conv2d(8, 5, 3, padding=1, dilation=2), (2, 8, 6, 7), [(1, 8, 4, 5), (4, 8, 9, 8)]),
        (nn.Conv2d(8, 5, 1), (2, 8, 6, 7), [(1, 8, 4, 4), (4, 8, 9, 8)]),
        (nn.Conv2d(8, 5, (2, 3), stride=(2, 3)), (2, 8, 6, 7), [(1, 8, 4, 4), (4, 8, 9, 8)]),
        (nn.ConvTranspose2d(8, 5, 3, stride=2, padding=1), (2, 8, 6, 7), [(1, 8, 4, 4), (4, 8, 9, 8)]),
        (nn.Conv3d(4, 5, 3, padding=1), (2, 4, 6, 7, 3), [(1, 4, 4, 4, 3), (4, 4, 9, 8, 3)]),
        (nn.Conv1d(4, 5, 3, stride=2), (2, 4, 7), [(1, 4, 4), (4, 4, 9)]),
        (nn.Linear(4, 5), (2, 5, 4), [(1, 4, 4), (4, 9, 4)]),
    ],
)
def test_dynamic_sizes(module, shape, others):
    axis = 2 if len(shape) > 3 or isinstance(module, nn.Conv1d) else 1
    ranges = {0: (1, 2, 4), axis: (4, 6, 9)}
    if len(shape) > 3:
        ranges[3] = (4, 7, 9)
    check_rewritten(module, [shape], {"input": ranges}, [[other] for other in others])


class BiasGiven(nn.Conv2d):
    def forward(self, x, bias):
        return F.conv2d(x, self.weight, bias, groups=self.groups)


def test_a_computed_bias():
    check_rewritten(BiasGiven(8, 6, 3, bias=False), [(2, 8, 5, 6), (6,)])


def test_a_computed_bias_of_small_groups_is_left_alone():
    module = BiasGiven(8, 6, 3, groups=2, bias=False)
    _, graph = convert(module, [torch.randn(2, 8, 5, 6), torch.randn(6)], tf32=False)
    assert products(graph) == {"CONVOLUTION"}


def graph_of(shapes, add):
    """The graph of the layer that `add` gives for inputs of these shapes."""
    with collect_messages() as messages:
        network = Network(messages)
        inputs = [network.add_input(f"x{index}", trt.float32, shape) for index, shape in enumerate(shapes)]
        result = add(network, *inputs).get_output(0)
        result.name = "y"
        network.definition.mark_output(result)
        return network.graph()


def check_layer(shapes, add):
    """A layer that no converter sets, but ONNX files and users' do."""
    graph = graph_of(shapes, add)
    rewritten = use_full_precision(graph)
    check(rewritten)
    assert products(graph) and not products(rewritten)
    feeds = {f"x{index}": torch.randn(shape) for index, shape in enumerate(shapes)}
    torch.testing.assert_close(Interpreter(rewritten).run(feeds)["y"], Interpreter(graph).run(feeds)["y"])


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "EXPLICIT_ROUND_UP"])
@pytest.mark.parametrize("kind", ["convolution", "deconvolution"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 3), (3, 4)])
@pytest.mark.parametrize("padding", [(0, 0), (0, 1)])
def test_padding_modes(mode, kind, stride, padding):
    def add(network, x):
        weights = network.weights(torch.randn(8, 8, 3, 4)), network.weights(torch.randn(8))
        layer = getattr(network, f"add_{kind}_nd")(x, 8, (3, 4), *weights)
        layer.padding_mode = getattr(trt.PaddingMode, mode)
        layer.stride_nd = stride
        layer.post_padding = padding
        return layer

    check_layer([(2, 8, 7, 6)], add)


@pytest.mark.parametrize(
    ("left", "right", "shapes"),
    [
        ("TRANSPOSE", "TRANSPOSE", [(2, 3, 4), (2, 5, 3)]),
        ("VECTOR", "NONE", [(2, 3), (2, 3, 5)]),
        ("NONE", "VECTOR", [(2, 4, 3), (2, 3)]),
        ("VECTOR", "VECTOR", [(3,), (3,)]),
    ],
)
def test_matrix_operations(left, right, shapes):
    operations = [getattr(trt.MatrixOperation, name) for name in (left, right)]
    check_layer(shapes, lambda net, a, b: net.add_matrix_multiply(a, operations[0], b, operations[1]))


def test_a_dynamic_shape_that_is_not_known_is_left_alone_with_a_warning(clean):
    @trtconv.tensorrt_converter("torch.nn.functional.linear")
    def convert_linear(ctx):
        x, weight = ctx.method_args[0]._trt, ctx.method_args[1]
        constant = ctx.network.add_constant(tuple(weight.shape), trt.Weights(weight.detach().numpy()))
        none, transpose = trt.MatrixOperation.NONE, trt.MatrixOperation.TRANSPOSE
        layer = ctx.network.add_matrix_multiply(x, none, constant.get_output(0), transpose)
        ctx.method_return._trt = ctx.network.add_identity(layer.get_output(0)).get_output(0)

    def graph(dynamic_shapes):
        return convert(nn.Linear(3, 4), [torch.randn(2, 3)], dynamic_shapes=dynamic_shapes, tf32=False)[1]

    with pytest.warns(trtconv.PrecisionWarning, match=r"no effect on\n  .*linear.*: its shape is dynamic.*net\.known"):
        assert products(graph({"input": {0: (1, 2, 4)}}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not products(graph(None))


def test_padding_that_varies_is_left_alone_with_a_warning(clean):
    @trtconv.tensorrt_converter("torch.nn.functional.conv2d")
    def convert_conv2d(ctx):
        x, weight = ctx.method_args[0]._trt, ctx.method_args[1].detach()
        layer = ctx.network.add_convolution_nd(x, 5, (3, 3), trt.Weights(weight.numpy()), trt.Weights())
        layer.padding_mode = trt.PaddingMode.SAME_UPPER
        ctx.method_return._trt = ctx.network.known(layer.get_output(0), ctx.method_return.shape)

    module = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    with pytest.warns(trtconv.PrecisionWarning, match="its padding follows from sizes that vary"):
        trtconv.convert(module, [torch.randn(1, 3, 8, 8)], dynamic_shapes={"input": {2: (4, 8, 9)}}, tf32=False)


@pytest.mark.parametrize("other", [(4, 5), (4,)])
def test_products_of_eight_axes_are_left_alone_with_a_warning(other):
    with pytest.warns(trtconv.PrecisionWarning, match="eight axes"):
        trtconv.convert(Function(torch.matmul), [torch.randn(1, 2, 1, 2, 1, 2, 3, 4), torch.randn(other)], tf32=False)


def test_a_vector_counts_as_a_matrix_there():
    operations = trt.MatrixOperation.VECTOR, trt.MatrixOperation.NONE
    graph = graph_of(
        [(1,) * 7, (1,) * 8], lambda net, a, b: net.add_matrix_multiply(a, operations[0], b, operations[1])
    )
    with pytest.warns(trtconv.PrecisionWarning, match="eight axes"):
        assert use_full_precision(graph) is graph


def test_what_computes_in_fp32_already_is_left_alone():
    module = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=2))
    _, graph = convert(module.eval(), [torch.randn(1, 8, 5, 5)], tf32=False)
    assert products(graph) == {"CONVOLUTION"}


def test_tf32_leaves_the_network_alone():
    converted, graph = convert(nn.Conv2d(8, 8, 3), [torch.randn(1, 8, 5, 5)], tf32=True)
    assert products(graph) == {"CONVOLUTION"}
    assert converted.plan.provenance["tf32"] is True
