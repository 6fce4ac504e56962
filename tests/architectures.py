"""Models of the kinds that are converted most, written out: U-Net, YOLO, a pose network, language models.

They are small, and their weights are random.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, activation: type = nn.SiLU) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs), activation())


# -- segmentation -------------------------------------------------------------------------------


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015): a class score for each pixel.

    Args:
        classes: The number of classes.
        widths: Channels of each level, from the full resolution down.
        bilinear: Go up by bilinear interpolation; otherwise by transposed convolutions.
    """

    def __init__(self, classes: int, widths: Sequence[int] = (16, 32, 64, 128), bilinear: bool = False) -> None:
        super().__init__()
        self.bilinear = bilinear
        pairs = list(itertools.pairwise(widths))
        self.stem = self._convolutions(3, widths[0])
        self.down = nn.ModuleList(self._convolutions(fine, coarse) for fine, coarse in pairs)
        self.lift = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1) if bilinear else nn.ConvTranspose2d(coarse, fine, 2, 2) for fine, coarse in pairs
        )
        self.up = nn.ModuleList(self._convolutions(2 * fine, fine) for fine, _ in pairs)
        self.classify = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        skipped = []
        for down in self.down:
            skipped.append(x)
            x = down(F.max_pool2d(x, 2))
        for lift, up, skip in zip(reversed(self.lift), reversed(self.up), reversed(skipped), strict=True):
            x = up(torch.cat([skip, self._enlarged(lift(x), skip)], 1))
        return self.classify(x)

    def _enlarged(self, x: Tensor, skip: Tensor) -> Tensor:
        height, width = skip.shape[2:]
        if self.bilinear:
            return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
        return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))  # pooling drops the last of an odd number

    @staticmethod
    def _convolutions(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            ConvBlock(inputs, outputs, activation=nn.ReLU), ConvBlock(outputs, outputs, activation=nn.ReLU)
        )


# -- detection ----------------------------------------------------------------------------------


