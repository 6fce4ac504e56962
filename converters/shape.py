"""Views, permutations, and the parts and joins of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError
from trtconv.sizes import Size, is_same, product, same
from trtconv.sizes.bounds import counted_from_start, slice_of

aten = torch.ops.aten


@converter(
    aten.alias.default,
    aten.alias_copy.default,
    aten.clone.default,
    aten.detach.default,
    aten.detach_copy.default,
    aten.lift_fresh_copy.default,
)
def same_values(net: Network, x: Any, memory_format: object = None) -> Any:
    """The same values: a network's tensors are never written to, and their layout isn't seen."""
    return x


@converter(
    aten.view.default,
    aten.view_copy.default,
    aten._unsafe_view.default,
    aten._reshape_alias.default,
    aten._reshape_alias_copy.default,
    aten.reshape.default,
    aten.squeeze.default,
    aten.squeeze_copy.default,
    aten.squeeze.dim,
    aten.squeeze_copy.dim,
    aten.squeeze.dims,
    aten.squeeze_copy.dims,
    aten.unsqueeze.default,
    aten.unsqueeze_copy.default,
)
def view(net: Network, x: Any, size: object = None, dim: object = None, stride: object = None) -> Any:
    return net.reshape(x, net.output.shape)


@converter(aten.permute.default, aten.permute_copy.default)
def permute(net: Network, x: Any, dims: Sequence[int]) -> Any:
    return net.permute(x, [d % len(dims) for d in dims])


@converter(aten.transpose.int, aten.transpose_copy.int)
def transpose(net: Network, x: Any, dim0: int, dim1: int) -> Any:
    order = list(range(len(net.shape(x))))
    if order:
        order[dim0], order[dim1] = order[dim1], order[dim0]
    return net.permute(x, order)


@converter(aten.t.default, aten.t_copy.default)
def t(net: Network, x: Any) -> Any:
    return net.permute(x, range(len(net.shape(x)))[::-1])


@converter(aten.expand.default, aten.expand_copy.default)
def expand(net: Network, x: Any, size: Sequence[Size], implicit: bool) -> Any:
    return net.expand(x, net.output.shape)


def part(net: Network, x: Any, dim: int, start: Size, size: Size, step: Size = 1) -> Any:
    """`size` elements of `x` from `start` on along `dim`."""
    shape = net.shape(x)
    dim %= len(shape)
    starts = [start if axis == dim else 0 for axis in range(len(shape))]
    sizes = [size if axis == dim else n for axis, n in enumerate(shape)]
    strides = [step if axis == dim else 1 for axis in range(len(shape))]
    return net.slice(x, starts, sizes, strides)


@converter(aten.slice.Tensor, aten.slice_copy.Tensor)
def slice_(net: Network, x: Any, dim: int, start: Size | None, end: Size | None, step: int) -> Any:
    begin, count = slice_of(net.shape(x)[dim], start, end, step)
    return part(net, x, dim, begin, count, step)


@converter(aten.narrow_copy.default)
def narrow_copy(net: Network, x: Any, dim: int, start: Size, length: Size) -> Any:
    return part(net, x, dim, counted_from_start(start, net.shape(x)[dim]), length)


@converter(aten.select.int, aten.select_copy.int)
def select(net: Network, x: Any, dim: int, index: Size) -> Any:
    return net.reshape(part(net, x, dim, counted_from_start(index, net.shape(x)[dim]), 1), net.output.shape)


@converter(
    aten.split.Tensor,
    aten.split_copy.Tensor,
    aten.split_with_sizes.default,
    aten.split_with_sizes_copy.default,
    aten.unsafe_split.Tensor,
    aten.unsafe_split_with_sizes.default,
)
def split(net: Network, x: Any, split_size: Size = 0, split_sizes: Sequence[Size] = (), dim: int = 0) -> list[Any]:
    assert net.call is not None
    parts, start = [], 0
    for output in net.call.output_tensors():
        size = output.shape[dim]
        parts.append(part(net, x, dim, start, size))
        start += size
    return parts


@converter(aten.cat.default)
def cat(net: Network, tensors: Sequence[Any], dim: int) -> Any:
    # torch leaves out empty tensors of shape [0], whatever the shapes of the others.
    operands = [net.tensor(x, net.output.dtype) for x in tensors if not same(net.shape(x), (0,))]
    return net.concatenate(operands, dim % len(net.output.shape))


@converter(aten.resize_as.default)
def resize_as(net: Network, x: Any, the_template: Any) -> Any:
    """The same elements in another tensor's shape; torch would leave elements without a value, or out."""
    shape = net.shape(the_template)
    if not is_same(product(net.shape(x)), product(shape)):
        raise UnsupportedArgumentError("the other tensor has more or fewer elements")
    return net.reshape(x, shape)


@converter(aten.stack.default)
def stack(net: Network, tensors: Sequence[Any], dim: int) -> Any:
    """A concatenation along a new axis."""
    shape = list(net.output.shape)
    dim %= len(shape)
    shape[dim] = 1
    return net.concatenate([net.reshape(net.cast(x, net.output.dtype), shape) for x in tensors], dim)


@converter(aten.unbind.int, aten.unbind_copy.int)
def unbind(net: Network, x: Any, dim: int) -> list[Any]:
    assert net.call is not None
    count = len(net.call.output_tensors())
    return [net.reshape(part(net, x, dim, index, 1), net.output.shape) for index in range(count)]
