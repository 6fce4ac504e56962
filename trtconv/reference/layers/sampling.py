"""GRID_SAMPLE and NMS: layers of vision networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trtconv.reference.layers.precision import widen
from trtconv.reference.layers.registry import Kernel, LayerContext, implements

_INTERPOLATION = {"NEAREST": "nearest", "LINEAR": "bilinear", "CUBIC": "bicubic"}
_BORDER = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}


@implements("GRID_SAMPLE")
def grid_sample(context: LayerContext) -> Kernel:
    """x [N, C, H, W] (or [N, C, D, H, W]) at the points of a grid [N, ..., 2 or 3] in [-1, 1], x first.

    Points outside read zeros (FILL), the edge (CLAMP) or the mirror image (REFLECT).
    """
    mode, border = _INTERPOLATION[context["interpolation_mode"]], _BORDER.get(context["sample_mode"])
    if border is None:
        raise ValueError(f"sample mode {context['sample_mode']} is none of {sorted(_BORDER)}")
    corners = bool(context["align_corners"])
    return lambda x, grid: F.grid_sample(widen(x), widen(grid), mode, border, corners).to(x.dtype)


@implements("NMS")
def nms(context: LayerContext) -> Kernel:
    """Non-maximum suppression of boxes [B, N, 4] or [B, N, C, 4] with scores [B, N, C].

    Inputs 2 to 4: the most boxes for each batch item and class, the largest allowed overlap (IoU), the
    score to exceed (0 where they are not set). Gives rows (batch, class, box), best score first within a
    batch item, and their number. Of equal scores TensorRT leaves the order open; here the lower class,
    then the lower box comes first.
    """
    corners = context["bounding_box_format"] == "CORNER_PAIRS"
    limit = context["topk_box_limit"]
    rows_type = context.output_type(0).dtype.carrier

    def kernel(
        boxes: Tensor,
        scores: Tensor,
        most: Tensor,
        overlap: Tensor | None = None,
        threshold: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        per_class = boxes if boxes.dim() == 4 else boxes.unsqueeze(2).expand(-1, -1, scores.shape[2], -1)
        edges = _edges(widen(per_class), corners)
        largest = 0.0 if overlap is None else float(overlap)
        least = 0.0 if threshold is None else float(threshold)
        rows = []
        for batch in range(scores.shape[0]):
            found = []
            for category in range(scores.shape[2]):
                values = widen(scores[batch, :, category])
                kept = _suppress(edges[batch, :, category], values, int(most), limit, largest, least)
                found += [(-float(values[box]), category, box) for box in kept]
            rows += [(batch, category, box) for _, category, box in sorted(found)]
        table = torch.tensor(rows, dtype=rows_type, device=boxes.device).reshape(-1, 3)
        return table, torch.tensor(len(rows), dtype=torch.int32, device=boxes.device)

    return kernel


def _edges(boxes: Tensor, corners: bool) -> Tensor:
    """Boxes as low corner, high corner; corner pairs may come in either order."""
    a, b = boxes[..., :2], boxes[..., 2:]
    if corners:
        return torch.cat((torch.minimum(a, b), torch.maximum(a, b)), -1)
    return torch.cat((a - b / 2, a + b / 2), -1)


def _suppress(boxes: Tensor, scores: Tensor, most: int, limit: int, overlap: float, threshold: float) -> list[int]:
    """Indices of the boxes that stay, best first."""
    order = torch.sort(scores, descending=True, stable=True).indices
    order = order[scores[order] > threshold][:limit]
    kept: list[int] = []
    while len(kept) < most and order.numel():
        best = int(order[0])
        kept.append(best)
        order = order[1:]
        order = order[_overlaps(boxes[best], boxes[order]) <= overlap]
    return kept


def _overlaps(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of a box with each of others; 0 where both are empty."""
    size = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])).clamp(min=0)
    shared = size.prod(-1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(-1) - shared
    return torch.where(union > 0, shared / union, torch.zeros_like(union))
