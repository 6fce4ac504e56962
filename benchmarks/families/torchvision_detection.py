"""The parts of torchvision's detection models that do the same for every image.

Between them stand what picks boxes by their scores and pools features for the picked ones.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torchvision.models.detection as detection
from torch import nn
from torchvision.models import list_models
from torchvision.ops import FrozenBatchNorm2d

from families import Draw, Example
from trtconv import Dim


class Proposals(nn.Module):
    """An R-CNN from the image to the proposals: features, the region proposal network, boxes of all anchors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> Any:
        images, _ = self.model.transform([image])
        features = self.model.backbone(images.tensors)
        levels, rpn = list(features.values()), self.model.rpn
        objectness, deltas = rpn.head(levels)
        anchors = rpn.anchor_generator(images, levels)
        objectness, deltas = detection.rpn.concat_box_prediction_layers(objectness, deltas)
        return features, objectness, rpn.box_coder.decode(deltas, anchors)


class Boxes(nn.Module):
    """A single-stage detector from the image to the scores and boxes of all anchors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images, _ = self.model.transform([image])
        levels = list(self.model.backbone(images.tensors).values())
        outputs = self.model.head(levels)
        (anchors,) = self.model.anchor_generator(images, levels)
        logits, deltas = outputs["cls_logits"], outputs["bbox_regression"][0]
        if isinstance(self.model, detection.FCOS):
            scores = torch.sqrt(logits.sigmoid() * outputs["bbox_ctrness"].sigmoid())
            return scores, self.model.box_coder.decode(deltas, anchors)
        scores = logits.sigmoid() if isinstance(self.model, detection.RetinaNet) else logits.softmax(-1)
        return scores, self.model.box_coder.decode_single(deltas, anchors)


def freeze_batch_norms(module: nn.Module) -> None:
    """Put in the place of batch norms what these models have there with pretrained weights."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, eps=child.eps)
            frozen.weight.normal_(1, 0.1)
            frozen.bias.normal_(0, 0.05)
            frozen.running_mean.normal_(0, 0.1)
            frozen.running_var.uniform_(0.8, 1.2)
            setattr(module, name, frozen)
        else:
            freeze_batch_norms(child)


def detector(name: str) -> Any:
    """A detection model for small images, but for SSD, whose size is fixed."""
    arguments = {} if name.startswith("ssd") else {"min_size": 128, "max_size": 192}
    model = detection.__dict__[name](weights=None, weights_backbone=None, **arguments).eval()
    if not name.startswith("ssd") and not name.endswith("v2"):
        freeze_batch_norms(model.backbone)
    return model


def dense(name: str) -> tuple[nn.Module, Draw]:
    """A model up to the choice of boxes, and an image with values from 0 to 1."""
    model = detector(name)
    return Proposals(model) if hasattr(model, "rpn") else Boxes(model), lambda: ((torch.rand(3, 90, 117),), {})


def head(name: str, kind: str, size: int) -> tuple[nn.Module, Draw]:
    """A head of an R-CNN, and features pooled for a varying number of boxes."""
    heads = detector(name).roi_heads
    channels = 256  # of every feature pyramid
    module = nn.Sequential(getattr(heads, f"{kind}_head"), getattr(heads, f"{kind}_predictor"))
    first = True

    def draw() -> tuple[tuple[Any, ...], dict[str, Any]]:
        nonlocal first
        boxes = 3 if first else int(torch.randint(1, 9, ()))
        first = False
        return (torch.randn(boxes, channels, size, size),), {}

    return module.eval(), draw


def _rows(name: str) -> list[Example]:
    family = "torchvision detection parts"
    rows = [Example(family, f"{name}, image to boxes", functools.partial(dense, name))]
    for kind, size, models in (("box", 7, ("rcnn",)), ("mask", 14, ("maskrcnn",)), ("keypoint", 14, ("keypointrcnn",))):
        if any(model in name for model in models):
            make = functools.partial(head, name, kind, size)
            rows.append(Example(family, f"{name}, {kind} head", make, {"input": {0: Dim(1, 100)}}))
    return rows


EXAMPLES = [row for name in list_models(module=detection) for row in _rows(name)]
