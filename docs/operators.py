"""Write docs/operators.md, which says what converts: python docs/operators.py"""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Iterator

import torch
from torch._ops import OpOverload

from trtconv.capture.reasons import REASONS, reason
from trtconv.emit import registry
from trtconv.emit.registry import Converter

HERE = pathlib.Path(__file__).parent

COMPOSED = "torch composes it of operators that have converters"
AS_REAL = "computed with real and imaginary parts (trtconv/passes/complex_formulas.py)"
A_SIZE = "a size is a number while a module is captured, or a symbol where it is dynamic"

CAPTURED = {
    "_fft_c2r.default": AS_REAL,
    "_fft_r2c.default": AS_REAL,
    "adaptive_avg_pool1d.default": COMPOSED,
    "upsample_bilinear2d.vec": COMPOSED,
    "upsample_nearest2d.vec": COMPOSED,
    "var.dim": COMPOSED,
    "atan2.out": "a result that is written somewhere is captured as atan2.default",
    "_native_batch_norm_legit.default": "without training captured as _native_batch_norm_legit_functional.default",
    "sym_is_contiguous.default": "memory layouts are known while a module is captured",
    "sym_numel.default": A_SIZE,
    "sym_size.int": A_SIZE,
    "sym_storage_offset.default": A_SIZE,
    "sym_stride.int": A_SIZE,
}
"""Operators of the core ATen opset that never come to a converter, and why; tests/test_operators.py calls each."""

