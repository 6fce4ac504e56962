"""Views of what is written to, read afterwards."""

import pytest
import torch
from cases import Function
from torch import nn

import trtconv
from trtconv.inspect import compare


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


class Bounded(torch.nn.Module):
    """Takes slices whose bounds are tensors, as code does that keeps sizes in buffers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.tensor(2))

    def forward(self, x):
        y = x[..., self.count - 1 : x.shape[-1] - self.count]
        z = x.clone()
        z[:, : self.count] = 0
        return y, z


def test_bounds_of_slices_may_be_constant_tensors():
    module = Bounded()
    converted = trtconv.convert(module, torch.randn(2, 6))
    assert compare(module, converted, torch.randn(2, 6)).correct


def test_bounds_of_slices_that_depend_on_an_input_are_refused():
    with pytest.raises(trtconv.errors.DataDependentError, match="Python reads the value"):
        trtconv.convert(Function(lambda x, n: x[:, : n.sum()]), (torch.randn(2, 6), torch.tensor([1, 2])))
