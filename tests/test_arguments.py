"""The same arguments in any form are one call; others are refused by their parameter's name."""

import re

import numpy
import pytest
import torch
from cases import Function
from torch import nn

import trtconv


class Scores(nn.Module):
    def forward(self, x, mask=None, scale=2.0, mode="sum", *, flip=False, table=(1, [2.0])):
        y = x * scale if mask is None else x * scale + mask
        y = y.sum(0) if mode == "sum" else y.mean(0)
        return (y.flip(0) if flip else y) * table[1][0]


X, MASK = torch.randn(3, 4), torch.randn(3, 4)


def loaded(converted):
    other = trtconv.TRTModule()
    other.load_state_dict(converted.state_dict())
    return other


SAME = [
    ((X,), {}),
    ((X, None), {}),
    ((X,), {"mask": None}),
    ((), {"x": X, "scale": 2.0}),
    ((X, None, 2.0, "sum"), {"flip": False}),
    ((X,), {"mode": "sum", "table": (1, [2.0])}),
]


@pytest.mark.parametrize("example", SAME)
def test_defaults_may_be_given_or_left_out(example):
    converted = trtconv.convert(Scores(), *example)
    expected = Scores()(X)
    for each in (converted, loaded(converted)):
        for args, kwargs in SAME:
            torch.testing.assert_close(each(*args, **kwargs), expected)


def test_a_tensor_with_a_default():
    converted = trtconv.convert(Scores(), (X,), {"mask": MASK, "flip": True})
    for each in (converted, loaded(converted)):
        for args, kwargs in (
            ((X, MASK), {"flip": True}),
            ((X, MASK, 2.0), {"flip": True}),
            ((), {"flip": True, "mask": MASK, "x": X}),
        ):
            torch.testing.assert_close(each(*args, **kwargs), Scores()(X, MASK, flip=True))
        with pytest.raises(
            trtconv.InputError, match=r"'mask' is None; .*converted with float32\[3, 4\]; it takes a tens"
        ):
            each(X, flip=True)
        with pytest.raises(trtconv.InputError, match=r"'flip' is False; .*converted with True\. Pass that, or convert"):
            each(X, MASK)


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((X, MASK), {}, "'mask' is float32[3, 4]; the module was converted with None. Pass that, or convert"),
        ((X,), {"scale": 3.0}, "'scale' is 3.0; the module was converted with 2.0"),
        ((X, None, 2), {}, "'scale' is 2; the module was converted with 2.0"),
        ((X,), {"flip": 0}, "'flip' is 0; the module was converted with False"),
        ((X,), {"mode": "mean"}, "'mode' is 'mean'; the module was converted with 'sum'"),
        ((X,), {"table": (1, [3.0])}, "'table[1][0]' is 3.0; the module was converted with 2.0"),
        ((X,), {"table": (1, 2.0)}, "'table[1]' is 2.0; the module was converted with [2.0]"),
        (
            (numpy.ones((3, 4)),),
            {},
            "'x' is a numpy.ndarray; the module was converted with float32[3, 4]; it takes a tens",
        ),
        (
            (X.double(),),
            {},
            "'x' is float64[3, 4]; the module was converted for float32[3, 4]: pass it as .to(torch.float",
        ),
        ((X[0],), {}, "'x' is float32[4]; the module was converted for float32[3, 4]: another number of dimensions"),
        (
            (X[:2],),
            {},
            "has to be 3. To take such sizes too, convert the module again with dynamic_shapes={'x': {0: (2, 3",
        ),
    ],
)
def test_what_differs_is_named(args, kwargs, words):
    converted = trtconv.convert(Scores(), X)
    for each in (converted, loaded(converted)):
        with pytest.raises(trtconv.InputError, match=re.escape(words)):
            each(*args, **kwargs)


