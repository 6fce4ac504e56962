"""Sizes as Python numbers: computed in the network, or refused with the line and the form that works."""

import math

import numpy
import pytest
import torch
import torch.nn.functional as F
from cases import Function

import trtconv

POINTS = ((3, 2), (6, 5), (20, 9), (7, 3), (13, 8))
"""Least sizes, those to optimize for, the largest, and two odd ones."""


def convert(function):
    shapes = {"args": {0: {1: (1, 6, 20), 2: (1, 5, 9)}}}
    return trtconv.convert(Function(function), torch.randn(3, 6, 5), dynamic_shapes=shapes)


NUMBERS = {
    # of the height h and the width w; each is one number, or one of a few
    "sym_max": lambda h, w: torch.sym_max(h, w) + torch.sym_min(h, 5),
    "powers": lambda h, w: (h**0.5, h**-0.5, h**2),
    "sym_sqrt": lambda h, w: torch.sym_sqrt(h),
    "math.ceil": lambda h, w: (math.ceil(h / 16), math.ceil(h * 0.3), math.floor(h / 3), math.trunc(h / 3)),
    "round": lambda h, w: (round(h * 0.75), round(h / 2), round(h / 3, 1), round(h * w / 4)),
    "sym_int": lambda h, w: (torch.sym_int(h * 0.7), torch.sym_int(h**0.5), torch.sym_float(h) / 3),
    "remainders": lambda h, w: (h % 3, -h % 8, (8 - h % 8) % 8, h // 3, -(-h // 3), h / w),
    "signs": lambda h, w: (abs(h - 8), -h, h - w),
    "bits": lambda h, w: (h >> 1, h << 1, h & 3, h ^ 5, h | 2),
    "choices": lambda h, w: torch.sym_ite(h > 8, 3, 2),
    "products": lambda h, w: (math.prod((3, h, w)), sum((h, w)), h * 0.5 * w),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name):
    def function(x):
        numbers = NUMBERS[name](x.shape[1], x.shape[2])
        return [x.sum() * number for number in (numbers if isinstance(numbers, tuple) else (numbers,))]

    converted = convert(function)
    for height, width in POINTS:
        x = torch.ones(3, height, width)
        for given, expected in zip(converted(x), function(x), strict=True):
            torch.testing.assert_close(given, expected, msg=lambda text, at=(height, width): f"{at}: {text}")


@pytest.mark.parametrize("name", ["math.ceil", "round", "sym_int"])
def test_numbers_as_sizes(name):
    def function(x):
        return [x.new_ones(torch.sym_int(size)) for size in NUMBERS[name](x.shape[1], x.shape[2])]

    converted = convert(function)
    for height, width in POINTS:
        x = torch.ones(3, height, width)
        assert [each.shape for each in converted(x)] == [each.shape for each in function(x)]


TENSORS = {
    "new_tensor": lambda x, h, w: x * x.new_tensor(h) + x.new_tensor([1.5, h])[1],
    "tensor": lambda x, h, w: (
        x * torch.tensor(h) + torch.tensor([h, w]).sum() + torch.tensor([[h, 1.5], [2, w]]).prod()
    ),
    "shape": lambda x, h, w: x.sum() * torch.tensor(x.shape[-2:], dtype=torch.float32),
    "as_tensor": lambda x, h, w: x * torch.as_tensor(h / w),
    "comparison": lambda x, h, w: torch.where(torch.tensor(h) > 8, x * 2, x * 3),
    "arange": lambda x, h, w: (
        x[0, 0, 0] * torch.arange(h - 1, -h, -1.0),
        x[0, 0, 0] * torch.arange(h - 1, -h, -1),
        x[0, 0, 0] * torch.arange(0.5, h, 0.5),
        x[0, 0, 0] * torch.arange(0, h, 2) / h,
    ),
    "linspace": lambda x, h, w: (
        x[0, 0, 0] * torch.linspace(0, 1, h),
        x[0, 0, 0] * torch.linspace(0.5, h - 0.5, 2 * h - 1),
        x[0, 0, 0] * torch.linspace(0, h - 1, 7),
        x[0, 0, 0] * torch.logspace(0, 1, h),
    ),
    "fill": lambda x, h, w: (torch.full((h,), 1 / h) * x.sum(), torch.zeros_like(x).fill_(h), x + h, x.clamp(0, h - 1)),
    "one_hot": lambda x, h, w: F.one_hot(torch.arange(h), h) * x.sum() + torch.eye(h),
    "padding": lambda x, h, w: F.pad(x, (0, 0, 0, -h % 8)),
    "repetition": lambda x, h, w: (
        x[0, :1].repeat(h, 1),
        x[0, :1].expand(w, -1, -1),
        x[0].tile(torch.sym_max(h // 2, 1)),
    ),
    "one way over the range": lambda x, h, w: x * 2 if h < 100 and h * w >= 1 and h // 2 <= h else x * 3,
    "text": lambda x, h, w: x * len(f"{x.shape[:1]}"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_sizes(name):
    def function(x):
        return TENSORS[name](x, x.shape[1], x.shape[2])

    converted = convert(function)
    for height, width in ((1, 1), *POINTS):
        x = torch.randn(3, height, width)
        results = (result if isinstance(result, tuple) else (result,) for result in (converted(x), function(x)))
        for given, expected in zip(*results, strict=True):
            torch.testing.assert_close(given, expected, msg=lambda text, at=(height, width): f"{at}: {text}")


REFUSED = {
    "max(h, w)": r"that is max\(h, w\): torch\.sym_max\(h, w\)",
    "min(h, 5)": r"that is min\(h, 5\): torch\.sym_min\(h, 5\)",
    "math.sqrt(h)": r"math\.sqrt\(h\): torch\.sym_sqrt\(h\)",
    "math.pow(h, 0.5)": r"math\.pow\(h, 0\.5\): \(h\) \*\* \(0\.5\)",
    "math.log2(h)": r"math\.log2\(h\): torch\.log2\(torch\.tensor\(h\)\)",
    "int(h / 2)": r"int\(h / 2\): h // 2",
    "int(h * 0.7)": r"int\(h \* 0\.7\): torch\.sym_int\(h \* 0\.7\)",
    "float(h)": r"float\(h\): torch\.sym_float\(h\)",
    "len(x[0])": r"len\(x\[0\]\): x\[0\]\.shape\[0\]",
    "sum(i for i in range(h))": r"Python makes a number of a dynamic size",
    "len([0] * h)": r"Python makes a number of a dynamic size",
    "divmod(h, 3)[1]": r"divmod.*args\[0\]\.1.* is a torch\.SymInt",
    "{h: 3}[h]": r"unhashable.* is a torch\.SymInt",
    "numpy.sqrt(h)": r"sqrt.* is a torch\.SymInt",
    "3 if h > 8 else 4": r"Python decides by a dynamic size: .* holds for .* = 1\.\.8 and not for .* = 9",
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_python_makes_a_number_names_the_form_that_works(code, tmp_path):
    file = tmp_path / "model.py"
    file.write_text(f"def function(x):\n    h, w = x.shape[1:]\n    return x * (\n        {code}\n    )\n")
    scope = {"math": math, "numpy": numpy}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    with pytest.raises(trtconv.CaptureError, match=r"model\.py:4: .*" + REFUSED[code]):
        convert(scope["function"])
