import pytest
import torch
from models import NAMES, make

import trtconv
from trtconv.inspect import compare


@pytest.mark.parametrize("name", NAMES)
def test_model(name):
    """Each model builds an engine, and its network computes what PyTorch does, on inputs other than the examples."""
    model = make(name)
    converted = trtconv.convert(model, [torch.randn(1, 3, 224, 224)])
    assert len(converted.engine) > 0
    result = compare(model, converted, torch.randn(1, 3, 224, 224))
    assert result.correct, str(result)
