"""Modules that compute with complex numbers, which become pairs of real ones."""

import pytest
import torch
import torch.nn.functional as F
from cases import B, Bools, Function, Ints, case, cases, check
from torch import nn

import trtconv
from trtconv.inspect import compare

X, Z = (B, 3, 4), (B, 3, 4, 2)
ONE = (torch.float32,)


def complex_case(function, *inputs, id):
    """A case whose inputs with a last dimension of 2 are complex, and its result if that is."""

    def on_real(*values):
        pairs = [torch.view_as_complex(x) if x.shape[-1] == 2 and x.is_floating_point() else x for x in values]
        result = function(*pairs)
        return torch.view_as_real(result.resolve_conj()) if result.is_complex() else result

    return case(on_real, *inputs, id=id, dtypes=ONE)


def assigned(z, w):
    result = torch.zeros(z.shape[0], 3, 4, dtype=z.dtype)
    result[:, 1:] = w[:, :2]
    result[:, 0] = 2.5
    return result + z


@cases(
    case(lambda x, y: torch.view_as_real(torch.polar(x, y)), X, X, id="polar", dtypes=ONE),
    case(lambda x, y: torch.view_as_real(torch.complex(x, y)), X, (4,), id="complex", dtypes=ONE),
    complex_case(lambda z: z.real - 2 * z.imag, Z, id="parts"),
    complex_case(lambda z: torch.stack([z.abs(), z.angle()]), Z, id="abs-angle"),
    complex_case(lambda z, w: z.conj() * w + w.conj(), Z, Z, id="conj"),
    complex_case(lambda z, x: z * x + x - 3, Z, X, id="with-real"),
    complex_case(lambda z: 1j * z + (1 - 2j) - 2 * z, Z, id="with-numbers"),
    complex_case(lambda z, w: 2 - torch.sub(z, w, alpha=3), Z, Z, id="sub"),
    complex_case(lambda z, w: z / w + z / 2 + z / (1 + 1j), Z, Z, id="div"),
    complex_case(lambda z, x: x / z + 1 / z, Z, X, id="div-real"),
    complex_case(lambda z: z.exp() + z.log() + z**2, Z, id="functions"),
    complex_case(lambda z: z * torch.exp(1j * torch.arange(4).to(z.real)), Z, id="constant"),
    complex_case(lambda z: (z == z.roll(1, -1)) | (z != 0), Z, id="eq"),
    complex_case(lambda z, w: z @ w, Z, (B, 4, 5, 2), id="matmul"),
    complex_case(lambda z, w: torch.einsum("bij,jk->bik", z, w), Z, (4, 5, 2), id="einsum"),
    complex_case(F.linear, Z, (5, 4, 2), (5, 2), id="linear"),
    complex_case(torch.addmm, (5, 2), (3, 4, 2), (4, 5, 2), id="addmm"),
)
def test_arithmetic(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    complex_case(lambda z: z.permute(1, 0, 2).reshape(3, -1)[:, ::2].unsqueeze(0).expand(2, -1, -1), Z, id="views"),
    complex_case(lambda z: z.flip(1).roll(1, 1).repeat(1, 2, 1), Z, id="moves"),
    complex_case(lambda z, x: torch.cat([z, x, z.conj()], 1), Z, X, id="cat"),
    complex_case(lambda z: torch.stack(z.split(2, -1), 1).sum(1), Z, id="split"),
    complex_case(lambda z, m: torch.where(m, z, 0), Z, Bools(X), id="where"),
    complex_case(lambda z, i: z[:, i], Z, Ints((2,), 0, 3), id="index"),
    complex_case(assigned, Z, Z, id="write"),
    complex_case(lambda z: F.pad(z, (1, 2), value=1.5), Z, id="pad"),
    complex_case(lambda z: z.real.to(z.dtype) + z.sum(1, keepdim=True), Z, id="casts"),
)
def test_places(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    *(complex_case(torch.fft.rfft, (B, 3, n), id=f"rfft-{n}") for n in (1, 5, 8, 60)),
    *(complex_case(torch.fft.fft, (B, n, 2), id=f"fft-{n}") for n in (5, 12, 97)),
    *(complex_case(lambda z, n=n: torch.fft.irfft(z, n), (B, n // 2 + 1, 2), id=f"irfft-{n}") for n in (7, 8, 60)),
    complex_case(lambda z: torch.fft.ifft(z, norm="ortho", dim=1), Z, id="ifft"),
    complex_case(lambda x: torch.fft.fft(x, n=6, norm="forward"), (B, 3, 5), id="fft-of-real"),
    complex_case(lambda x: torch.fft.fftn(x, dim=(1, 2)).real, (B, 16, 32), id="fftn"),
    complex_case(lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 2, s=(6, 7)), (B, 6, 7), id="rfft2"),
    complex_case(lambda x: torch.fft.fftshift(torch.fft.fft2(x)).abs(), (B, 6, 8), id="fftshift"),
    complex_case(torch.fft.hfft, (B, 5, 2), id="hfft"),
)
def test_fourier_transforms(function, inputs, dtype):
    check(function, inputs, dtype)


def window(x, size):
    return torch.hann_window(size).to(x)


def spectrum(x, size=16):
    return torch.stft(x, size, size // 4, window=window(x, size), return_complex=True)


class SpectralConvolution(nn.Module):
    """The layer of Fourier neural operators: a product with weights at low frequencies."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(2, 3, 4, 3, 2) * 0.1)

    def forward(self, x):
        frequencies = torch.fft.rfft2(x)
        result = torch.zeros(x.shape[0], 3, x.shape[2], x.shape[3] // 2 + 1, dtype=frequencies.dtype, device=x.device)
        weights = torch.view_as_complex(self.weights)
        result[:, :, :4, :3] = torch.einsum("bixy,ioxy->boxy", frequencies[:, :, :4, :3], weights)
        return torch.fft.irfft2(result, s=x.shape[-2:])


def rotated(x):
    """Rotary position embedding as Llama's first code had it."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    angles = torch.outer(torch.arange(x.shape[-2]), torch.tensor([1.0, 0.1])).to(x)
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


@cases(
    case(lambda x: spectrum(x).abs(), (B, 64), id="spectrogram", dtypes=ONE),
    case(lambda x: torch.view_as_real(spectrum(x, 400)), (1, 1600), id="stft-400", dtypes=ONE),
    case(lambda x: torch.istft(spectrum(x) * 2, 16, 4, window=window(x, 16)), (B, 64), id="istft", dtypes=ONE),
    case(SpectralConvolution(), (B, 2, 12, 12), id="spectral-convolution", dtypes=ONE),
    case(rotated, (B, 2, 3, 4), id="rotary-embedding", dtypes=ONE),
)
def test_models(function, inputs, dtype):
    check(function, inputs, dtype)


TIMES = torch.tensor([1 + 2j, 3.0, -1j])


def loaded(converted):
    """A converted module, saved and loaded."""
    module = trtconv.TRTModule()
    module.load_state_dict(converted.state_dict())
    return module


@pytest.mark.parametrize(
    "function",
    [
        lambda z, x: (z.abs(), x),
        lambda z, x: z,
        lambda z, x: (z.conj() * x, z.real + z.imag),
        lambda z, x: [x, torch.complex(x, -x), TIMES.conj()],
        lambda z, x: z.mul_(2) + 1,
    ],
    ids=["in", "through", "in-and-out", "out", "written"],
)
def test_inputs_and_results(function):
    def inputs(batch):
        return torch.randn(batch, 3, dtype=torch.complex64), torch.randn(batch, 3)

    batch = {0: trtconv.Dim(min=1, max=4, name="batch")}
    module = Function(function)
    converted = loaded(trtconv.convert(module, inputs(2), dynamic_shapes={"args": [batch, batch]}))
    for count in (4, 1):
        assert compare(module, converted, inputs(count)).correct
    z, x = inputs(3)
    own = z.clone()
    module(own, x), converted(z, x)
    assert torch.equal(z, own)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.complex32])
@pytest.mark.filterwarnings("ignore::trtconv.errors.PrecisionWarning", "ignore:ComplexHalf support:UserWarning")
def test_dtypes_of_inputs_and_results(dtype):
    module = Function(lambda z: (z, torch.view_as_real(z.conj().resolve_conj())))
    z = torch.view_as_complex(torch.randn(2, 3, 2).half().to(dtype.to_real()))
    converted = loaded(trtconv.convert(module, z))
    for result, expected in zip(converted(z), module(z), strict=True):
        assert result.dtype is expected.dtype
        assert torch.equal(*(torch.view_as_real(each) if each.is_complex() else each for each in (result, expected)))


@pytest.mark.parametrize(
    "function, inputs, words",
    [
        (lambda x: torch.sgn(torch.complex(x, x)).abs(), (torch.randn(4),), "no complex numbers"),
        (lambda x: torch.complex(x, x).pow(0.3).abs(), (torch.randn(4),), "power of 0.3"),
    ],
)
def test_refused(function, inputs, words):
    with pytest.raises(trtconv.ConversionError, match=words):
        trtconv.convert(Function(function), inputs)


def test_transforms_of_dynamic_length_are_refused():
    class Transform(nn.Module):
        def forward(self, input):
            return torch.fft.rfft(input).abs()

    shapes = {"input": {0: trtconv.Dim(min=2, max=8)}}
    with pytest.raises(trtconv.ConversionError, match="along a dynamic dimension"):
        trtconv.convert(Transform(), torch.randn(4), dynamic_shapes=shapes)
