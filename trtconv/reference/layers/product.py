"""MATRIX_MULTIPLY and EINSUM."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from trtconv.reference.layers.precision import LOW_PRECISION, matmul, product, widen
from trtconv.reference.layers.registry import Kernel, LayerContext, implements


@implements("MATRIX_MULTIPLY")
def matrix_multiply(context: LayerContext) -> Kernel:
    """Product over the last two dimensions, the ones before broadcast.

    An operand may be transposed, or be a VECTOR: its last dimension is then all of its matrix, and the
    dimension is missing in the output.
    """
    left_op, right_op = context["op0"], context["op1"]
    if left_op == right_op == "NONE" and context.input_type(0).dtype.carrier not in LOW_PRECISION:
        return matmul

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        left, right = widen(a), widen(b)
        if left_op == "TRANSPOSE":
            left = left.mT
        elif left_op == "VECTOR":
            left = left.unsqueeze(-2)
        if right_op == "TRANSPOSE":
            right = right.mT
        elif right_op == "VECTOR":
            right = right.unsqueeze(-1)
        y = matmul(left, right)
        if right_op == "VECTOR":
            y = y.squeeze(-1)
        if left_op == "VECTOR":
            y = y.squeeze(-1 if right_op == "VECTOR" else -2)
        return y.to(a.dtype)

    return kernel


@implements("EINSUM")
def einsum(context: LayerContext) -> Kernel:
    """Summation by an equation of lower-case letters; repeated letters of one input take its diagonal."""
    equation = context["equation"].replace(" ", "")
    contract = functools.partial(torch.einsum, equation)
    return lambda *inputs: product(contract, *map(widen, inputs)).to(inputs[0].dtype)
