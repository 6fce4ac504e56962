"""Tensors and arrays of every kind, as example inputs, as weights and inside of a forward pass."""

import dataclasses

import numpy as np
import pytest
import torch
from cases import Function
from torch import nn

import trtconv
from trtconv.inspect import compare

ARRAY = np.arange(4, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: torch.Tensor


class Marked(torch.Tensor):
    """A subclass that only marks its tensors."""


def test_inference_mode():
    module, x = nn.Linear(4, 4), torch.randn(2, 4)
    with torch.inference_mode():
        y = torch.randn(2, 4)
        under = trtconv.convert(module, y)
        torch.testing.assert_close(under(y), module(y))
        weights = nn.Linear(4, 4)
    torch.testing.assert_close(under(x), module(x))
    torch.testing.assert_close(trtconv.convert(weights, y)(x), weights(x))


FORWARDS = {
    "from_numpy": lambda x: x * torch.from_numpy(ARRAY),
    "as_tensor": lambda x: x * torch.as_tensor(ARRAY),
    "numpy-scalar": lambda x: np.float64(2) * x * np.float32(3),
    "tensor-of-tensors": lambda x: torch.tensor([x.mean(), 1.0]),
    "nested-tensor-of-tensors": lambda x: torch.tensor([[x[0, 0], 2], [3, x.sum()]]),
    "tensor-of-half": lambda x: torch.tensor([x.half().amax(), 1]),
    "tensor-with-dtype": lambda x: torch.tensor([x.amax(), 1.0], dtype=torch.float16),
    "tensor-split": lambda x: torch.tensor_split(x, torch.tensor([1, 3]), 1)[1],
    "tensor-split-method": lambda x: x.tensor_split(torch.tensor(2), dim=1)[0],
}


@pytest.mark.parametrize("function", FORWARDS.values(), ids=FORWARDS)
def test_forwards_with_arrays_and_numbers(function):
    converted, x = trtconv.convert(Function(function), torch.randn(2, 4)), torch.randn(2, 4)
    result, expected = converted(x), function(x)
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    torch.testing.assert_close(result, expected)


def test_arrays_as_examples():
    x = torch.randn(2, 4)
    converted = trtconv.convert(Function(lambda xs, n: xs[0] + xs[1] * n), ([x.numpy(), x.numpy()], np.int64(3)))
    torch.testing.assert_close(converted([x, x], 3), x * 4)


def test_a_frozen_dataclass_as_example():
    x = torch.randn(2, 4)
    assert torch.equal(trtconv.convert(Function(lambda d: d.a * 2), (Frozen(x),))(Frozen(x)), x * 2)


def test_subclasses_are_plain_tensors():
    x, weight = torch.rand(3, 4, 4), torch.rand(3, 4, 4).as_subclass(Marked)
    module = Function(lambda x: x * weight)
    for example in (x, x.as_subclass(Marked), nn.Parameter(x)):
        result = trtconv.convert(module, example)(example)
        assert type(result) is torch.Tensor
        assert torch.equal(result, x * weight.as_subclass(torch.Tensor))


def test_torchvisions_images():
    tv_tensors = pytest.importorskip("torchvision.tv_tensors")
    image = tv_tensors.Image(torch.rand(3, 4, 4))
    converted = trtconv.convert(Function(lambda x: (x - 0.5) * 2), image)
    assert torch.equal(converted(image), (image.as_subclass(torch.Tensor) - 0.5) * 2)


KINDS = {
    "sparse": (lambda: torch.eye(4).to_sparse(), r"a sparse tensor \(torch\.sparse_coo\)"),
    "csr": (lambda: torch.eye(4).to_sparse_csr(), r"a sparse tensor \(torch\.sparse_csr\)"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "a nested tensor"),
    "meta": (lambda: torch.empty(4, 4, device="meta"), "on the meta device"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8), "a quantized tensor"),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:The PyTorch API of nested")
@pytest.mark.parametrize("make, message", KINDS.values(), ids=KINDS)
def test_tensors_that_an_engine_cannot_hold(make, message):
    tensor, x = make(), torch.randn(4, 4)
    with pytest.raises(trtconv.ConversionError, match=f"an example input is {message}"):
        trtconv.convert(Function(lambda x: x * 2), (tensor,))
    with pytest.raises(trtconv.ConversionError, match=f"uses a tensor that is {message}"):
        trtconv.convert(Function(lambda x: x * tensor), x)
    module = Function(lambda x: x * 2)
    module.register_buffer("table", tensor)
    with pytest.raises(trtconv.ConversionError, match=f"table is {message}"):
        trtconv.convert(module, x)


def test_lazy_modules():
    with pytest.raises(trtconv.ConversionError, match=r"weight is an uninitialized parameter .* call the module once"):
        trtconv.convert(nn.LazyLinear(4), torch.randn(2, 4))


def test_polygamma_in_place():
    module = Function(lambda x: x.abs().add(1).polygamma_(1))
    result = compare(module, trtconv.convert(module, torch.randn(2)), torch.randn(2))
    assert result.correct, str(result)
