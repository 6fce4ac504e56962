"""On CUDA, fp32 products and convolutions are computed in fp32, whatever the process allows; its settings stay."""

import contextlib

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from trtconv.reference.layers.convolution import convolve
from trtconv.reference.layers.precision import matmul


def settings():
    yield torch.get_float32_matmul_precision()
    backends = torch.backends.cuda.matmul, torch.backends.cudnn, getattr(torch.backends.cudnn, "conv", None)
    for backend in backends:
        with contextlib.suppress(AttributeError):  # from torch 2.9 on
            yield backend.fp32_precision


class Log(TorchDispatchMode):
    """Notes operators, and sees that the settings stay as they are."""

    def __init__(self):
        super().__init__()
        self.calls, self.before = {}, list(settings())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert list(settings()) == self.before
        self.calls[func] = args
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=["highest", "high"])
def allowed(request):
    torch.set_float32_matmul_precision(request.param)
    yield request.param == "high"
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    "dtype, double",
    [(torch.float32, True), (torch.int32, False), (torch.float64, True)],
)
def test_products(allowed, dtype, double):
    with FakeTensorMode(), torch.no_grad(), Log() as log:
        x = torch.empty(4, 4, device="cuda", dtype=dtype)
        assert matmul(x, x).dtype is dtype
    factors = log.calls[torch.ops.aten.mm.default]
    computed = torch.float64 if allowed and double else dtype
    assert [factor.dtype for factor in factors] == [computed] * 2


@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions(allowed, transposed):
    with FakeTensorMode(), torch.no_grad(), Log() as log:
        x, kernel = torch.empty(1, 4, 8, 8, device="cuda"), torch.empty(4, 4, 3, 3, device="cuda")
        convolve(x, kernel, None, (1, 1), (0, 0), (1, 1), 1, transposed=transposed)
    *_, allow_tf32 = log.calls[torch.ops.aten._convolution.default]
    assert allow_tf32 is False
