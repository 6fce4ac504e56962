"""Engines whose inputs have sizes that follow from one another, in one profile and in several."""

import pytest
import torch
from torch import nn

import trtconv
from trtconv import Dim
from trtconv.inspect import compare

pytestmark = pytest.mark.gpu

past, new = Dim("past", 0, 64), Dim("new", 1, 4, 16)
FORMS = {
    "one profile": {"past": {1: Dim("past", 1, 8, 64)}, "new": {1: new}, "mask": {1: Dim("past") + new}},
    "found": {"past": {1: (1, 8, 64)}, "new": {1: (1, 4, 16)}, "mask": {1: (2, 12, 80)}},
    "prefill and steps": [
        {"past": {1: 0}, "new": {1: new}, "mask": {1: new}},
        {"past": {1: past}, "new": {1: 1}, "mask": {1: past + 1}},
    ],
}


class Step(nn.Module):
    """Attention of new tokens over past and new ones."""

    def __init__(self):
        super().__init__()
        self.heads = nn.Linear(32, 32)

    def forward(self, past, new, mask):
        keys = torch.cat([past, self.heads(new)], 1)
        weights = (new @ keys.transpose(1, 2) / 32**0.5).masked_fill(mask[:, None] == 0, float("-inf"))
        return weights.softmax(2) @ keys, keys


def inputs(past, new):
    mask = torch.rand(2, past + new, device="cuda") < 0.7
    mask[:, -1] = True
    return torch.randn(2, past, 32, device="cuda"), torch.randn(2, new, 32, device="cuda"), mask


@pytest.mark.parametrize("form", FORMS)
def test_engines(form):
    module = Step().cuda().eval().requires_grad_(False)
    is_split = form == "prefill and steps"
    example = inputs(0, 4) if is_split else inputs(8, 4)
    converted = trtconv.convert(module, example, dynamic_shapes=FORMS[form], tf32=False)
    assert converted.backend("cuda") == "tensorrt"
    for sizes in (
        ((0, 1), (0, 16), (1, 1), (64, 1), (7, 1)) if is_split else ((1, 1), (8, 4), (64, 16), (3, 5), (41, 7))
    ):
        for _ in range(3):  # the first call, one that is captured, and one of the CUDA graph
            result = compare(module, converted, inputs(*sizes))
            assert result.correct, (sizes, str(result))
    x, y, mask = inputs(5, 1)
    with pytest.raises(trtconv.InputError, match="has to be"):
        converted(x, y, mask[:, 1:])