class CrossStage(nn.Module):
    """Half of the channels pass by, the others go through residual blocks."""

    def __init__(self, inputs: int, outputs: int, blocks: int = 1) -> None:
        super().__init__()
        half = outputs // 2
        self.split = ConvBlock(inputs, outputs, 1)
        self.blocks = nn.ModuleList(nn.Sequential(ConvBlock(half, half), ConvBlock(half, half)) for _ in range(blocks))
        self.merge = ConvBlock((2 + blocks) * half, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.split(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(parts[-1] + block(parts[-1]))
        return self.merge(torch.cat(parts, 1))


class PyramidPooling(nn.Module):
    """Maxima of growing neighbourhoods, one after the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = ConvBlock(channels, channels // 2, 1)
        self.merge = ConvBlock(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.reduce(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return self.merge(torch.cat(parts, 1))


class YOLO(nn.Module):
    """A detector of the YOLO kind: features of strides 8, 16 and 32, a pyramid of them, a head for each.

    Args:
        classes: The number of classes.
        width: Channels after the stem.
        anchors: For each scale the (width, height) of its anchor boxes, in pixels (as YOLOv5 has them); without
            anchors a place predicts one box by distributions of the distances to its sides (as YOLOv8 does).

    Returns: For each image [places, 4 + classes]: centre, width and height in pixels, and class probabilities; with
        anchors the probability that there is an object stands before those of the classes.
    """

    strides = (8, 16, 32)

    def __init__(
        self, classes: int, width: int = 16, anchors: Sequence[Sequence[tuple[float, float]]] | None = None
    ) -> None:
        super().__init__()
        c1, c2, c3, c4 = (width * factor for factor in (2, 4, 8, 16))
        self.stem = nn.Sequential(ConvBlock(3, width, 3, 2), ConvBlock(width, c1, 3, 2), CrossStage(c1, c1))
        self.stage8 = nn.Sequential(ConvBlock(c1, c2, 3, 2), CrossStage(c2, c2, 2))
        self.stage16 = nn.Sequential(ConvBlock(c2, c3, 3, 2), CrossStage(c3, c3, 2))
        self.stage32 = nn.Sequential(ConvBlock(c3, c4, 3, 2), CrossStage(c4, c4), PyramidPooling(c4))
        self.up16, self.up8 = CrossStage(c4 + c3, c3), CrossStage(c3 + c2, c2)
        self.shrink16, self.shrink32 = ConvBlock(c2, c2, 3, 2), ConvBlock(c3, c3, 3, 2)
        self.down16, self.down32 = CrossStage(c2 + c3, c3), CrossStage(c3 + c4, c4)
        head = AnchorFreeHead if anchors is None else AnchorHead
        self.heads = nn.ModuleList(
            head(channels, classes, stride, *([anchors[scale]] if anchors else []))
            for scale, (channels, stride) in enumerate(zip((c2, c3, c4), self.strides, strict=True))
        )

    def forward(self, image: Tensor) -> Tensor:
        x8 = self.stage8(self.stem(image))
        x16 = self.stage16(x8)
        x32 = self.stage32(x16)
        y16 = self.up16(torch.cat([F.interpolate(x32, scale_factor=2), x16], 1))
        y8 = self.up8(torch.cat([F.interpolate(y16, scale_factor=2), x8], 1))
        z16 = self.down16(torch.cat([self.shrink16(y8), y16], 1))
        z32 = self.down32(torch.cat([self.shrink32(z16), x32], 1))
        return torch.cat([head(x) for head, x in zip(self.heads, (y8, z16, z32), strict=True)], 1)


def places(x: Tensor) -> Tensor:
    """The (x, y) of each place of a feature map: [height, width, 2]."""
    rows = torch.arange(x.shape[2], dtype=x.dtype, device=x.device)
    columns = torch.arange(x.shape[3], dtype=x.dtype, device=x.device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], -1)


class AnchorFreeHead(nn.Module):
    """One box a place: each distance from the place to a side is the mean of a distribution over `bins` steps."""

    def __init__(self, channels: int, classes: int, stride: int, bins: int = 16) -> None:
        super().__init__()
        self.stride, self.bins = stride, bins
        self.sides = nn.Sequential(ConvBlock(channels, channels), nn.Conv2d(channels, 4 * bins, 1))
        self.classify = nn.Sequential(ConvBlock(channels, channels), nn.Conv2d(channels, classes, 1))
        self.register_buffer("steps", torch.arange(bins, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        sides = self.sides(x).unflatten(1, (4, self.bins)).softmax(2)
        left, top, right, bottom = torch.einsum("bsnhw,n->sbhw", sides, self.steps)
        centre = places(x) + 0.5
        x1, y1, x2, y2 = centre[..., 0] - left, centre[..., 1] - top, centre[..., 0] + right, centre[..., 1] + bottom
        boxes = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1) * self.stride
        return torch.cat([boxes, self.classify(x).sigmoid()], 1).flatten(2).transpose(1, 2)


class AnchorHead(nn.Module):
    """One box a place and anchor: an offset from the place, and a scale of the anchor."""

    def __init__(self, channels: int, classes: int, stride: int, anchors: Sequence[tuple[float, float]]) -> None:
        super().__init__()
        self.stride, self.values = stride, 5 + classes
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32).view(1, -1, 1, 1, 2))
        self.predict = nn.Conv2d(channels, len(anchors) * self.values, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        y = self.predict(x).view(batch, -1, self.values, height, width).permute(0, 1, 3, 4, 2).sigmoid()
        centre = (y[..., :2] * 2 - 0.5 + places(x)) * self.stride
        size = (y[..., 2:4] * 2) ** 2 * self.anchors
        return torch.cat([centre, size, y[..., 4:]], -1).view(batch, -1, self.values)


# -- poses --------------------------------------------------------------------------------------


class PoseNet(nn.Module):
    """Heat maps of joints and part affinity fields (Cao et al. 2017) on a ResNet, as trt_pose has them.

    Args:
        joints: The number of kinds of joints.
        limbs: The number of pairs of joints that a limb joins.
        ups: How often the resolution is doubled.
    """

    def __init__(self, joints: int = 18, limbs: int = 21, channels: int = 64, ups: int = 3) -> None:
        super().__init__()
        import torchvision

        backbone = torchvision.models.resnet18(weights=None)
        self.backbone = nn.Sequential(*list(backbone.children())[:-2])
        self.heat = PoseHead(512, joints, channels, ups)
        self.fields = PoseHead(512, 2 * limbs, channels, ups)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.backbone(image)
        return self.heat(x), self.fields(x)


class PoseHead(nn.Module):
    """Transposed convolutions up to the maps' resolution, attention, the maps."""

    def __init__(self, inputs: int, maps: int, channels: int, ups: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(ups):
            layers += [
                nn.ConvTranspose2d(channels if index else inputs, channels, 4, 2, 1),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
        self.up = nn.Sequential(*layers)
        self.attention = nn.Conv2d(channels, channels, 3, padding=1)
        self.maps = nn.Conv2d(channels, maps, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        return self.maps(x * torch.sigmoid(self.attention(x)))


# -- language -----------------------------------------------------------------------------------


class RecurrentLanguageModel(nn.Module):
    """Scores of the next token by an LSTM or a GRU.

    Args:
        kind: `nn.LSTM` or `nn.GRU`.
        tokens: The size of the vocabulary.

    `forward` takes tokens [batch, length] and the state that an earlier call returned, and returns scores
    [batch, length, tokens] and the state after the last token.
    """

    def __init__(
        self, kind: type[nn.LSTM] | type[nn.GRU], tokens: int = 1000, width: int = 64, layers: int = 2
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.recurrent = kind(width, width, layers, batch_first=True, dropout=0.1)
        self.project = nn.Linear(width, tokens)
        self.project.weight = self.embed.weight

    def forward(
        self, tokens: Tensor, state: Tensor | tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        x, state = self.recurrent(self.embed(tokens), state)
        return self.project(x), state
