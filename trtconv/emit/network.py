"""The builder that converters write to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy
import torch
from torch.utils._sympy.functions import (
    CleanDiv,
    FloatPow,
    FloatTrueDiv,
    FloorDiv,
    IntTrueDiv,
    Max,
    Min,
    Mod,
    OpaqueUnaryFn_sqrt,
    PythonMod,
    ToFloat,
)

from trtconv import tensorrt as trt
from trtconv.emit.definition import Definition, Scalar
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, broadcast, expression, is_same, is_static, same, settled
from trtconv.sizes.bounds import ANY_SIZE, Ranges, bounds, ranges_of, values
from trtconv.sizes.rounding import as_division
from trtconv.sizes.text import linear


class Network(Definition):
    """The builder that converters write to.

    Its methods take operands in any form: an activation of the trace, a real tensor (it becomes a
    constant layer), or a TensorRT tensor; where it says so, a Python number. They return TensorRT
    tensors. Sizes may be symbols (`torch.SymInt`) wherever a method takes sizes.
    """

    # -- element by element ---------------------------------------------------------------------

    def cast(self, x: Any, dtype: torch.dtype) -> Any:
        """The values of `x` in another dtype; `x` itself if it has that dtype."""
        return self.tensor(x, dtype)

    def activation(self, x: Any, kind: Any, alpha: float | None = None, beta: float | None = None) -> Any:
        """An activation layer; `alpha` and `beta` as `kind` defines them."""
        layer = self.add_activation(self.tensor(x), kind)
        if alpha is not None:
            layer.alpha = alpha
        if beta is not None:
            layer.beta = beta
        return self.known(layer.get_output(0), self.shape(x))

    def unary(self, x: Any, operation: Any) -> Any:
        """An element-by-element function of one operand."""
        return self.known(self.add_unary(self.tensor(x), operation).get_output(0), self.shape(x))

    def elementwise(self, a: Any, b: Any, operation: Any, dtype: torch.dtype | None = None) -> Any:
        """An element-by-element function of two operands or numbers, broadcast, computed in `dtype`.

        Without `dtype`, in the dtype of the first that is not a number.
        """
        if dtype is None:
            dtype = self.dtype(b if isinstance(a, Scalar) else a)
        left, right = self.operands(a, b, dtype=dtype)
        result = self.add_elementwise(left, right, operation).get_output(0)
        return self.known(result, broadcast(self.shape(left), self.shape(right)))

    def add(self, a: Any, b: Any) -> Any:
        """a + b"""
        return self.elementwise(a, b, trt.ElementWiseOperation.SUM)

    def sub(self, a: Any, b: Any) -> Any:
        """a - b"""
        return self.elementwise(a, b, trt.ElementWiseOperation.SUB)

    def mul(self, a: Any, b: Any) -> Any:
        """a * b"""
        return self.elementwise(a, b, trt.ElementWiseOperation.PROD)

    def div(self, a: Any, b: Any) -> Any:
        """a / b; for integers rounded toward 0."""
        return self.elementwise(a, b, trt.ElementWiseOperation.DIV)

    def select(self, condition: Any, a: Any, b: Any, dtype: torch.dtype) -> Any:
        """`a` where the condition holds, else `b`, broadcast; `a` and `b` may be numbers."""
        rank = max(len(self.shape(x)) for x in (condition, a, b) if not isinstance(x, Scalar))
        left, right = (
            self.scalar(x, dtype, rank) if isinstance(x, Scalar) else self.tensor(x, dtype, rank) for x in (a, b)
        )
        chooser = self.tensor(condition, torch.bool, rank)
        result = self.add_select(chooser, left, right).get_output(0)
        return self.known(result, broadcast(*map(self.shape, (chooser, left, right))))

    def identity(self, x: Any) -> Any:
        """A copy under a tensor of its own."""
        return self.known(self.add_identity(self.tensor(x)).get_output(0), self.shape(x))

    # -- shapes ---------------------------------------------------------------------------------

    def reshape(self, x: Any, shape: Sequence[Size]) -> Any:
        """The same elements in another shape."""
        x, shape = self.tensor(x), settled(shape)
        if same(shape, self.shape(x)):
            return x
        layer = self.add_shuffle(x)
        layer.zero_is_placeholder = False
        dynamic = [size for size in shape if not is_static(size)]
        if len(dynamic) > 1 or (dynamic and any(is_static(size) and size == 0 for size in shape)):
            layer.set_input(1, self.size_tensor(shape))
        else:  # one unknown size follows from the others
            layer.reshape_dims = tuple(size if is_static(size) else -1 for size in shape)
        return self.known(layer.get_output(0), shape)

    def permute(self, x: Any, order: Sequence[int]) -> Any:
        """The axes in another order, as `torch.permute`."""
        x = self.tensor(x)
        if list(order) == list(range(len(order))):
            return x
        layer = self.add_shuffle(x)
        layer.first_transpose = tuple(order)
        shape = self.shape(x)
        return self.known(layer.get_output(0), [shape[axis] for axis in order])

    def slice(
        self,
        x: Any,
        start: Sequence[Size],
        size: Sequence[Size],
        stride: Sequence[Size] | None = None,
        *,
        mode: Any = None,
        fill: Any = None,
    ) -> Any:
        """`size` elements from `start` on, every `stride`-th, along each axis.

        `mode` (a `trt.SampleMode`) says what lies outside of `x`, `fill` the value for FILL (default 0), a
        number or a tensor of rank 0.
        """
        x = self.tensor(x)
        stride = stride or [1] * len(start)
        arguments = [settled(each) for each in (start, size, stride)]
        numbers = [tuple(n if is_static(n) else 0 for n in each) for each in arguments]
        layer = self.add_slice(x, *numbers)
        for position, each in enumerate(arguments, start=1):
            if not all(map(is_static, each)):
                layer.set_input(position, self.size_tensor(each))
        if mode is not None:
            layer.mode = mode
        if fill is not None:
            layer.set_input(4, self.scalar(fill, self.dtype(x)) if isinstance(fill, Scalar) else self.tensor(fill))
        return self.known(layer.get_output(0), arguments[1])

    def expand(self, x: Any, shape: Sequence[Size]) -> Any:
        """Repetition along axes of size 1, and new axes in front: a slice that doesn't advance along them."""
        x = self.tensor(x, rank=len(shape))
        if same(self.shape(x), shape):
            return x
        strides = [0 if is_same(have, 1) else 1 for have in self.shape(x)]
        return self.slice(x, [0] * len(shape), shape, strides)

    def concatenate(self, tensors: Sequence[Any], dim: int) -> Any:
        """The operands one after the other along a non-negative `dim`."""
        operands = [self.tensor(x) for x in tensors]
        layer = self.add_concatenation(operands)
        layer.axis = dim
        shape = list(self.shape(operands[0]))
        shape[dim] = sum(self.shape(x)[dim] for x in operands)
        return self.known(layer.get_output(0), shape)

    def gather(self, x: Any, index: Any, dim: int) -> Any:
        """The slices of `x` along `dim` that `index` names, as `numpy.take`; no negative indices."""
        data, places = self.tensor(x), self.tensor(index)
        shape = self.shape(data)
        result = self.add_gather(data, places, dim).get_output(0)
        return self.known(result, (*shape[:dim], *self.shape(places), *shape[dim + 1 :]))

    # -- along axes -----------------------------------------------------------------------------

    def reduce(self, x: Any, operation: Any, dims: Sequence[int], keepdim: bool) -> Any:
        """A reduction over non-negative `dims`."""
        shape = self.shape(x)
        result = self.add_reduce(self.tensor(x), operation, axes_mask(dims), keepdim).get_output(0)
        sizes: list[Size] = [1 if axis in dims else size for axis, size in enumerate(shape)]
        return self.known(result, sizes if keepdim else [s for axis, s in enumerate(sizes) if axis not in dims])

    def softmax(self, x: Any, dim: int) -> Any:
        """Softmax along a non-negative `dim`."""
        shape = self.shape(x)
        if len(shape) == 1:  # the layer wants two axes
            return self.reshape(self.softmax(self.reshape(x, (1, *shape)), 1), shape)
        layer = self.add_softmax(self.tensor(x))
        layer.axes = axes_mask((dim,))
        return self.known(layer.get_output(0), shape)

    def matmul(self, a: Any, b: Any, *, transpose_a: bool = False, transpose_b: bool = False) -> Any:
        """The matrix product of two operands of at least two axes, broadcast over the axes before them."""
        operation = (trt.MatrixOperation.NONE, trt.MatrixOperation.TRANSPOSE)
        rank = max(len(self.shape(a)), len(self.shape(b)))
        left, right = self.tensor(a, rank=rank), self.tensor(b, rank=rank)
        layer = self.add_matrix_multiply(left, operation[transpose_a], right, operation[transpose_b])
        (*batch_a, row_a, column_a), (*batch_b, row_b, column_b) = self.shape(left), self.shape(right)
        rows, columns = column_a if transpose_a else row_a, row_b if transpose_b else column_b
        return self.known(layer.get_output(0), (*broadcast(batch_a, batch_b), rows, columns))

    # -- symbolic sizes -------------------------------------------------------------------------

    def define_symbol(self, size: Size, tensor: Any, axis: int) -> None:
        """Say that the size of an input tensor along an axis is a symbol, or what follows from symbols."""
        value = expression(size)
        self._spans.update({symbol: (low, high) for symbol, low, high in ranges_of(size)})
        self._symbols.setdefault(value, (tensor, axis))
        found = linear(value)
        if found is not None and value != found[1]:
            factor, symbol, offset = found
            self._lines.setdefault(symbol, (value, factor, offset))

    def size_tensor(self, sizes: Sequence[Size]) -> Any:
        """A 1-D int64 tensor with these sizes, computed in the network where they are symbols."""
        if all(map(is_static, sizes)):
            return self.constant(torch.tensor(settled(sizes), dtype=torch.int64))
        parts = [self._expression_tensor(expression(size)) for size in sizes]
        return parts[0] if len(parts) == 1 else self.concatenate(parts, 0)

    def number(self, value: Size | float | torch.SymFloat | torch.SymBool) -> Any:
        """A number if it is the same for all sizes, else a tensor without axes of int64, float32 or bool."""
        if not isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            return value
        known: Any = value.node.expr
        if isinstance(value, torch.SymBool):
            return self.reshape(self._tabulated(known, torch.bool), ())
        is_int = isinstance(value, torch.SymInt)
        if known.is_number:
            return int(known) if is_int else float(known)
        return self.reshape(self._expression_tensor(known) if is_int else self._float_tensor(known), ())

    def _float_tensor(self, value: Any) -> Any:
        """A 1-D float32 tensor of one element with the value of a sympy expression of sizes."""
        if value.is_number:
            return self.constant(torch.tensor([float(value)]))
        if value.is_integer:
            return self.cast(self._expression_tensor(value), torch.float32)
        operation = _FLOAT_OPERATIONS.get(value.func)
        if operation is None:
            return self._tabulated(value, torch.float32)
        first, *rest = (self._float_tensor(each) for each in value.args)
        if value.func is OpaqueUnaryFn_sqrt:
            return self.unary(first, trt.UnaryOperation.SQRT)
        for other in rest:
            first = self.elementwise(first, other, getattr(trt.ElementWiseOperation, operation))
        return first

    def _expression_tensor(self, value: Any) -> Any:
        """A 1-D int64 tensor of one element with the value of a sympy expression of sizes."""
        if value not in self._expressions:
            self._expressions[value] = self._compute(value)
        return self._expressions[value]

    def _compute(self, value: Any) -> Any:
        if value.is_Integer:
            return self.constant(torch.tensor([int(value)], dtype=torch.int64))
        if value in self._symbols:
            tensor, axis = self._symbols[value]
            rank = len(self.built_shape(tensor))
            shape = self.known(self.add_shape(tensor).get_output(0), (rank,))
            return self.slice(shape, (axis,), (1,))
        if value in self._lines:
            size, factor, offset = self._lines[value]
            result = self._expression_tensor(size)
            if offset:
                result = self.sub(result, self._expression_tensor(sympy.Integer(offset)))
            if factor == 1:
                return result
            return self.elementwise(
                result, self._expression_tensor(sympy.Integer(factor)), trt.ElementWiseOperation.FLOOR_DIV
            )
        if value.is_Pow and value.exp.is_Integer and value.exp > 0:
            return self._fold([value.base] * int(value.exp), "PROD")
        if value.func in (Mod, PythonMod):
            dividend, divisor = value.args
            return self._compute(dividend - divisor * FloorDiv(dividend, divisor))
        division = as_division(value, self._span)
        if division is not None:
            return self._expression_tensor(division)
        operation = _OPERATIONS.get(value.func)
        return self._tabulated(value, torch.int64) if operation is None else self._fold(value.args, operation)

    def _ranges(self, value: Any) -> Ranges:
        symbols = sorted(value.free_symbols, key=str)
        return tuple((symbol, *self._spans.get(symbol, ANY_SIZE)) for symbol in symbols)

    def _span(self, value: Any) -> tuple[float, float]:
        return bounds(value, self._ranges(value))

    def _tabulated(self, value: Any, dtype: torch.dtype) -> Any:
        """A 1-D tensor of one element with the value of an expression that has no layers: of all its values that one.

        Raises:
            UnsupportedArgumentError: there are too many sizes for a table.
        """
        ranges = self._ranges(value)
        all_values = values(value, ranges)
        if all_values is None:
            raise UnsupportedArgumentError(
                f"a number follows from the inputs' sizes as {value}, which has no layers, and the sizes are too many "
                "for a table of its values; narrow their ranges (dynamic_shapes)"
            )
        place = sympy.Integer(0)
        for symbol, low, high in ranges:
            place = place * (high - low + 1) + symbol - low
        return self.gather(torch.tensor(all_values, dtype=dtype), self._expression_tensor(sympy.expand(place)), 0)

    def _fold(self, values: Sequence[Any], operation: str) -> Any:
        first, *rest = (self._expression_tensor(value) for value in values)
        for other in rest:
            first = self.elementwise(first, other, getattr(trt.ElementWiseOperation, operation))
        return first


_OPERATIONS = {
    sympy.Add: "SUM",
    sympy.Mul: "PROD",
    sympy.Max: "MAX",
    sympy.Min: "MIN",
    Max: "MAX",
    Min: "MIN",
    FloorDiv: "FLOOR_DIV",
    CleanDiv: "FLOOR_DIV",
}


_FLOAT_OPERATIONS = {
    sympy.Add: "SUM",
    sympy.Mul: "PROD",
    sympy.Pow: "POW",
    Max: "MAX",
    Min: "MIN",
    FloatPow: "POW",
    FloatTrueDiv: "DIV",
    IntTrueDiv: "DIV",
    OpaqueUnaryFn_sqrt: "",
    ToFloat: "",
}


def axes_mask(dims: Sequence[int]) -> int:
    """The bit mask by which TensorRT names axes."""
    mask = 0
    for dim in dims:
        mask |= 1 << dim
    return mask