def test_defaults_that_are_no_plain_values_can_only_be_left_out():
    class Adds(nn.Module):
        def forward(self, x, w=torch.ones(3), y=1.0):  # noqa: B008  # the default is what is tested
            return x + w * y

    x = torch.randn(3)
    converted = trtconv.convert(Adds(), x)
    for call in (lambda m: m(x), lambda m: m(x, y=1.0)):
        torch.testing.assert_close(call(converted), x + 1)
    with pytest.raises(trtconv.InputError, match=r"'w' is float32\[3\]; the module was converted without it"):
        converted(x, torch.ones(3))
    given = trtconv.convert(Adds(), (x, torch.zeros(3)))
    torch.testing.assert_close(given(x, w=torch.full((3,), 2.0)), x + 2)
    with pytest.raises(trtconv.InputError, match=r"'w' is missing; the module was converted with float32\[3\]"):
        given(x)


class Starred(nn.Module):
    def forward(self, *args, scale=1.0, **extra):
        return sum(args) * scale + sum(extra.values())


def test_starred_parameters():
    a, b, c = torch.randn(3), torch.randn(3), torch.randn(3)
    converted = trtconv.convert(Starred(), (a, b), {"c": c, "args": a, "d": 2})
    for kwargs in ({"c": c, "args": b, "d": 2}, {"d": 2, "args": b, "scale": 1.0, "c": c}):
        torch.testing.assert_close(converted(a, b, **kwargs), Starred()(a, b, **kwargs))
    for args, kwargs, words in (
        (
            (a,),
            {"c": c, "args": a, "d": 2},
            "'args' is (float32[3],); the module was converted with (float32[3], float32[3])",
        ),
        ((a, b), {"args": a, "d": 2}, "'c' is missing; the module was converted with float32[3]"),
        ((a, b), {"c": c, "args": a, "d": 2, "e": b}, "'e' is float32[3]; the module was converted without it"),
        ((a, b), {"c": c, "args": a, "d": 3}, "'d' is 3; the module was converted with 2"),
        ((a, b), {"c": c[:2], "args": a, "d": 2}, "'c' is float32[2]"),
        ((a, b[:2]), {"c": c, "args": a, "d": 2}, "'args[1]' is float32[2]"),
    ):
        with pytest.raises(trtconv.InputError, match=re.escape(words)):
            converted(*args, **kwargs)


def test_places_inside_containers():
    module = Function(lambda x: x["a"][1] * 2)
    converted = trtconv.convert(module, ({"a": [3, torch.randn(2, 3)]},))
    with pytest.raises(
        trtconv.InputError, match=r"args\[0\]\['a'\]\[1\].*\{'args': \{0: \{'a': \{1: \{1: \(3, 3, 4\)\}\}\}\}\}"
    ):
        converted({"a": [3, torch.randn(2, 4)]})
    widened = trtconv.convert(
        module, ({"a": [3, torch.randn(2, 3)]},), dynamic_shapes={"args": {0: {"a": {1: {1: (3, 3, 4)}}}}}
    )
    x = torch.randn(2, 4)
    assert torch.equal(widened({"a": [3, x]}), x * 2)


def test_the_common_call_is_decided_by_counting(monkeypatch):
    converted = trtconv.convert(Scores(), X)
    expected = converted(X)
    monkeypatch.setattr("trtconv.calling.arguments.Parameters.with_defaults", None)
    assert torch.equal(converted(X), expected)


def test_values_that_are_not_equal_to_themselves_or_equal_in_two_ways():
    module = Function(lambda x, value: x * value)
    nan = trtconv.convert(module, (X, float("nan")))
    assert nan(X, float("nan")).isnan().all()
    with pytest.raises(trtconv.InputError, match="converted with True"):
        trtconv.convert(module, (X, True))(X, 1)
    with pytest.raises(trtconv.InputError, match=r"converted with 0\.0"):
        trtconv.convert(module, (X, 0.0))(X, -0.0)


@pytest.mark.parametrize("call", [lambda m: m(), lambda m: m(X, *[None] * 4), lambda m: m(X, other=1)])
def test_what_the_forward_does_not_take_is_a_type_error(call):
    with pytest.raises(TypeError):
        call(trtconv.convert(Scores(), X))
