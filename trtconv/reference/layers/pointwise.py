"""Layers that compute each element by itself.

ACTIVATION, CAST, ELEMENTWISE, IDENTITY, PARAMETRIC_RELU, SCALE, SELECT and UNARY.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from trtconv.graph.data import DataType
from trtconv.reference.layers.precision import cast, widen
from trtconv.reference.layers.registry import Kernel, LayerContext, implements


def _clip(x: Tensor, low: float, high: float) -> Tensor:
    """max(low, min(high, x)); bounds beyond an integer type, as for no bound at all, go to its ends."""
    if x.is_floating_point():
        return x.clamp(max=high).clamp(min=low)
    limits = torch.iinfo(x.dtype)
    bounds = [int(min(max(bound, limits.min), limits.max)) for bound in (low, high)]
    return x.clamp(max=bounds[1]).clamp(min=bounds[0])


# Formulas of NvInfer.h (ActivationType) in x and the layer's alpha and beta.
ACTIVATIONS: Mapping[str, Callable[[Tensor, float, float], Tensor]] = {
    "RELU": lambda x, a, b: torch.relu(x),
    "SIGMOID": lambda x, a, b: torch.sigmoid(x),
    "TANH": lambda x, a, b: torch.tanh(x),
    "LEAKY_RELU": lambda x, a, b: torch.where(x >= 0, x, a * x),
    "ELU": lambda x, a, b: torch.where(x >= 0, x, a * torch.expm1(x)),
    "SELU": lambda x, a, b: b * torch.where(x > 0, x, a * torch.expm1(x)),
    "SOFTSIGN": lambda x, a, b: x / (1 + x.abs()),
    "SOFTPLUS": lambda x, a, b: a * F.softplus(b * x),
    "CLIP": _clip,
    "HARD_SIGMOID": lambda x, a, b: (a * x + b).clamp(0, 1),
    "SCALED_TANH": lambda x, a, b: a * torch.tanh(b * x),
    "THRESHOLDED_RELU": lambda x, a, b: torch.where(x > a, x, 0),
    "GELU_ERF": lambda x, a, b: F.gelu(x),
    "GELU_TANH": lambda x, a, b: F.gelu(x, approximate="tanh"),
}

UNARIES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "EXP": torch.exp,
    "LOG": torch.log,
    "SQRT": torch.sqrt,
    "RECIP": torch.reciprocal,
    "ABS": torch.abs,
    "NEG": torch.neg,
    "SIN": torch.sin,
    "COS": torch.cos,
    "TAN": torch.tan,
    "SINH": torch.sinh,
    "COSH": torch.cosh,
    "ASIN": torch.asin,
    "ACOS": torch.acos,
    "ATAN": torch.atan,
    "ASINH": torch.asinh,
    "ACOSH": torch.acosh,
    "ATANH": torch.atanh,
    "CEIL": torch.ceil,
    "FLOOR": torch.floor,
    "ERF": torch.erf,
    "NOT": torch.logical_not,
    "SIGN": lambda x: torch.where(x.isnan(), x, x.sign()) if x.is_floating_point() else x.sign(),
    "ROUND": torch.round,  # half to even
    "ISINF": torch.isinf,
    "ISNAN": torch.isnan,
}


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def _floor_divide(a: Tensor, b: Tensor) -> Tensor:
    return torch.floor(a / b) if a.is_floating_point() else torch.div(a, b, rounding_mode="floor")


ELEMENTWISES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "SUM": torch.add,
    "PROD": torch.mul,
    "MAX": torch.maximum,
    "MIN": torch.minimum,
    "SUB": torch.sub,
    "DIV": _divide,
    "POW": torch.pow,
    "FLOOR_DIV": _floor_divide,
    "AND": torch.logical_and,
    "OR": torch.logical_or,
    "XOR": torch.logical_xor,
    "EQUAL": torch.eq,
    "GREATER": torch.gt,
    "LESS": torch.lt,
}


def rounded(function: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Kernel:
    """A kernel that computes in float32 where ``dtype`` is a low-precision one."""
    if dtype in (torch.float16, torch.bfloat16):
        return lambda x: function(x.float()).to(dtype)
    return function


@implements("ACTIVATION")
def activation(context: LayerContext) -> Kernel:
    """The function of ``type`` with ``alpha`` and ``beta``."""
    function, alpha, beta = ACTIVATIONS[context["type"]], context["alpha"], context["beta"]
    if context["type"] in ("RELU", "SIGMOID", "TANH", "GELU_ERF", "GELU_TANH"):
        alpha = beta = 0.0
    return rounded(lambda x: function(x, alpha, beta), context.input_type(0).dtype.carrier)


@implements("UNARY")
def unary(context: LayerContext) -> Kernel:
    """The operation ``op``; ROUND takes halves to the even side."""
    function = UNARIES[context["op"]]
    if context.output_type().dtype is DataType.BOOL:
        return function
    return rounded(function, context.input_type(0).dtype.carrier)


@implements("ELEMENTWISE")
def elementwise(context: LayerContext) -> Kernel:
    """The operation ``op`` of two tensors of equal rank, sizes of 1 broadcast.

    Integer DIV truncates toward zero, FLOOR_DIV floors; integer arithmetic wraps.
    """
    function = ELEMENTWISES[context["op"]]
    left, right = context.input_type(0), context.input_type(1)
    if left.dtype is not right.dtype or len(left.shape) != len(right.shape):
        raise ValueError(f"its inputs differ in type or rank: {left} and {right}")
    dtype = left.dtype.carrier
    if dtype in (torch.float16, torch.bfloat16) and context.output_type().dtype is not DataType.BOOL:
        return lambda a, b: function(a.float(), b.float()).to(dtype)
    return function


@implements("SELECT")
def select(context: LayerContext) -> Kernel:
    """Elements of input 1 where input 0 is true, else of input 2."""
    return torch.where


@implements("PARAMETRIC_RELU")
def parametric_relu(context: LayerContext) -> Kernel:
    """x where x >= 0, else slope * x."""
    return lambda x, slope: torch.where(x >= 0, x, (widen(x) * widen(slope)).to(x.dtype))


@implements("CAST")
def cast_layer(context: LayerContext) -> Kernel:
    """Conversion to ``to_type``: floats go to integers toward zero."""
    dtype = DataType[context["to_type"]]
    return lambda x: cast(x, dtype)


@implements("IDENTITY")
def identity(context: LayerContext) -> Kernel:
    """The tensor itself; in weakly typed networks it may convert to the output's type."""
    dtype = context.output_type().dtype
    if dtype is context.input_type(0).dtype:
        return lambda x: x
    return lambda x: cast(x, dtype)


