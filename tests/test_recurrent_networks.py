"""Activations in networks with a loop, which TensorRT-RTX 1.7.1 compiles by other rules."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import trtconv
from trtconv.inspect import compare

ACTIVATIONS = {
    "elu": F.elu,
    "elu-alpha": lambda x: F.elu(x, 0.7),
    "celu": lambda x: F.celu(x, 0.7),
    "selu": F.selu,
    "leaky_relu": F.leaky_relu,
    "softplus": F.softplus,
    "gelu": F.gelu,
    "hardtanh": F.hardtanh,
}


class AfterLSTM(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.function = function
        self.layers = nn.ModuleList(nn.Conv1d(5, 5, 1) for _ in range(2))

    def forward(self, x):
        x = self.lstm(x)[0]
        for layer in self.layers:
            x = x + layer(self.function(x))
        return x


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_after_a_loop(name):
    module = AfterLSTM(ACTIVATIONS[name]).eval()
    converted = trtconv.convert(module, torch.randn(2, 5, 8))
    assert compare(module, converted, torch.randn(2, 5, 8)).correct


def test_the_users_elu_layers_are_built_too(clean):
    @trtconv.tensorrt_converter("torch.sinh")
    def convert(ctx):
        layer = ctx.network.add_activation(ctx.method_args[0]._trt, trtconv.tensorrt.ActivationType.ELU)
        layer.alpha = 0.7
        ctx.method_return._trt = layer.get_output(0)

    x = torch.randn(2, 5, 8)
    module = AfterLSTM(torch.sinh).eval()
    expected = AfterLSTM(ACTIVATIONS["elu-alpha"])
    expected.load_state_dict(module.state_dict())
    torch.testing.assert_close(trtconv.convert(module, x)(x), expected(x))
