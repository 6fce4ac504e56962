"""The models' engines against PyTorch in float64."""

import pytest
import torch
from models import NAMES, make

import trtconv
from trtconv.inspect import compare

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def no_tf32(monkeypatch):
    """PyTorch's own error is measured without TensorFloat-32 too."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("name", NAMES)
def test_engine(name, record_property):
    model = make(name).cuda()
    converted = trtconv.convert(model, [torch.randn(1, 3, 224, 224, device="cuda")], tf32=False)
    assert converted.backend("cuda") == "tensorrt"
    x = torch.randn(1, 3, 224, 224, device="cuda")
    result = compare(model, converted, x)
    (output,) = result.outputs
    record_property(
        "models",
        {
            "model": name,
            "dtype": "float32",
            "error": output.error,
            "torch_error": output.torch_error,
            "allowed": output.whole.allowed,
            "largest": float(model(x).detach().abs().max()),
            "verdict": "correct" if result.correct else "WRONG",
        },
    )
    assert result.correct, str(result)
