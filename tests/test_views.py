"""Views of what is written to, read afterwards."""

import torch
from torch import nn

import trtconv


class ReadsViewsOfWhatIsWritten(nn.Module):
    def forward(self, x):
        x = x * 2
        rows = x.flatten(1)
        x.relu_()  # `rows` now holds other values
        turned = rows.t()
        x.add_(1)
        first, second = turned.chunk(2)
        x.mul_(3)
        return rows, turned, first.unsqueeze(0), second.expand(2, *second.shape), rows.view(-1)


def test_views_are_read_after_writes_by_functions_that_return_views():
    module, x = ReadsViewsOfWhatIsWritten(), torch.randn(2, 3, 4)
    converted = trtconv.convert(module, [torch.randn(2, 3, 4)])
    for value, expected in zip(converted(x), module(x), strict=True):
        assert torch.equal(value, expected)
