"""What `convert` takes in the place of a module, and what it refuses."""

import functools
from collections import Counter

import pytest
import torch
from cases import Function
from torch import nn
from torch.nn.utils import parametrizations

import trtconv


def linear():
    return nn.Linear(4, 4).eval()


class Caller(nn.Module):
    """A module whose __call__ does something too."""

    def __call__(self, x):
        return super().__call__(x) * 3

    def forward(self, x):
        return x + 1


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = linear()

    def forward(self, x):
        return x

    def score(self, x, scale=2.0):
        return self.inner(x) * scale


def compiled_in_place():
    module = nn.Sequential(linear(), nn.ReLU())
    module[0].compile()
    module.compile()
    return module


def compiled_function(x):
    return torch.compile(torch.sin)(x) + 1


def tied():
    first, second = linear(), linear()
    second.weight = first.weight
    return nn.Sequential(first, second)


SOURCES = {
    "lambda": lambda: lambda x: x * 2,
    "method": lambda: Head().score,
    "forward": lambda: linear().forward,
    "partial": lambda: functools.partial(torch.mul, 2.0),
    "partial-module": lambda: functools.partial(Head().score, scale=3.0),
    "builtin": lambda: torch.relu,
    "exported-module": lambda: torch.export.export(linear(), (torch.randn(2, 4),)).module(),
    "fx": lambda: torch.fx.symbolic_trace(linear()),
    "compiled-inside": lambda: nn.Sequential(torch.compile(linear()), nn.ReLU()),
    "compiled-function": lambda: compiled_function,
    "call-overridden": Caller,
    "data-parallel": lambda: nn.DataParallel(linear()),
    "tied": tied,
    "weight-norm": lambda: parametrizations.weight_norm(linear()),
    "spectral-norm": lambda: parametrizations.spectral_norm(linear()).eval(),
    "orthogonal": lambda: parametrizations.orthogonal(linear()),
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
@torch.no_grad()
def test_a_source_is_converted(make):
    source, x = make(), torch.randn(2, 4)
    result = trtconv.convert(source, x)(x)
    expected = source(x)
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    torch.testing.assert_close(result, expected)


def test_compiled_modules_are_converted_as_written():
    x = torch.randn(2, 4)
    module = linear()
    assert torch.equal(trtconv.convert(torch.compile(module), x)(x), trtconv.convert(module, x)(x))
    module = compiled_in_place()
    compiled = [child._compiled_call_impl for child in module.modules()]
    result = trtconv.convert(module, x)(x)
    assert [child._compiled_call_impl for child in module.modules()] == compiled
    torch.testing.assert_close(result, module[1](module[0]._call_impl(x)))


def test_an_exported_program_is_converted():
    module, x = linear(), torch.randn(2, 4)
    torch.testing.assert_close(trtconv.convert(torch.export.export(module, (x,)), x)(x), module(x))


def test_a_functions_parameters_have_their_names():
    x = torch.randn(2, 4)
    shapes = {"x": {0: trtconv.Dim(1, 8)}}
    converted = trtconv.convert(Head().score, (x,), {"scale": 4.0}, dynamic_shapes=shapes)
    assert converted(x=torch.randn(5, 4), scale=4.0).shape == (5, 4)


def test_modules_that_a_function_holds_are_looked_at():
    dropout = nn.Dropout().train()
    with pytest.raises(trtconv.CaptureError, match=r"training mode.*\n  dropout: Dropout"):
        trtconv.convert(lambda x: dropout(x) + 1, torch.randn(2))


REFUSED = {
    "number": (lambda: 3, "not a int"),
    "class": (lambda: nn.Linear, "not the class Linear; make an instance"),
    "state": (lambda: linear().state_dict(), "not a OrderedDict"),
    "path": (lambda: "model.pt", "not a str"),
    "traced": (lambda: torch.jit.trace(linear(), torch.randn(2, 4)), "the module is scripted or traced"),
    "scripted": (lambda: torch.jit.script(linear()), "the module is scripted or traced"),
    "scripted-inside": (lambda: nn.Sequential(torch.jit.script(linear())), "submodule '0' is scripted"),
}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("make, message", REFUSED.values(), ids=REFUSED)
def test_what_is_no_source_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        trtconv.convert(make(), torch.randn(2, 4))


TRANSFORMED = {
    "vmap": lambda x: torch.func.vmap(torch.sin)(x) + 1,
    "grad": torch.func.grad(lambda x: (x**3).sum()),
    "jvp": lambda x: torch.func.jvp(torch.sin, (x,), (x,))[1],
    "vjp": lambda x: torch.func.vjp(torch.sin, x)[0],
    "autograd": lambda x: torch.autograd.grad((x.requires_grad_() ** 2).sum(), x)[0],
}


@pytest.mark.parametrize("function", TRANSFORMED.values(), ids=TRANSFORMED)
def test_transformations_are_refused_in_a_sentence(function):
    with pytest.raises(
        trtconv.CaptureError,
        match=r"\.py:\d+: .* takes derivatives or runs a transformation of torch\.func",
    ):
        trtconv.convert(Function(function), torch.randn(3))


class Composed(torch.nn.Module):
    """Functions that PyTorch itself composes of others, and that converters take whole."""

    def __init__(self):
        super().__init__()
        self.lstm, self.gru = torch.nn.LSTM(4, 6, batch_first=True), torch.nn.GRU(6, 6, bidirectional=True)
        self.linear, self.norm = torch.nn.Linear(12, 8), torch.nn.RMSNorm(8)

    def forward(self, x):
        y = self.norm(self.linear(self.gru(self.lstm(x)[0])[0]))
        y = torch.nn.functional.pad(y, (1, 1), mode="replicate")[..., :8]
        return torch.einsum("bnd,bmd->bnm", torch.nn.functional.scaled_dot_product_attention(y, y, y), y)


def test_exported_programs_convert_as_the_functions_that_they_are_of():
    module, x = Composed().eval(), torch.randn(2, 3, 4)
    from_functions = trtconv.convert(module, x)
    exported = trtconv.convert(torch.export.export(module, (x,)), x)
    kinds = [Counter(layer.type for layer in each.network.layers) for each in (from_functions, exported)]
    assert kinds[0] == kinds[1] and kinds[1]["TRIP_LIMIT"] == 3
    torch.testing.assert_close(exported(x), module(x), rtol=1e-4, atol=1e-5)
