"""Layers that are made wrong on purpose, and the lines where they are to be found."""

import dataclasses
import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F

import trtconv
from trtconv import tensorrt as trt
from trtconv.passes.edit import rewritten
from trtconv.reference import DataType


def line_of(owner, marker):
    """The number of the line, in the file of a class, with a marker behind it."""
    lines = pathlib.Path(sys.modules[owner.__module__].__file__).read_text().splitlines()
    (found,) = [number for number, line in enumerate(lines, start=1) if line.endswith(f"  # {marker}")]
    return found


def tanh(edit, layer):
    """In the place of a layer's result the hyperbolic tangent of its input."""
    return edit.net.activation(edit.tensor(layer.inputs[0]), trt.ActivationType.TANH)


def doubled(edit, layer):
    """Twice the layer's result; truth values as they are."""
    (name,) = layer.outputs
    if edit.type(name).dtype is DataType.BOOL:
        return None
    return edit.net.add(edit.before(name), edit.before(name))


def with_fault(converted, kind, wrong, number=0):
    """The converted module with another layer in the place of the `number`-th of a type."""
    seen = []

    def rule(edit, layer):
        seen.append(layer)
        return wrong(edit, layer) if len(seen) == number + 1 else None

    segment = converted.plan.segments[0]
    graph = rewritten(segment.graph, {kind: rule})
    assert len(seen) > number
    return trtconv.TRTModule(dataclasses.replace(converted.plan, segments=(dataclasses.replace(segment, graph=graph),)))


def count_of(graph, kind):
    """The number of a graph's layers of a type."""
    return sum(layer.type == kind for layer in graph.layers)


class Scales(nn.Module):
    """Pictures of three sizes, each resized to the others' sizes and added, as in CoaT; with layers around."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 4, 3, stride, 1) for stride in (1, 2, 4))
        self.norm = nn.GroupNorm(2, 4)
        self.heads = nn.ModuleList(nn.Linear(4, 5) for _ in range(3))

    def to_size_of(self, x, other):
        return F.interpolate(x, size=other.shape[-2:], mode="bilinear")  # resize

    def forward(self, x):
        a, b, c = (self.norm(torch.relu(conv(x))) for conv in self.convs)
        sums = [
            a + self.to_size_of(b, a) + self.to_size_of(c, a),
            b + self.to_size_of(a, b) + self.to_size_of(c, b),
            c + self.to_size_of(a, c) + self.to_size_of(b, c),
        ]
        pooled = [F.gelu(each).mean((-2, -1)) for each in sums]
        logits = [head(each) for head, each in zip(self.heads, pooled, strict=True)]
        return [torch.softmax(each, -1) for each in logits]  # softmax


PICTURES = torch.linspace(-1, 1, 2 * 3 * 16 * 16).sin().reshape(2, 3, 16, 16)
