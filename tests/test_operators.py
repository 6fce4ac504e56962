"""docs/operators.md says what is so: operators have converters or a reason, and what it names converts."""

import pathlib
import runpy

import pytest
import torch
import torchvision  # noqa: F401  # it registers operators
from cases import Ints, Uniform, check
from releases import runs

from trtconv.capture.names import resolve
from trtconv.capture.reasons import REASONS, reason
from trtconv.emit import registry
from trtconv.passes.complex_formulas import formula

DOCS = pathlib.Path(__file__).parent.parent / "docs"
OPERATORS = runpy.run_path(str(DOCS / "operators.py"))
CORE, CAPTURED, ABSENT = OPERATORS["core"](), OPERATORS["CAPTURED"], OPERATORS["ABSENT"]
NAMES = [name for names in OPERATORS["TORCH2TRT"] for name in names.split()]
aten = torch.ops.aten

named = OPERATORS["name_of"]


def test_the_document_is_up_to_date():
    text = (DOCS / "operators.md").read_text()
    if f"opset of torch {OPERATORS['version']()}:" not in text:
        pytest.skip("it was written with another release of torch, which has other operators")
    assert text == OPERATORS["document"](), "run python docs/operators.py"


@pytest.mark.parametrize("operator", CORE, ids=named)
def test_each_core_operator_has_a_converter_or_a_reason(operator):
    ways = [registry.find(operator) is not None, named(operator) in CAPTURED, bool(reason(operator))]
    assert sum(ways) == 1, ways


def test_what_has_a_reason_has_no_converter():
    for name in REASONS:
        spaces = [space for space in (aten, torch.ops.torchvision) if hasattr(space, name)]
        assert spaces, f"there is no operator {name}"
        packet = getattr(spaces[0], name)
        overloads = [getattr(packet, each) for each in packet.overloads()]
        found = [each for each in overloads if registry.find(each) or formula(each)]
        assert not found, f"{name} has a converter, so the reason has to go: {found}"


SEQUENCE, X, IMAGE, VOLUME = (2, 4, 6), (2, 3, 4), (2, 4, 6, 6), (1, 4, 4, 4, 4)
UNIT = Uniform(X, 0.1, 0.9)
MEAN, VARIANCE = torch.zeros(4), torch.ones(4)

OPERANDS = {
    name: operands
    for names, *operands in (
        ("adaptive_avg_pool1d adaptive_max_pool1d avg_pool1d max_pool1d", SEQUENCE, 2),
        ("adaptive_avg_pool2d adaptive_max_pool2d avg_pool2d max_pool2d", IMAGE, 2),
        ("adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d max_pool3d", VOLUME, 2),
        ("add iadd radd sub isub rsub mul imul rmul div idiv rdiv truediv itruediv rtruediv", X, (3, 1)),
        ("floordiv ifloordiv floor_divide fmod mod imod gt lt eq ne", Ints(X), Ints((3, 1), 1, 4)),
        ("batch_norm", IMAGE, MEAN, VARIANCE),
        ("cat stack", [X, X], 1),
        ("chunk split", X, 2, 1),
        ("clamp_min clamp_max", X, 0.5),
        ("clamp", X, -0.5, 0.5),
        ("conv1d", SEQUENCE, (5, 4, 3), (5,)),
        ("conv2d", IMAGE, (5, 4, 3, 3), (5,)),
        ("conv3d", VOLUME, (5, 4, 3, 3, 3), (5,)),
        ("conv_transpose1d", SEQUENCE, (4, 5, 3), (5,)),
        ("conv_transpose2d", IMAGE, (4, 5, 3, 3), (5,)),
        ("conv_transpose3d", VOLUME, (4, 5, 3, 3, 3), (5,)),
        ("dropout dropout2d", IMAGE, 0.5, False),
        ("dropout3d", VOLUME, 0.5, False),
        ("einsum", "bij,bkj->bik", X, X),
        ("expand", (2, 1, 4), [2, 3, 4]),
        ("getitem", X, [slice(0, 1), 2]),
        ("group_norm", IMAGE, 2),
        ("instance_norm", IMAGE),
        ("interpolate upsample", IMAGE, [9, 12]),
        ("layer_norm", X, [4]),
        ("linear", X, (5, 4), (5,)),
        ("log sqrt reciprocal acos asin", UNIT),
        ("matmul", X, (2, 4, 5)),
        ("narrow", X, 1, 1, 2),
        ("pad", IMAGE, [1, 2, 1, 0]),
        ("permute", X, [2, 0, 1]),
        ("pow ipow rpow", UNIT, UNIT),
        ("prelu", X, (3,)),
        ("roll transpose", X, 1, 2),
        ("softmax log_softmax", X, -1),
        ("squeeze", (2, 1, 4), 1),
        ("unsqueeze", X, 1),
        ("view reshape", X, [6, 4]),
    )
    for name in names.split()
}
"""What functions are called with, by their bare names; the others with one tensor. Shapes stand for tensors."""

