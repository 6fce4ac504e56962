"""A converted module among modules that train, or run under autocast."""

import warnings

import pytest
import torch
from torch import nn

import trtconv


def test_a_gradient_that_ends_is_told_once():
    converted = trtconv.convert(nn.Linear(3, 2), torch.randn(4, 3))
    x = torch.randn(4, 3, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted(x.detach())
        with torch.no_grad():
            converted(x)
    with pytest.warns(UserWarning, match=r"'input' requires a gradient, which ends here") as warned:
        converted(x)
        assert not converted(x).requires_grad
    assert len(warned) == 1 and warned[0].filename == __file__


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_inputs_are_cast_to_what_the_module_takes(dtype):
    first, last = nn.Linear(3, 3), nn.Linear(3, 2)
    converted = trtconv.convert(last, torch.randn(4, 3))
    x = torch.randn(4, 3)
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        inner = first(x)
        result = converted(inner)
    assert inner.dtype is dtype and result.dtype is torch.float32
    torch.testing.assert_close(result, last(inner.float()).detach())
    with pytest.raises(trtconv.InputError, match="'input' is"):
        converted(inner)
    with torch.autocast("cpu", dtype=dtype):
        for wrong in (x.double(), x.int(), inner[:2]):
            with pytest.raises(trtconv.InputError, match="'input' is"):
                converted(wrong)
