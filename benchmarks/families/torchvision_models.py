"""torchvision's models, with random weights."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torchvision.models as models

from families import Draw, Example, images, torchvision_detection

_LARGE = ("convnext_[sbl]*", "efficientnet_b[67]", "efficientnet_v2_[ml]", "regnet_?_16gf", "regnet_?_32gf")
_LARGE += ("regnet_y_128gf", "resnext101*", "swin_[sb]", "swin_v2_[sb]", "wide_resnet101_2", "vit_[lh]*")
"""Models that take long in float64: they get smaller images."""


def classifier(name: str) -> tuple[torch.nn.Module, Draw]:
    """A classification model, and an image of the size that it is made for, or a smaller one."""
    size = 299 if name == "inception_v3" else 224
    arguments: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    if any(fnmatch.fnmatch(name, pattern) for pattern in _LARGE):
        size = {"regnet_y_128gf": 64, "vit_h_14": 112}.get(name, 128)
        if name.startswith("vit"):
            arguments["image_size"] = size
    return models.get_model(name, weights=None, **arguments).eval(), images(1, 3, size, size)


def segmentation(name: str) -> tuple[torch.nn.Module, Draw]:
    """A segmentation model with all its outputs, and an image whose sides aren't multiples of its strides."""
    arguments = {} if name.startswith("lraspp") else {"aux_loss": True}
    model = models.get_model(name, weights=None, weights_backbone=None, **arguments)
    return model.eval(), images(1, 3, 120, 150)


def video(name: str) -> tuple[torch.nn.Module, Draw]:
    """A video classification model, and a clip [batch, channels, frames, height, width]."""
    clip = (16, 224, 224) if name.startswith(("s3d", "mvit")) else (8, 64, 80)
    return models.get_model(name, weights=None).eval(), images(1, 3, *clip)


def optical_flow(name: str) -> tuple[torch.nn.Module, Draw]:
    """RAFT with fewer updates than its 12, and two images of the least size that it takes."""

    def draw() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(torch.rand(1, 3, 128, 136) * 2 - 1 for _ in range(2)), {"num_flow_updates": 3}

    model = models.get_model(name, weights=None).eval()
    model.corr_block.__class__ = _Correlation
    model.update_block.register_forward_pre_hook(lambda _, args: tuple(x.to(args[0].dtype) for x in args))
    return model, draw


class _Correlation(models.optical_flow.raft.CorrBlock):
    """RAFT makes its coordinates float32 whatever the images are; so that it runs in float64, they are cast."""

    def index_pyramid(self, centroids_coords: torch.Tensor) -> torch.Tensor:
        return super().index_pyramid(centroids_coords.to(self.corr_pyramid[0].dtype))


def _all_of(family: str, make: Callable[[str], tuple[torch.nn.Module, Draw]], module: Any) -> Iterator[Example]:
    for name in models.list_models(module=module):
        gib = 16.0 if name in ("regnet_y_128gf", "vit_h_14") else 9.0 if name.startswith("vit_l") else 5.0
        yield Example(family, name, functools.partial(make, name), gib=gib)


EXAMPLES = [
    *_all_of("torchvision classification", classifier, models),
    *_all_of("torchvision segmentation", segmentation, models.segmentation),
    *_all_of("torchvision video", video, models.video),
    *_all_of("torchvision optical flow", optical_flow, models.optical_flow),
    *torchvision_detection.EXAMPLES,
]
