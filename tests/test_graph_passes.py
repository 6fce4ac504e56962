"""Passes on the graph that work around a release, or around half precision: what they change, and nothing else."""

import pytest
import torch
import torch.nn.functional as F
from cases import Function
from torch import nn

import trtconv
from trtconv.graph import check
from trtconv.passes.rtx_1_6_constants import fold_integer_products
from trtconv.passes.rtx_1_6_reductions import reduce_by_one_axis
from trtconv.passes.rtx_1_7_elu import write_elu_as_selu
from trtconv.passes.small_heads import attend_with_small_heads
from trtconv.passes.transposed_convolutions import transpose_convolutions_with_kernels
from trtconv.reference import Interpreter


def graph_of(function, *inputs, **options):
    return trtconv.convert(Function(function), inputs, **options).network


def answers(graph, *inputs):
    return list(Interpreter(graph).run(dict(zip(graph.inputs, inputs, strict=True))).values())


def axes_of_reductions(graph):
    masks = [layer.attributes["axes"] for layer in graph.layers if layer.type == "REDUCE"]
    return [[axis for axis in range(8) if mask >> axis & 1] for mask in masks]


@pytest.mark.parametrize(
    ("function", "shape", "before", "after"),
    [
        (lambda x: x.sum((1, 2)), (2, 3, 4), [[1, 2]], [[1]]),
        (lambda x: x.sum((0, 2, 3), True), (2, 3, 4, 5), [[0, 2, 3]], [[2], [0]]),
        (lambda x: x.mean(), (40, 40), [[0, 1]], [[0]]),
        (lambda x: x.mean((1, 2)), (2, 40, 40), [[1, 2]], [[1, 2]]),
        (lambda x: x.amax(1), (2, 3, 4), [[1]], [[1]]),
    ],
)
@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
def test_few_elements_are_reduced_over_one_axis_at_a_time(function, shape, before, after, dynamic):
    x = torch.randn(shape)
    dynamic_shapes = {"x": {0: (1, shape[0], 64)}} if dynamic else None
    graph = trtconv.convert(Named(function), (x,), dynamic_shapes=dynamic_shapes).network
    changed = reduce_by_one_axis(graph)
    check(changed)
    assert axes_of_reductions(graph) == before
    assert axes_of_reductions(changed) == after
    torch.testing.assert_close(answers(changed, x), answers(graph, x))


class Named(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_sums_of_bfloat16_are_taken_in_float32():
    x = torch.randn(3, 50, dtype=torch.bfloat16)
    graph = graph_of(lambda x: x.sum(1), x)
    changed = reduce_by_one_axis(graph)
    (reduction,) = (layer for layer in changed.layers if layer.type == "REDUCE")
    assert changed.tensors[reduction.inputs[0]].dtype.name == "FLOAT"
    assert torch.equal(answers(changed, x)[0], x.float().sum(1).bfloat16())


def test_products_of_integer_constants_are_constants():
    n = torch.tensor([3, 4])
    graph = graph_of(lambda n: (-1) ** n, n)
    changed = fold_integer_products(graph)
    check(changed)
    constants = {name for layer in changed.layers if layer.type == "CONSTANT" for name in layer.outputs}
    products = [layer for layer in changed.layers if layer.type == "ELEMENTWISE" and layer.attributes["op"] == "PROD"]
    assert products and not any(constants.issuperset(layer.inputs) for layer in products)
    assert torch.equal(answers(changed, n)[0], torch.tensor([-1, 1]))


def test_elu_is_selu_with_a_factor_of_one():
    x = torch.randn(50)
    graph = graph_of(lambda x: F.elu(x, 0.5), x)
    changed = write_elu_as_selu(graph)
    assert [layer.attributes["type"] for layer in changed.layers] == ["SELU"]
    assert torch.equal(answers(changed, x)[0], answers(graph, x)[0])


@pytest.mark.parametrize(("size", "is_float"), [(8, True), (16, False)])
@pytest.mark.parametrize("masked", [False, True])
def test_small_heads_are_attended_in_float32(size, is_float, masked):
    mask = torch.ones(5, 5, dtype=torch.bool).tril() if masked else None
    inputs = [torch.randn(2, 3, 5, size, dtype=torch.float16) for _ in range(3)]
    graph = graph_of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask), *inputs)
    products = [layer for layer in graph.layers if layer.type == "MATRIX_MULTIPLY"]
    assert len(products) == 2
    assert {graph.tensors[layer.outputs[0]].dtype.name for layer in products} == {"FLOAT" if is_float else "HALF"}
    assert attend_with_small_heads(graph) is graph


def test_other_products_in_half_precision_stay():
    x = torch.randn(4, 8, dtype=torch.float16)
    graph = graph_of(lambda x: (x @ x.mT).softmax(-1), x)
    (product,) = (layer for layer in graph.layers if layer.type == "MATRIX_MULTIPLY")
    assert graph.tensors[product.outputs[0]].dtype.name == "HALF"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("computed", [False, True], ids=["constant", "computed"])
@pytest.mark.parametrize("options", [{"dilation": (2, 3), "stride": (3, 1), "padding": (2, 1)}, {"stride": 2}])
def test_transposed_convolutions_have_kernels(dtype, computed, options):
    x, kernel, bias = (torch.randn(size, dtype=dtype) for size in ((2, 4, 5, 5), (4, 3, 3, 2), (6,)))
    inputs = (x, kernel, bias) if computed else (x,)
    rest = () if computed else (kernel, bias)
    graph = graph_of(lambda *given: F.conv_transpose2d(*given, *rest, groups=2, **options), *inputs)
    changed = transpose_convolutions_with_kernels(graph)
    check(changed)
    if dtype is torch.float32 and "dilation" not in options:
        assert changed is graph
    (layer,) = (layer for layer in changed.layers if layer.type == "DECONVOLUTION")
    assert changed.tensors[layer.outputs[0]].dtype.name == "FLOAT"
    assert max(layer.attributes["stride_nd"]) == 1 or max(layer.attributes["dilation_nd"]) == 1
    torch.testing.assert_close(answers(changed, *inputs), answers(graph, *inputs))


def test_passes_leave_alone_what_they_do_not_mean():
    graph = graph_of(lambda x: F.relu(x @ x.mT).sum(1), torch.randn(4, 40))
    for each in (
        attend_with_small_heads,
        transpose_convolutions_with_kernels,
        write_elu_as_selu,
        fold_integer_products,
        reduce_by_one_axis,
    ):
        assert each(graph) is graph
