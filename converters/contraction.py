"""Sums of products over named axes: einsum and tensordot as matrix products.

TensorRT's einsum layer takes neither integers nor capital letters; these forms build everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from trtconv.capture.trace import is_constant
from trtconv.converters.arithmetic import binary
from trtconv.converters.linear import product as matrix_product
from trtconv.converters.rearrangement import diagonal_of
from trtconv.converters.reduction import reduced
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.sizes import Size, is_same, product

_ELLIPSIS = "..."


@dataclasses.dataclass(frozen=True)
class _Operand:
    """A tensor with a label for each axis; axes of different operands with one label have one size."""

    tensor: Any
    labels: tuple[str, ...]


@converter(torch.einsum)
def einsum(net: Network, *args: Any) -> Any:
    """The operands' product over all labels, summed over those that the output doesn't have."""
    equation, tensors = _equation(args)
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = [
        _labels(term, len(net.shape(x)) - len(term.replace(_ELLIPSIS, "")))
        for term, x in zip(inputs.split(","), tensors, strict=True)
    ]
    spread = sorted({label for term in terms for label in term if len(label) > 1}, key=_from_last)
    if arrow:
        wanted = [*output.replace(_ELLIPSIS, "")]
        at = output.find(_ELLIPSIS)
        wanted[at:at] = spread if at >= 0 else []
    else:
        letters = [label for term in terms for label in term if len(label) == 1]
        wanted = [*spread, *sorted(letter for letter in letters if letters.count(letter) == 1)]
    return _contracted(net, [_Operand(x, term) for x, term in zip(tensors, terms, strict=True)], wanted)


def _equation(args: Sequence[Any]) -> tuple[str, list[Any]]:
    """The equation and the operands of any calling form."""
    equation, *tensors = args
    if isinstance(equation, str):
        return equation, list(tensors[0]) if isinstance(tensors[0], (list, tuple)) else tensors
    inputs = ",".join(map(_letters, args[1::2]))
    return (f"{inputs}->{_letters(args[-1])}", list(args[:-1:2])) if len(args) % 2 else (inputs, list(args[::2]))


def _letters(subscripts: Sequence[Any]) -> str:
    return "".join(_ELLIPSIS if n is Ellipsis else chr(n + (65 if n < 26 else 71)) for n in subscripts)


def _labels(term: str, spread: int) -> tuple[str, ...]:
    """The labels of an operand's axes; those under an ellipsis are counted from its last."""
    before, dots, after = term.partition(_ELLIPSIS)
    return (*before, *(f"{_ELLIPSIS}{i}" for i in range(spread if dots else 0, 0, -1)), *after)


def _from_last(label: str) -> int:
    return -int(label.removeprefix(_ELLIPSIS))


@converter(torch.tensordot)
def tensordot(net: Network, a: Any, b: Any, dims: Any = 2, out: None = None) -> Any:
    """The product summed over pairs of axes: the last of `a` with the first of `b`, or those listed.

    torch always gives `out`; a call with a tensor there writes to it and isn't taken whole.
    """
    ranks = [len(net.shape(x)) for x in (a, b)]
    if isinstance(dims, torch.Tensor):
        dims = [list(map(int, axes)) for axes in dims] if dims.numel() > 1 else int(dims)
    first, second = ([*range(-dims, 0)], [*range(dims)]) if isinstance(dims, int) else dims
    left = [f"a{axis}" for axis in range(ranks[0])]
    right = [f"b{axis}" for axis in range(ranks[1])]
    for i, (p, q) in enumerate(zip(first, second, strict=True)):
        left[p] = right[q] = f"ab{i}"
    wanted = [label for label in (*left, *right) if not label.startswith("ab")]
    return _contracted(net, [_Operand(a, tuple(left)), _Operand(b, tuple(right))], wanted)


# -- products of operands ---------------------------------------------------------------------------


