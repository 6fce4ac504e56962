"""Converters of a user's functions that take weights as arguments."""

import pytest
import torch
from torch import nn

import trtconv
from trtconv import tensorrt as trt


class Weighs(nn.Module):
    """Calls a function on an input and a weight, taken in one of several ways."""

    def __init__(self, function, way):
        super().__init__()
        self.function, self.way = function, way
        self.weight = nn.Parameter(torch.randn(4))
        self.register_buffer("buffer", torch.randn(4))
        self.plain = torch.randn(4)

    def forward(self, x):
        with torch.device("cpu"):
            return self.function(x, self.way(self))


@pytest.mark.parametrize(
    "way",
    [
        lambda module: module.weight,
        lambda module: module.buffer,
        lambda module: module.plain,
        lambda module: module.weight.exp() + 1,
        lambda module: torch.arange(4.0),
    ],
    ids=["parameter", "buffer", "attribute", "computed", "made"],
)
def test_weights_are_arguments_of_a_users_function(clean, way):
    factor = nn.Parameter(torch.tensor(3.0))  # which the function finds by itself

    def h(x, weight):
        return x * factor + weight

    @trtconv.tensorrt_converter(h)
    def convert_h(ctx):
        x, weight = ctx.method_args
        product = ctx.network.add_elementwise(
            x._trt,
            ctx.network.add_constant((1, 1), torch.tensor([3.0]).numpy()).get_output(0),
            trt.ElementWiseOperation.PROD,
        ).get_output(0)
        row = ctx.network.add_shuffle(weight._trt)
        row.reshape_dims = (1, 4)
        sum_ = ctx.network.add_elementwise(product, row.get_output(0), trt.ElementWiseOperation.SUM)
        ctx.method_return._trt = sum_.get_output(0)

    module, x = Weighs(h, way), torch.randn(2, 4)
    torch.testing.assert_close(trtconv.convert(module, [x])(x), module(x).detach())