@implements("CONDITIONAL_INPUT")
def conditional_input(context: LayerContext) -> Kernel:
    """The tensor itself, on its way into a branch."""
    return lambda x: x


@implements("SCALE")
def scale(context: LayerContext) -> Kernel:
    """(x * scale + shift) ^ power, weights for the tensor, a channel or an element.

    An absent weight stands for 1, 0 and 1. (Seen on TensorRT-RTX 1.6.1: a power of 1 that is given turns
    negative numbers into NaN; here it does nothing.)
    """
    rank = len(context.input_type(0).shape)
    axis, mode = context["channel_axis"], context["mode"]

    def weights(name: str) -> Tensor | None:
        values = context.weights(name)
        if values is None:
            return None
        values = widen(values)
        if mode == "CHANNEL":
            return values.reshape(-1, *[1] * (rank - axis - 1))
        return values.reshape(()) if mode == "UNIFORM" else values

    factor, shift, power = weights("scale"), weights("shift"), weights("power")

    def kernel(x: Tensor) -> Tensor:
        y = widen(x)
        elements = y.shape[axis:]
        if factor is not None:
            y = y * (factor.reshape(elements) if mode == "ELEMENTWISE" else factor)
        if shift is not None:
            y = y + (shift.reshape(elements) if mode == "ELEMENTWISE" else shift)
        if power is not None:
            y = y ** (power.reshape(elements) if mode == "ELEMENTWISE" else power)
        return y.to(x.dtype)

    return kernel
