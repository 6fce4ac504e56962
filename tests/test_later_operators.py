"""Operators that a release of PyTorch may lack have converters by name."""

import pytest
import torch
from cases import Function

import trtconv
from trtconv.emit import registry
from trtconv.emit.registry import BUILT_IN, converter


@pytest.fixture
def key():
    yield "torch.ops.aten.sgn_of_tomorrow.default"
    BUILT_IN.remove("torch.ops.aten.sgn_of_tomorrow.default")


def test_an_operator_that_is_not_there_breaks_nothing(key):
    @converter("aten.sgn_of_tomorrow.default")
    def later(net, x):
        return x

    assert not hasattr(torch.ops.aten, "sgn_of_tomorrow")
    assert key in [each.key for each in registry.built_in()]
    x = torch.randn(3)
    assert torch.equal(trtconv.convert(Function(torch.relu), x)(x), x.relu())


@torch.library.custom_op("trtconv_tests::shifted", mutates_args=())
def shifted(x: torch.Tensor, by: float = 2.0) -> torch.Tensor:
    return x + by


@shifted.register_fake
def _(x, by=2.0):
    return torch.empty_like(x)


def test_an_operator_named_is_the_operator():
    @converter("trtconv_tests.shifted.default")
    def convert(net, x, by):
        return net.add(x, by)

    try:
        x = torch.randn(3)
        module = Function(torch.ops.trtconv_tests.shifted)
        assert torch.equal(trtconv.convert(module, x)(x), x + 2)
    finally:
        BUILT_IN.remove("torch.ops.trtconv_tests.shifted.default")
