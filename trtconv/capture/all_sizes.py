"""Whether a capture with symbolic sizes stands for all sizes: at the ends of the ranges it is compared with
captures of those very sizes."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sympy
import torch
from torch.utils import _pytree as pytree

from trtconv.capture.constants import READ_ONLY_SIZES
from trtconv.capture.names import canonical_name
from trtconv.capture.trace import Call, Origin

# They give their input's values again; torch leaves them out where a size of 1 makes a tensor contiguous.
_SAME_VALUES = ("clone", "alias", "detach", "contiguous", "_to_copy", "lift_fresh_copy")
_RESHAPES = ("view", "_unsafe_view", "reshape", "squeeze", "unsqueeze")


@dataclasses.dataclass(frozen=True)
class Difference:
    """The first call that two captures don't have in common.

    Attributes:
        call: That of the symbolic capture; None where it has none.
        origin: Where the call comes from.
        here: What the capture with numbers calls; "" of none.
        there: What the symbolic capture calls; "" of none.
    """

    call: Call | None
    origin: Origin
    here: str
    there: str

    def __str__(self) -> str:
        return f"{self.here or 'nothing'}, where other sizes lead to {self.there or 'nothing'}"


def difference(
    symbolic: tuple[Sequence[torch.Tensor], Sequence[Call]],
    static: tuple[Sequence[torch.Tensor], Sequence[Call]],
    sizes: Mapping[sympy.Symbol, int],
) -> Difference | None:
    """In what the calls of a symbolic capture, at these sizes, aren't those of a capture of these sizes.

    Both are given as inputs and calls.
    """
    calls = [list(_summary(*each, sizes)) for each in (symbolic, static)]
    for there, here in itertools.zip_longest(*calls):
        if there is None or here is None or there[1] != here[1]:
            call = None if there is None else there[0]
            origin = (here or there)[0].origin
            return Difference(call, origin, *("" if each is None else _show(each[1]) for each in (here, there)))
    return None


def _summary(
    inputs_of_trace: Sequence[torch.Tensor], calls: Sequence[Call], sizes: Mapping[sympy.Symbol, int]
) -> Iterator[tuple[Call, tuple[Any, ...]]]:
    """Each call that computes something of the inputs, as names and numbers."""
    dependent = {id(tensor) for tensor in inputs_of_trace}
    for call in calls:
        # What depends on sizes alone is a constant where the sizes are fixed.
        if call.target in READ_ONLY_SIZES or dependent.isdisjoint(id(tensor) for tensor in call.input_tensors()):
            continue
        dependent.update(id(tensor) for tensor in call.output_tensors())
        name = canonical_name(call.target).removeprefix("torch.ops.aten.").partition(".")[0]
        outputs = [_shape(tensor, sizes) for tensor in call.output_tensors()]
        inputs = [_shape(tensor, sizes) for tensor in call.input_tensors()]
        if name in _SAME_VALUES and call.input_tensors()[0].dtype is call.output_tensors()[0].dtype:
            continue
        if name in (*_RESHAPES, "expand"):
            if inputs[0] == outputs[0]:
                continue
            yield call, (name if name == "expand" else "reshape", outputs)
            continue
        yield call, (canonical_name(call.target), _plain((call.args, call.kwargs), sizes), outputs)


def _shape(tensor: torch.Tensor, sizes: Mapping[sympy.Symbol, int]) -> tuple[Any, ...]:
    return tuple(_number(size, sizes) for size in tensor.shape)


def _plain(arguments: Any, sizes: Mapping[sympy.Symbol, int]) -> list[Any]:
    leaves = pytree.tree_leaves(arguments)
    return [_shape(leaf, sizes) if isinstance(leaf, torch.Tensor) else _number(leaf, sizes) for leaf in leaves]


def _number(value: Any, sizes: Mapping[sympy.Symbol, int]) -> Any:
    if isinstance(value, (torch.SymInt, torch.SymFloat)):
        result = value.node.expr.subs(sizes)
        return int(result) if result.is_Integer else float(result) if result.is_number else result
    if isinstance(value, float) and math.isnan(value):
        return "nan"  # equal to itself, unlike the number
    # Slices end anywhere from the tensor's size on.
    return sys.maxsize if isinstance(value, int) and value > 2**62 else value


def _show(summary: tuple[Any, ...]) -> str:
    name, *rest = summary
    return f"{name} {' -> '.join(map(str, rest))}"