TORCH2TRT = (
    "torch.nn.functional.leaky_relu torch.nn.functional.leaky_relu_",
    "torch.nn.functional.elu torch.nn.functional.elu_",
    "torch.selu torch.selu_ torch.nn.functional.selu torch.nn.functional.selu_",
    "torch.nn.functional.softsign",
    "torch.nn.functional.softplus",
    "torch.nn.functional.adaptive_avg_pool1d torch.nn.functional.adaptive_avg_pool2d "
    "torch.nn.functional.adaptive_avg_pool3d",
    "torch.nn.functional.adaptive_max_pool1d torch.nn.functional.adaptive_max_pool2d "
    "torch.nn.functional.adaptive_max_pool3d",
    "torch.add torch.Tensor.__iadd__ torch.Tensor.__add__ torch.Tensor.__radd__",
    "torch.nn.functional.batch_norm",
    "torch.cat",
    "torch.chunk torch.Tensor.chunk torch.split torch.Tensor.split",
    "torch.clamp_min torch.Tensor.clamp_min",
    "torch.clamp_max torch.Tensor.clamp_max",
    "torch.clamp torch.Tensor.clamp",
    "torch.clone torch.Tensor.clone",
    "torch.gt torch.Tensor.__gt__",
    "torch.lt torch.Tensor.__lt__",
    "torch.eq torch.Tensor.__eq__",
    "torch.nn.functional.conv1d torch.nn.functional.conv2d torch.nn.functional.conv3d",
    "torch.nn.functional.conv_transpose1d torch.nn.functional.conv_transpose2d torch.nn.functional.conv_transpose3d",
    "torch.div torch.Tensor.__div__ torch.Tensor.__idiv__ torch.Tensor.__truediv__ torch.Tensor.__itruediv__",
    "torch.Tensor.__rdiv__ torch.Tensor.__rtruediv__",
    "torch.einsum",
    "torch.Tensor.expand",
    "torch.flatten torch.Tensor.flatten",
    "torch.Tensor.__floordiv__ torch.Tensor.__ifloordiv__ torch.floor_divide",
    "torch.nn.functional.gelu",
    "torch.Tensor.__getitem__",
    "torch.nn.functional.group_norm",
    "torch.Tensor.contiguous torch.nn.functional.dropout torch.nn.functional.dropout2d torch.nn.functional.dropout3d",
    "torch.instance_norm torch.nn.functional.instance_norm",
    "torch.nn.functional.interpolate torch.nn.functional.upsample",
    "torch.nn.functional.layer_norm",
    "torch.nn.functional.linear",
    "torch.nn.functional.log_softmax",
    "torch.matmul torch.Tensor.__matmul__",
    "torch.nn.functional.max_pool3d torch.max_pool3d torch.nn.functional.max_pool2d torch.max_pool2d "
    "torch.nn.functional.max_pool1d torch.max_pool1d",
    "torch.nn.functional.avg_pool3d torch.avg_pool3d torch.nn.functional.avg_pool2d torch.avg_pool2d "
    "torch.nn.functional.avg_pool1d torch.avg_pool1d",
    "torch.max torch.Tensor.max",
    "torch.mean torch.Tensor.mean",
    "torch.min torch.Tensor.min",
    "torch.fmod",
    "torch.Tensor.__imod__ torch.Tensor.__mod__",
    "torch.mul torch.Tensor.mul_ torch.Tensor.__imul__ torch.Tensor.__mul__ torch.Tensor.__rmul__",
    "torch.Tensor.narrow torch.narrow",
    "torch.ne torch.Tensor.__ne__",
    "torch.nn.functional.normalize",
    "torch.nn.functional.pad",
    "torch.Tensor.permute",
    "torch.pow torch.Tensor.__ipow__ torch.Tensor.__pow__",
    "torch.Tensor.__rpow__",
    "torch.nn.functional.prelu",
    "torch.prod torch.Tensor.prod",
    "torch.relu torch.relu_ torch.nn.functional.relu torch.nn.functional.relu_ torch.Tensor.relu",
    "torch.nn.functional.relu6",
    "torch.roll torch.Tensor.roll",
    "torch.nn.functional.sigmoid torch.sigmoid torch.Tensor.sigmoid",
    "torch.nn.functional.silu",
    "torch.Tensor.softmax torch.nn.functional.softmax",
    "torch.Tensor.squeeze torch.squeeze",
    "torch.stack",
    "torch.sub torch.Tensor.__isub__ torch.Tensor.__sub__",
    "torch.Tensor.__rsub__",
    "torch.sum torch.Tensor.sum",
    "torch.nn.functional.tanh torch.tanh",
    "torch.tensor",
    "torch.Tensor.transpose torch.transpose",
    "torch.exp torch.exp_ torch.Tensor.exp torch.Tensor.exp_",
    "torch.log torch.log_ torch.Tensor.log torch.Tensor.log_",
    "torch.sqrt torch.sqrt_ torch.Tensor.sqrt torch.Tensor.sqrt_",
    "torch.reciprocal torch.reciprocal_ torch.Tensor.reciprocal torch.Tensor.reciprocal_",
    "torch.abs torch.abs_ torch.Tensor.abs torch.Tensor.abs_",
    "torch.neg torch.neg_ torch.Tensor.neg torch.Tensor.__neg__ torch.Tensor.neg_",
    "torch.sin torch.sin_ torch.Tensor.sin torch.Tensor.sin_",
    "torch.cos torch.cos_ torch.Tensor.cos torch.Tensor.cos_",
    "torch.tan torch.tan_ torch.Tensor.tan torch.Tensor.tan_",
    "torch.sinh torch.sinh_ torch.Tensor.sinh torch.Tensor.sinh_",
    "torch.cosh torch.cosh_ torch.Tensor.cosh torch.Tensor.cosh_",
    "torch.asin torch.asin_ torch.Tensor.asin torch.Tensor.asin_",
    "torch.acos torch.acos_ torch.Tensor.acos torch.Tensor.acos_",
    "torch.atan torch.atan_ torch.Tensor.atan torch.Tensor.atan_",
    "torch.ceil torch.ceil_ torch.Tensor.ceil torch.Tensor.ceil_",
    "torch.floor torch.floor_ torch.Tensor.floor torch.Tensor.floor_",
    "torch.Tensor.unsqueeze torch.unsqueeze",
    "torch.Tensor.view torch.Tensor.reshape",
)
"""The names that each of torch2trt's converters is registered for (NVIDIA-AI-IOT/torch2trt at 4e820ae)."""

ABSENT = {
    "torch.avg_pool2d": "torch has no function of this name",
    "torch.avg_pool3d": "torch has no function of this name",
}
"""Those of the names that don't convert, and why; tests/test_operators.py converts a call of each of the others."""