def _contracted(net: Network, operands: Sequence[_Operand], wanted: Sequence[str]) -> Any:
    """One operand after the other multiplied, each label summed over as soon as no other operand has it."""
    first, *rest = _broadcast(net, [_with_diagonals(net, operand) for operand in operands])
    for i, other in enumerate(rest):
        later = {label for operand in rest[i + 1 :] for label in operand.labels}
        first = _multiplied(net, first, other, later.union(wanted))
    first = _summed(net, first, wanted)
    return net.reshape(net.cast(_ordered(net, first, wanted), net.output.dtype), net.output.shape)


def _with_diagonals(net: Network, x: _Operand) -> _Operand:
    """Without a second axis of one label."""
    for axis, label in enumerate(x.labels):
        if label in x.labels[axis + 1 :]:
            other = x.labels.index(label, axis + 1)
            tensor = diagonal_of(net, x.tensor, 0, axis, other, net.shape(x.tensor)[axis])
            rest = [each for i, each in enumerate(x.labels) if i not in (axis, other)]
            return _with_diagonals(net, _Operand(tensor, (*rest, label)))
    return x


def _broadcast(net: Network, operands: Sequence[_Operand]) -> list[_Operand]:
    """Without the axes of size 1 that stand for all places of another operand's."""
    full = {
        label
        for x in operands
        for label, size in zip(x.labels, net.shape(x.tensor), strict=True)
        if not is_same(size, 1)
    }
    result = []
    for x in operands:
        shape = net.shape(x.tensor)
        kept = [i for i, label in enumerate(x.labels) if label not in full or not is_same(shape[i], 1)]
        tensor = _reshaped(net, x.tensor, [shape[i] for i in kept])
        result.append(_Operand(tensor, tuple(x.labels[i] for i in kept)))
    return result


def _multiplied(net: Network, a: _Operand, b: _Operand, kept: set[str]) -> _Operand:
    """The product of two operands, summed over the labels that aren't kept."""
    a, b = _summed(net, a, kept.union(b.labels)), _summed(net, b, kept.union(a.labels))
    sizes = dict(zip((*a.labels, *b.labels), (*net.shape(a.tensor), *net.shape(b.tensor)), strict=True))
    both = [label for label in a.labels if label in b.labels]
    batch, inner = [label for label in both if label in kept], [label for label in both if label not in kept]
    left, right = ([label for label in x.labels if label not in both] for x in (a, b))
    first, second = _ordered(net, a, [*batch, *left, *inner]), _ordered(net, b, [*batch, *inner, *right])

    def size(labels: Sequence[str]) -> list[Size]:
        return [sizes[label] for label in labels]

    if inner:
        rows, depth, columns = (product(size(labels)) for labels in (left, inner, right))
        first = _reshaped(net, first, [*size(batch), rows, depth])
        second = _reshaped(net, second, [*size(batch), depth, columns])
        tensor = net.reshape(matrix_product(net, first, second), size([*batch, *left, *right]))
    else:
        first = _reshaped(net, first, [*size(batch), *size(left), *(1 for _ in right)])
        second = _reshaped(net, second, [*size(batch), *(1 for _ in left), *size(right)])
        tensor = binary(net, first, second, "PROD")
    return _Operand(tensor, (*batch, *left, *right))


def _summed(net: Network, x: _Operand, kept: Sequence[str] | set[str]) -> _Operand:
    axes = [axis for axis, label in enumerate(x.labels) if label not in kept]
    if not axes:
        return x
    floating = net.dtype(x.tensor).is_floating_point
    tensor = reduced(net, x.tensor if floating else net.cast(x.tensor, torch.int64), "SUM", axes)
    return _Operand(tensor, tuple(label for label in x.labels if label in kept))


def _ordered(net: Network, x: _Operand, labels: Sequence[str]) -> Any:
    order = [x.labels.index(label) for label in labels]
    return x.tensor.permute(order) if is_constant(x.tensor) else net.permute(x.tensor, order)


def _reshaped(net: Network, x: Any, shape: Sequence[Size]) -> Any:
    return x.reshape(shape) if is_constant(x) else net.reshape(x, shape)