CALLS = {
    "torch.instance_norm": lambda x: torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, False),
    "torch.tensor": lambda x: torch.tensor([[1.0], [2.0], [3.0]], dtype=x.dtype) + x[:, :3],
    "torch.Tensor.__getitem__": lambda x: x[..., 1:, None, 2],
}


def is_input(operand):
    return isinstance(operand, (tuple, Ints, Uniform))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ABSENT])
def test_what_torch2trt_converts_converts(name):
    operands = OPERANDS.get(name.rpartition(".")[2].strip("_"), (X,))
    inputs = [spec for each in operands for spec in (each if isinstance(each, list) else [each]) if is_input(spec)]

    def call(*tensors):
        given = iter([tensors[0].clone(), *tensors[1:]])  # some write to it

        def value(operand):
            if isinstance(operand, list):
                return [value(each) for each in operand]
            if isinstance(operand, torch.Tensor):
                return operand.to(tensors[0].dtype)
            return next(given) if is_input(operand) else operand

        result = resolve(name)(*map(value, operands))
        return tuple(result) if isinstance(result, tuple) else result

    check(CALLS.get(name, call), tuple(inputs), torch.float32)


def test_what_torch2trt_converts_otherwise_is_absent():
    for name in ABSENT:
        with pytest.raises(ValueError, match="has no attribute"):
            resolve(name)


def written(x):
    result = torch.empty(0)
    return torch.atan2(x, x + 1, out=result.to(x))


def batch_norm(x):
    mean, variance = x.new_zeros(4), x.new_ones(4)
    return aten._native_batch_norm_legit(x, None, None, mean, variance, False, 0.1, 1e-5)[0]


CALLS_OF_CAPTURED = {
    "_fft_c2r.default": lambda x: torch.fft.irfft(torch.complex(x, x.flip(-1)), n=10),
    "_fft_r2c.default": lambda x: torch.fft.rfft(x).abs(),
    "adaptive_avg_pool1d.default": lambda x: aten.adaptive_avg_pool1d(x[0], [2]),
    "upsample_bilinear2d.vec": lambda x: aten.upsample_bilinear2d.vec(x, None, False, [2.0, 2.0]),
    "upsample_nearest2d.vec": lambda x: aten.upsample_nearest2d.vec(x, [9, 9], None),
    "var.dim": lambda x: aten.var.dim(x, [1], True, False),
    "atan2.out": written,
    "_native_batch_norm_legit.default": batch_norm,
    "sym_is_contiguous.default": lambda x: x + bool(aten.sym_is_contiguous(x, torch.contiguous_format)),
    "sym_numel.default": lambda x: x + aten.sym_numel(x),
    "sym_size.int": lambda x: x + aten.sym_size.int(x, 1),
    "sym_storage_offset.default": lambda x: x + aten.sym_storage_offset(x),
    "sym_stride.int": lambda x: x + aten.sym_stride.int(x, 1),
}


@pytest.mark.parametrize("name", CAPTURED)
def test_what_needs_no_converter_converts(name):
    if not runs(lambda: getattr(aten, name.partition(".")[0])):
        pytest.skip(f"PyTorch {torch.__version__} has no such operator")
    check(CALLS_OF_CAPTURED[name], (IMAGE,), torch.float32)
