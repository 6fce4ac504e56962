import warnings

import pytest
import torch
from cases import Function
from torch import nn

import trtconv
from trtconv import tensorrt as trt
from trtconv.inspect import compare
from trtconv.passes import full_precision
from trtconv.reference import Interpreter


class Rewritten(nn.Module):
    """Runs the definition as the passes left it, which is what the engine was built from."""

    def __init__(self, converted):
        super().__init__()
        self.interpreter = Interpreter(converted.network)

    def forward(self, *args):
        feeds = {f"input_{index}": value for index, value in enumerate(args)}
        return self.interpreter.run(feeds)["output_0"]


def layer_types(converted):
    network = converted.network
    return [network.get_layer(index).type for index in range(network.num_layers)]


@pytest.mark.parametrize(
    ("module", "shapes"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), [(2, 3, 7, 7)]),
        (nn.Conv2d(8, 6, 3, stride=2, dilation=2, bias=False), [(1, 8, 9, 9)]),
        (nn.Conv2d(24, 12, 1, groups=2), [(1, 24, 5, 4)]),
        (nn.Conv1d(8, 5, 3), [(2, 8, 9)]),
        (nn.ConvTranspose2d(8, 6, 3, stride=2, groups=1), [(1, 8, 4, 4)]),
        (nn.ConvTranspose2d(16, 6, 3, stride=2, groups=2, output_padding=1), [(1, 16, 4, 4)]),
        (nn.Linear(5, 7), [(4, 5)]),
        (Function(torch.matmul), [(2, 3, 5), (2, 5, 4)]),
        (Function(lambda a, b: a @ b.mT), [(2, 3, 5), (2, 4, 5)]),
        (nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)), [(1, 6, 6, 6)]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_products_are_split_and_equal(module, shapes):
    module = module.eval()
    converted = trtconv.convert(module, [torch.randn(shape) for shape in shapes], tf32=False)
    assert trt.LayerType.REDUCE in layer_types(converted)
    inputs = tuple(torch.randn(shape) for shape in shapes)
    for candidate in (converted, Rewritten(converted)):
        result = compare(module, candidate, inputs)
        # Fewer terms a sum, in another order: PyTorch's error is no bound for so small a product.
        assert all(not o.problem and o.error <= o.allowed + 4 * o.unit for o in result.outputs), str(result)


@pytest.mark.parametrize(
    ("module", "shape", "pieces"),
    [
        (nn.Conv2d(8, 7, 3, stride=2, padding=1, dilation=2), (2, 8, 9, 8), 2),
        (nn.Conv2d(16, 10, 3, groups=2, bias=False), (1, 16, 5, 4), 3),
        (nn.ConvTranspose2d(8, 5, 3, stride=2, padding=1), (1, 8, 4, 5), 2),
        (nn.ConvTranspose2d(16, 6, 3, groups=2, bias=False), (1, 16, 4, 4), 2),
    ],
)
def test_many_maps_are_computed_in_pieces(monkeypatch, module, shape, pieces):
    monkeypatch.setattr(full_precision, "MOST_MAPS", 8)
    converted = trtconv.convert(module.eval(), [torch.randn(shape)], tf32=False)
    types = layer_types(converted)
    kind = trt.LayerType.CONVOLUTION if isinstance(module, nn.Conv2d) else trt.LayerType.DECONVOLUTION
    assert types.count(kind) == pieces
    result = compare(module, Rewritten(converted), torch.randn(shape))
    assert all(not o.problem and o.error <= o.allowed + 4 * o.unit for o in result.outputs), str(result)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dynamic", [None, {"input": {0: (1, 2, 4)}}], ids=["static", "dynamic-batch"])
@pytest.mark.parametrize("size", [(16, 27), (8, 9)], ids=["patches", "one-patch"])
def test_large_patches_become_a_product(bias, dynamic, size):
    module = nn.Conv2d(3, 7, (8, 9), stride=(8, 9), bias=bias).eval()
    x = torch.randn(2, 3, *size)
    converted = trtconv.convert(module, [torch.randn(2, 3, *size)], dynamic_shapes=dynamic, tf32=False)
    assert trt.LayerType.MATRIX_MULTIPLY in layer_types(converted)
    result = compare(module, Rewritten(converted), x)
    assert all(not o.problem and o.error <= o.allowed + 4 * o.unit for o in result.outputs), str(result)


@pytest.mark.parametrize(
    ("module", "shape", "dynamic"),
    [
        (nn.Conv3d(8, 5, 3), (1, 8, 4, 5, 6), {}),
        (nn.Conv2d(8, 5, 3), (1, 8, 5, 6), {2: (4, 5, 9)}),
        (nn.ConvTranspose2d(8, 5, 3), (1, 8, 5, 6), {0: (1, 2, 4)}),
    ],
)
def test_what_engines_get_wrong_is_left_alone_with_a_warning(monkeypatch, module, shape, dynamic):
    def convert():
        return trtconv.convert(module.eval(), [torch.randn(shape)], dynamic_shapes={"input": dynamic}, tf32=False)

    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    with pytest.warns(trtconv.PrecisionWarning, match="NVIDIA_TF32_OVERRIDE=0"):
        assert trt.LayerType.REDUCE not in layer_types(convert())
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert()


def test_a_dynamic_batch_is_split():
    module = nn.Conv2d(8, 5, 3).eval()
    converted = trtconv.convert(module, [torch.randn(2, 8, 5, 5)], dynamic_shapes={"input": {0: (1, 2, 4)}}, tf32=False)
    assert trt.LayerType.REDUCE in layer_types(converted)


def test_what_computes_in_fp32_already_is_left_alone():
    module = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=2), nn.Flatten(), nn.Linear(8, 3))
    converted = trtconv.convert(module.eval(), [torch.randn(1, 8, 5, 5)], tf32=False)
    assert trt.LayerType.REDUCE not in layer_types(converted)


def test_tf32_leaves_the_network_alone():
    converted = trtconv.convert(nn.Conv2d(8, 8, 3), [torch.randn(1, 8, 5, 5)], tf32=True)
    assert layer_types(converted) == [trt.LayerType.CONVOLUTION]
    assert converted.plan.provenance["tf32"] is True
