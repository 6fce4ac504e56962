"""Products of rows with the matrix of their group: layers of experts.

TensorRT has a layer for that, but not for most GPUs. Here every row is multiplied by every matrix, and the
product with its own is kept: as much work for each group as torch does for all.
"""

from __future__ import annotations

from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.converters.creation import sequence
from trtconv.emit.network import Network
from trtconv.emit.registry import converter
from trtconv.errors import UnsupportedArgumentError

aten = torch.ops.aten


@converter(aten._grouped_mm.default)
def grouped_mm(net: Network, x: Any, mat2: Any, offs: Any) -> Any:
    """The rows of `x` up to offs[0] times mat2[0], those up to offs[1] times mat2[1], and so on."""
    left, right = net.shape(x), net.shape(mat2)
    if len(left) == len(right) == 3:
        return net.matmul(x, mat2)
    if len(left) != 2 or len(right) != 3:
        raise UnsupportedArgumentError("groups of columns or of the second operand's rows have no layers")
    return rows_by_group(net, x, mat2, offs)


@converter("transformers.grouped_mm_fallback.default")
def rows_by_group(net: Network, input: Any, weight: Any, offs: Any) -> Any:
    """For each row the product with the matrix of its group; 0 for rows after the last group."""
    rows, groups = net.shape(input)[0], net.shape(weight)[0]
    products = net.matmul(input, weight)
    # A row's group is the number of groups that end before it.
    number = net.add(net.reshape(sequence(net, rows), (1, rows)), 1)
    ends = net.reshape(net.cast(offs, torch.int64), (groups, 1))
    is_over = net.elementwise(ends, number, trt.ElementWiseOperation.LESS)
    group = net.reduce(net.cast(is_over, torch.int64), trt.ReduceOperation.SUM, [0], True)
    is_own = net.elementwise(group, net.reshape(sequence(net, groups), (groups, 1)), trt.ElementWiseOperation.EQUAL)
    own = net.select(net.reshape(is_own, (groups, rows, 1)), products, 0, net.output.dtype)
    return net.reduce(own, trt.ReduceOperation.SUM, [0], False)
