"""One call in all its forms: defaults given or left out, by position or by name."""

import io

import pytest
import torch
from torch import nn

import trtconv


class Attends(nn.Module):
    def forward(self, x, mask=None, scale=2.0, *, bias=None, name="plain"):
        y = x * scale
        if mask is not None:
            y = y.masked_fill(mask, 0)
        return y if bias is None else y + bias


X, MASK, BIAS = torch.randn(2, 3), torch.tensor([[True, False, True]]), torch.randn(3)
WITHOUT_MASK = [
    ((X,), {}),
    ((X, None), {}),
    ((X,), {"mask": None}),
    ((X, None, 2.0), {}),
    ((), {"x": X, "scale": 2.0, "bias": None}),
    ((X,), {"name": "plain"}),
]
WITH_MASK = [((X, MASK), {}), ((X,), {"mask": MASK}), ((), {"mask": MASK, "x": X}), ((X, MASK, 2.0), {"bias": None})]
CASES = [
    pytest.param(forms, example, id=f"{name}-{number}")
    for name, forms in (("without", WITHOUT_MASK), ("with", WITH_MASK))
    for number, example in enumerate(forms)
]


@pytest.mark.parametrize(("forms", "example"), CASES)
def test_every_form_of_a_call_is_one(forms, example):
    converted = trtconv.convert(Attends().eval(), *example)
    file = io.BytesIO()
    torch.save(converted.state_dict(), file)
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(torch.load(io.BytesIO(file.getvalue())))
    for args, kwargs in forms:
        for module in (converted, loaded):
            torch.testing.assert_close(module(*args, **kwargs), Attends()(*args, **kwargs))


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((X, MASK), {}, r"'mask' is .*bool\[1, 3\]; the module was converted with None"),
        ((X, None, 3.0), {}, r"'scale' is 3\.0; the module was converted with 2\.0"),
        ((X, None, 2), {}, r"'scale' is 2; the module was converted with 2\.0"),
        ((X,), {"bias": BIAS}, r"'bias' is .*float32\[3\]; the module was converted with None"),
        ((X,), {"name": "other"}, r"'name' is 'other'; the module was converted with 'plain'"),
        ((X.double(),), {}, r"'x' is float64\[2, 3\]; the module was converted for float32\[2, 3\]"),
        ((X[:1],), {}, r"'x' is float32\[1, 3\].*dynamic_shapes={'x': {0: \(1, 2, 2\)}}"),
        ((X[0],), {}, r"'x' is float32\[3\].*another number of dimensions"),
    ],
)
def test_what_differs_is_named_by_the_parameter(args, kwargs, words):
    converted = trtconv.convert(Attends().eval(), [X])
    with pytest.raises(trtconv.InputError, match=words):
        converted(*args, **kwargs)


def test_a_tensor_that_is_missing_is_named():
    converted = trtconv.convert(Attends().eval(), [X, MASK])
    with pytest.raises(trtconv.InputError, match=r"'mask' is None; the module was converted with bool\[1, 3\]"):
        converted(X)


@pytest.mark.parametrize("call", [lambda m: m(), lambda m: m(X, None, 2.0, None), lambda m: m(X, other=1)])
def test_what_the_forward_does_not_take_is_a_type_error(call):
    with pytest.raises(TypeError):
        call(trtconv.convert(Attends().eval(), [X]))