def core() -> list[OpOverload]:
    """The core ATen opset of the installed torch, sorted by name."""
    return sorted((each for each in _aten() if torch.Tag.core in each.tags), key=str)


def _aten() -> Iterator[OpOverload]:
    for name in torch._C._dispatch_get_all_op_names():
        namespace, _, rest = name.partition("::")
        packet, _, overload = rest.partition(".")
        if namespace == "aten" and hasattr(torch.ops.aten, packet):
            yield getattr(getattr(torch.ops.aten, packet), overload or "default")


def name_of(operator: OpOverload) -> str:
    """An operator's name without its namespace: "add.Tensor"."""
    return str(operator).removeprefix("aten.")


def document() -> str:
    """The text of operators.md."""
    return "\n".join([*_introduction(), *_core_opset(), *_torch2trt(), *_by_family(), *_reasons()]) + "\n"


def _introduction() -> list[str]:
    operators = core()
    converted = [each for each in operators if registry.find(each)]
    captured = [each for each in operators if name_of(each) in CAPTURED]
    return [
        "# What converts",
        "",
        "Written by `python docs/operators.py` from the registry of converters; a test compares it with what is",
        "registered, and converts a call of each function of torch2trt's.",
        "",
        f"- Core ATen opset of torch {version()}: {len(operators)} operators, {len(converted)} with a converter, "
        f"{len(captured)} resolved while a module is captured, {len(operators) - len(converted) - len(captured)} not.",
        f"- torch2trt: {len(TORCH2TRT)} converters under {sum(map(len, map(str.split, TORCH2TRT)))} names, "
        f"all but {len(ABSENT)} of which convert.",
        f"- In all {len(registry.built_in())} functions and ATen overloads have converters. What torch composes of "
        "them converts too, whatever its name.",
        "",
        "A converter may refuse some arguments; its error says which, and what is allowed.",
    ]


def version() -> str:
    """The installed torch's release, without patch and build."""
    return ".".join(torch.__version__.split(".")[:2])


def _core_opset() -> Iterator[str]:
    yield from ("", "## Core ATen opset", "", "| operator | converter, or why there is none |", "|---|---|")
    for operator in core():
        found = registry.find(operator)
        yield f"| `{name_of(operator)}` | {_place(found) if found else _why(operator)} |"


def _place(converter: Converter) -> str:
    return f"`{converter.function.__module__.removeprefix('trtconv.').replace('.', '/')}.py`"


def _why(operator: OpOverload) -> str:
    captured = CAPTURED.get(name_of(operator))
    return f"needs none: {captured}" if captured else f"none: {reason(operator)}"


def _torch2trt() -> Iterator[str]:
    yield from ("", "## Functions that torch2trt converts", "", "One line for each of its converters.", "")
    for names in TORCH2TRT:
        yield f"- {', '.join(map(_with_reason, names.split()))}"


def _with_reason(name: str) -> str:
    return f"`{name}`" + (f" (no: {ABSENT[name]})" if name in ABSENT else "")


def _by_family() -> Iterator[str]:
    families: dict[str, list[str]] = {}
    for converter in registry.built_in():
        name = converter.key.removeprefix("torch.ops.aten.").removesuffix(".default")
        families.setdefault(converter.function.__module__, []).append(name)
    yield from ("", "## All converters", "")
    yield "By family; names with `torch.` are functions taken whole, the others ATen overloads (`.default` left out)."
    for family, names in sorted(families.items()):
        title = (importlib.import_module(family).__doc__ or "").partition("\n")[0]
        yield from ("", f"### {family.rpartition('.')[2]}", "", title, "", _listed(names))


def _reasons() -> Iterator[str]:
    operators: dict[str, list[str]] = {}
    for operator, why in REASONS.items():
        operators.setdefault(why, []).append(operator)
    yield from ("", "## Operators that don't convert, and why", "")
    for why, names in operators.items():
        yield f"- {why[0].upper()}{why[1:]}: {_listed(names)}"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    (HERE / "operators.md").write_text(document())
