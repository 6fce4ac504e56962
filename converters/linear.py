"""Linear layers and matrix products, kept whole because TensorRT fuses them best so."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from trtconv import tensorrt as trt
from trtconv.capture.trace import is_constant
from trtconv.emit.network import Network
from trtconv.emit.registry import converter

aten = torch.ops.aten


def product(net: Network, a: Any, b: Any) -> Any:
    """The matrix product of operands of at least two axes, of integers too."""
    if net.dtype(a).is_floating_point:
        return net.matmul(a, b)
    # TensorRT multiplies matrices of floats only: sums of products, axes [..., row, inner, column].
    (*batch_a, rows, inner), (*batch_b, _, columns) = net.shape(a), net.shape(b)
    left, right = net.reshape(a, (*batch_a, rows, inner, 1)), net.reshape(b, (*batch_b, 1, inner, columns))
    products = net.mul(left, right)
    return net.reduce(products, trt.ReduceOperation.SUM, [len(net.shape(products)) - 2], False)


def times_transposed(net: Network, x: Any, weight: torch.Tensor) -> Any:
    """x @ weight.T, the product of a linear layer."""
    if not net.dtype(x).is_floating_point:
        constant = is_constant(weight)
        return product(net, x, weight.t() if constant else net.permute(weight, (1, 0)))
    if not is_constant(weight):
        return net.matmul(x, weight, transpose_b=True)
    # Stored [in, out]: 2 to 4 % faster on the GPU than [out, in] with a transposing product.
    return net.matmul(x, weight.detach().t())


def product_along(net: Network, matrix: Any, x: Any, axis: int) -> Any:
    """Vectors along an axis of x times a matrix [new size, size]."""
    shape, count = net.shape(x), net.shape(matrix)[0]
    if axis == len(shape) - 1:
        return times_transposed(net, x, matrix)
    rows = net.reshape(x, (*shape[: axis + 1], math.prod(shape[axis + 1 :])))
    return net.reshape(net.matmul(matrix, rows), (*shape[:axis], count, *shape[axis + 1 :]))


@converter(F.linear)
def linear(net: Network, input: Any, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Any:
    """input @ weight.T + bias"""
    shape = net.shape(input)
    if weight.dim() == 1:
        result = matmul(net, input, weight)
    else:
        result = times_transposed(net, net.reshape(input, (1, *shape)) if len(shape) == 1 else input, weight)
    if bias is not None:
        result = net.add(result, bias)
    return net.reshape(result, tuple(net.output.shape))


@converter(torch.matmul)
def matmul(net: Network, input: Any, other: Any) -> Any:
    """The product of two vectors, matrices, or batches of matrices, as `torch.matmul` broadcasts them."""
    left, right = net.shape(input), net.shape(other)
    a = net.reshape(input, (1, *left)) if len(left) == 1 else input
    b = net.reshape(other, (*right, 1)) if len(right) == 1 else other
    return net.reshape(product(net, a, b), tuple(net.output.shape))


@converter(aten.mm.default, aten.bmm.default)
def mm(net: Network, x: Any, mat2: Any) -> Any:
    return product(net, x, mat2)


@converter(aten.mv.default)
def mv(net: Network, x: Any, vec: Any) -> Any:
    return matmul(net, x, vec)


@converter(aten.dot.default, aten.vdot.default)
def dot(net: Network, x: Any, tensor: Any = None, other: Any = None) -> Any:
    return matmul(net, x, other if tensor is None else tensor)


def _plus(net: Network, x: Any, beta: float, products: Any, alpha: float) -> Any:
    """beta * x + alpha * products; of beta = 0 not even NaNs in x remain."""
    if alpha != 1:
        products = net.mul(products, alpha)
    if beta == 0:
        return net.reshape(products, tuple(net.output.shape))
    return net.add(x if beta == 1 else net.mul(x, beta), products)


@converter(aten.addmm.default)
def addmm(net: Network, x: Any, mat1: Any, mat2: Any, beta: float, alpha: float) -> Any:
    return _plus(net, x, beta, product(net, mat1, mat2), alpha)


@converter(aten.baddbmm.default)
def baddbmm(net: Network, x: Any, batch1: Any, batch2: Any, beta: float, alpha: float) -> Any:
    return _plus(net, x, beta, product(net, batch1, batch2), alpha)


@converter(aten.addbmm.default)
def addbmm(net: Network, x: Any, batch1: Any, batch2: Any, beta: float, alpha: float) -> Any:
    """The products of a batch, summed: one product of [rows, batch * inner] and [batch * inner, columns]."""
    batch, rows, inner = net.shape(batch1)
    left = net.reshape(net.permute(batch1, (1, 0, 2)), (rows, batch * inner))
    right = net.reshape(batch2, (batch * inner, net.shape(batch2)[2]))
    return _plus(net, x, beta, product(net, left, right), alpha)


@converter(aten.addmv.default)
def addmv(net: Network, x: Any, mat: Any, vec: Any, beta: float, alpha: float) -> Any:
    return _plus(net, x, beta, matmul(net, mat, vec), alpha)


@converter(aten.addr.default)
def addr(net: Network, x: Any, vec1: Any, vec2: Any, beta: float, alpha: float) -> Any:
    column = net.reshape(vec1, (*net.shape(vec1), 1))
    return _plus(net, x, beta, net.mul(column, vec2), alpha)


@converter(torch.bilinear)
def bilinear(net: Network, input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """out[o] = sum over i, j of input1[i] weight[o, i, j] input2[j], + bias[o]"""
    maps, first, second = net.shape(weight)
    count = math.prod(net.shape(input1)[:-1])
    by_first = net.reshape(net.permute(weight, (1, 0, 2)), (first, maps * second))
    rows = net.reshape(net.matmul(net.reshape(input1, (count, first)), by_first), (count, maps, second))
    products = net.matmul(rows, net.reshape(input2, (count, second, 1)))
    result = net.reshape(products, tuple(net.output.shape))
    return result if bias is None else net.add(result, bias)
