"""Models of many kinds, small and with random weights, and their ONNX files."""

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import Ints, draw
from torch import nn

vision = pytest.importorskip("torchvision").models


class Picked(nn.Module):
    """A model whose result is a dict or a class, as one that returns some of its tensors."""

    def __init__(self, model, *keys, **options):
        super().__init__()
        self.model, self.keys, self.options = model, keys, options

    def forward(self, *args):
        result = self.model(*args, **self.options)
        return tuple(result[key] for key in self.keys)


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.recurrent = kind(8, 16, batch_first=True, **options)
        self.head = nn.Linear(16 * (1 + self.recurrent.bidirectional), 4)

    def forward(self, x):
        states, last = self.recurrent(x)
        return self.head(states), *(last if isinstance(last, tuple) else (last,))


class UNet(nn.Module):
    """Two levels, one up by a deconvolution, one by interpolation."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU())
        self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.GELU())
        self.bottom = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.InstanceNorm2d(16), nn.ELU())
        self.up = nn.ConvTranspose2d(16, 16, 2, stride=2)
        self.middle = nn.Sequential(nn.Conv2d(32, 8, 3, padding=1, padding_mode="reflect"), nn.LeakyReLU())
        self.leave = nn.Conv2d(16, 2, 1)

    def forward(self, x):
        first = self.enter(x)
        second = self.down(first)
        third = self.middle(torch.cat((self.up(self.bottom(second)), second), 1))
        third = nn.functional.interpolate(third, scale_factor=2, mode="bilinear", align_corners=False)
        return self.leave(torch.cat((third, first), 1)).softmax(1)


def transformer(model, config, *keys, **sizes):
    """A transformer of the package transformers, by the names of its classes."""
    transformers = pytest.importorskip("transformers")
    made = getattr(transformers, model)(getattr(transformers, config)(**sizes))
    return Picked(made, *keys, use_cache=False) if model.endswith("LMHeadModel") else Picked(made, *keys)


def whisper_encoder(**sizes):
    transformers = pytest.importorskip("transformers")
    encoder = transformers.WhisperModel(transformers.WhisperConfig(**sizes)).encoder
    return Picked(encoder, "last_hidden_state")


SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
WORDS = Ints((2, 8), 0, 64)
MASK = Ints((2, 8), 0, 2)


@dataclasses.dataclass(frozen=True)
class Model:
    """A model to export: how it is made, its inputs, torch's exporter, and which dimensions the file leaves open."""

    name: str
    make: Callable[[], nn.Module]
    inputs: tuple[Any, ...]
    dynamo: bool = True
    dynamic: Any = None


MODELS = [
    Model("resnet18", lambda: vision.resnet18(num_classes=10), ((2, 3, 64, 64),), dynamic=({0: "batch"},)),
    Model("mobilenet_v3", lambda: vision.mobilenet_v3_small(num_classes=10), ((2, 3, 64, 64),), dynamo=False),
    Model("squeezenet", lambda: vision.squeezenet1_1(num_classes=10), ((2, 3, 64, 64),)),
    Model("densenet", lambda: vision.DenseNet(8, (2, 2, 2), 16, num_classes=10), ((2, 3, 64, 64),)),
    Model("efficientnet", lambda: vision.efficientnet_b0(num_classes=10), ((2, 3, 64, 64),), dynamo=False),
    Model("shufflenet", lambda: vision.shufflenet_v2_x0_5(num_classes=10), ((2, 3, 64, 64),), dynamo=False),
    Model(
        "convnext",
        lambda: vision.ConvNeXt(
            [vision.convnext.CNBlockConfig(16, 32, 1), vision.convnext.CNBlockConfig(32, None, 2)], num_classes=10
        ),
        ((2, 3, 64, 64),),
    ),
    Model("vit", lambda: vision.VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=10), ((2, 3, 32, 32),)),
    Model(
        "swin",
        lambda: vision.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=10),
        ((2, 3, 64, 64),),
        dynamo=False,
    ),
    Model(
        "lraspp",
        lambda: Picked(
            vision.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5), "out"
        ),
        ((2, 3, 64, 64),),
        dynamo=False,
    ),
    Model("unet", UNet, ((2, 3, 32, 32),), dynamic=({0: "batch", 2: "height", 3: "width"},)),
    Model("lstm", lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True), ((2, 6, 8),)),
    Model("gru", lambda: Recurrent(nn.GRU), ((2, 6, 8),), dynamo=False),
    Model(
        "bert",
        lambda: transformer("BertModel", "BertConfig", "last_hidden_state", "pooler_output", vocab_size=64, **SMALL),
        (WORDS, MASK),
        dynamic=(({0: "batch"}, {0: "batch"}),),
    ),
    Model(
        "gpt2",
        lambda: transformer(
            "GPT2LMHeadModel", "GPT2Config", "logits", vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=32
        ),
        (WORDS,),
    ),
    Model(
        "t5",
        lambda: transformer(
            "T5EncoderModel",
            "T5Config",
            "last_hidden_state",
            **{"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
        ),
        (WORDS,),
        dynamo=False,
    ),
    Model(
        "whisper",
        lambda: whisper_encoder(
            num_mel_bins=16,
            d_model=32,
            max_source_positions=30,
            **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
            **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
            **{f"{part}_ffn_dim": 64 for part in ("encoder", "decoder")},
        ),
        ((2, 16, 60),),
    ),
    Model(
        "clip",
        lambda: transformer(
            "CLIPVisionModel",
            "CLIPVisionConfig",
            "last_hidden_state",
            "pooler_output",
            image_size=32,
            patch_size=8,
            **SMALL,
        ),
        ((2, 3, 32, 32),),
    ),
]


def inputs_of(model):
    return tuple(draw(spec, torch.float32) for spec in model.inputs)


def made(model):
    """The module with weights that show: no constant biases, scales or statistics."""
    module = model.make()
    with torch.no_grad():
        for parameter in module.parameters():
            if bool((parameter == parameter.flatten()[0]).all()):
                parameter.copy_(parameter.clamp_min(0.1 * (parameter != 0)) + 0.1 * torch.randn_like(parameter))
        batch_norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
        for part in batch_norms:
            part.momentum = 1.0
        if batch_norms:
            module.train()(torch.randn(8, *model.inputs[0][1:]))
        for part in batch_norms:  # or channels that hardly vary would have their rounding errors amplified
            part.running_var.clamp_(min=part.running_var.mean())
    return module.eval()


def exported(model, module):
    args = inputs_of(model)
    buffer = io.BytesIO()
    if model.dynamo:
        program = torch.onnx.export(module, args, dynamo=True, dynamic_shapes=model.dynamic, verbose=False)
        program.save(buffer)
    else:
        torch.onnx.export(module, args, buffer, dynamo=False)
    return buffer.getvalue()
