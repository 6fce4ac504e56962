"""Compute in int32 what the module computes in uint8, int8, int16 and uint16, in which TensorRT doesn't compute.

Each tensor of a short integer is carried as int32 with the values that torch has; a result that may leave the
range of its dtype is wrapped as torch wraps it. At the module's edges uint8 and int8 are cast by the engine, so that it
reads and writes bytes; the others, which TensorRT doesn't have, are cast by `TRTModule`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from trtconv.capture.names import canonical_name
from trtconv.capture.trace import Call, Origin, Target, Trace, is_activation, map_tensors
from trtconv.dtypes import BYTES
from trtconv.passes.recording import recorded

aten = torch.ops.aten

SHORT = (torch.uint8, torch.int8, torch.int16, torch.uint16)


def use_int32(trace: Trace) -> Trace:
    """Return the trace with int32 in the place of shorter integers."""
    edges = (*trace.inputs, *trace.outputs)
    if not any(map(_is_short, edges)) and not any(map(_has_short, trace.calls)):
        return trace
    rewrite = _Rewrite(trace)
    for call in trace.calls:
        for part in _parts(call):
            rewrite(part)
    outputs = [rewrite.output(tensor) for tensor in trace.outputs]
    return Trace(rewrite.inputs, outputs, rewrite.calls)


def _is_short(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in SHORT


def _has_short(call: Call) -> bool:
    return any(map(_is_short, (*call.input_tensors(), *call.output_tensors())))


def _parts(call: Call) -> list[Call]:
    """A mean of short integers in calls whose results wrap each: the sum and the number of elements do before it."""
    operator = _operator(call.target)
    if operator not in (aten.scatter_reduce, aten.index_reduce) or not _has_short(call):
        return [call]
    names = [argument.name for argument in call.target._schema.arguments]  # type: ignore[attr-defined]  # an operator
    given = {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    included = given.pop("include_self", True)
    x, dim, index, source, reduce = (given[name] for name in names[:5])
    if reduce != "mean":
        return [call]
    fill, add = (
        (aten.scatter.value, aten.scatter_add.default)
        if operator is aten.scatter_reduce
        else (aten.index_fill.int_Scalar, aten.index_add.default)
    )
    calls: list[Call] = []
    with recorded(calls, call.origin, *call.output_tensors()):
        ones = torch.ones_like(x)
        total = add(x if included else fill(x, dim, index, 0), dim, index, source)
        count = add(ones if included else torch.zeros_like(x), dim, index, torch.ones_like(source))
        torch.div(total, count.masked_fill(count == 0, 1), rounding_mode="floor")
    calls[-1] = dataclasses.replace(calls[-1], output=call.output)
    return calls


class _Rewrite:
    """The inputs and calls so far, and the int32 tensors that carry the trace's short integers."""

    def __init__(self, trace: Trace) -> None:
        self.calls: list[Call] = []
        self._carriers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._origins = {id(each): call.origin for call in trace.calls for each in call.output_tensors()}
        self._taken = {id(each) for call in trace.calls for each in call.input_tensors()}
        self.inputs = [self._input(tensor, trace) for tensor in trace.inputs]
        self._passed_on = {id(tensor) for tensor in self.inputs}

    def _input(self, tensor: torch.Tensor, trace: Trace) -> torch.Tensor:
        if not _is_short(tensor):
            return tensor
        if tensor.dtype not in BYTES:
            return self._carrier(tensor)
        if id(tensor) in self._taken:
            origin = next(call.origin for call in trace.calls if any(each is tensor for each in call.input_tensors()))
            self._carriers[id(tensor)] = (tensor, self._cast(tensor, torch.int32, origin))
        return tensor

    def output(self, tensor: torch.Tensor) -> torch.Tensor:
        """What the engine gives for a result."""
        if not _is_short(tensor) or id(tensor) in self._passed_on:
            return tensor
        if tensor.dtype not in BYTES:
            return self._carrier(tensor)
        if not is_activation(tensor):
            return tensor
        return self._cast(self._carrier(tensor), tensor.dtype, self._origins.get(id(tensor), Origin("", "", 0, "")))

    def __call__(self, call: Call) -> None:
        if not _has_short(call):
            self.calls.append(call)
            return
        common = _common_dtype(call)
        args, kwargs = self._arguments(call, common)
        target = call.target
        if target is aten.view.dtype and _keeps_values(call):
            target, args, kwargs = aten._to_copy.default, args[:1], {"dtype": torch.int32}
        wrapped = not _stays_in_range(call)
        kind = torch.bool if _operator(call.target) in _OF_TRUTH else torch.int32
        raw = {id(each): self._result(each, wrapped, kind) for each in call.output_tensors()}
        output = map_tensors(lambda each: raw[id(each)], call.output)
        self.calls.append(dataclasses.replace(call, target=target, args=args, kwargs=kwargs, output=output))
        for each in call.output_tensors():
            if wrapped and _is_short(each):
                result = raw[id(each)]
                if kind is torch.bool:
                    carrier = self._cast(result, torch.int32, call.origin)
                else:
                    carrier = self._wrapped(result, each.dtype, call.origin)
                self._carriers[id(each)] = (each, carrier)

    def _arguments(self, call: Call, common: torch.dtype | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments in int32, numbers of another range as torch takes them."""
        packet = _operator(call.target)

        def replaced(value: Any) -> Any:
            if value is None or isinstance(value, (bool, str)):
                return value
            if isinstance(value, torch.dtype):
                return torch.int32 if value in SHORT else value
            if isinstance(value, torch.Tensor):
                return self._operand(value, call, common if packet in _PROMOTING else None)
            if isinstance(value, int) and common in SHORT and packet in _PROMOTING:
                limited = packet in _CLAMPS and _bounds_are_limited()
                return _limited(value, common) if limited else _wrapped_number(value, common)
            return value

        args, kwargs = pytree.tree_map(replaced, (call.args, call.kwargs))
        return args, kwargs

    def _operand(self, tensor: torch.Tensor, call: Call, common: torch.dtype | None) -> torch.Tensor:
        carrier = self._carrier(tensor) if _is_short(tensor) else tensor
        if common not in SHORT or tensor.dtype in (common, torch.bool) or tensor.is_floating_point():
            return carrier
        if not is_activation(tensor):
            return tensor.to(common).to(torch.int32)
        if _fits(tensor.dtype, common):
            return carrier
        whole = carrier if carrier.dtype is torch.int32 else self._cast(carrier, torch.int32, call.origin)
        return self._wrapped(whole, common, call.origin)

    def _carrier(self, tensor: torch.Tensor) -> torch.Tensor:
        """The int32 tensor that carries a short integer."""
        if id(tensor) not in self._carriers:
            self._carriers[id(tensor)] = (tensor, _carrying(tensor, torch.int32))
        return self._carriers[id(tensor)][1]

    def _result(self, tensor: torch.Tensor, wrapped: bool, dtype: torch.dtype) -> torch.Tensor:
        if not _is_short(tensor):
            return tensor
        return _carrying(tensor, dtype) if wrapped else self._carrier(tensor)

    def _cast(self, tensor: torch.Tensor, dtype: torch.dtype, origin: Origin) -> torch.Tensor:
        if not is_activation(tensor):
            return tensor.to(dtype)
        with recorded(self.calls, origin, tensor):
            result: torch.Tensor = aten._to_copy(tensor, dtype=dtype)
        return result

    def _wrapped(self, x: torch.Tensor, dtype: torch.dtype, origin: Origin) -> torch.Tensor:
        """The number of `dtype` that is the same modulo 2^bits."""
        limits = torch.iinfo(dtype)
        with recorded(self.calls, origin, x):
            if limits.min == 0:
                return torch.remainder(x, limits.max + 1)
            return torch.remainder(x - limits.min, 1 << limits.bits) + limits.min


def _carrying(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A new tensor of the trace, or a constant, like another but of another dtype."""
    if not is_activation(value):
        return value.detach().to(dtype)
    mode: Any = value.fake_mode  # type: ignore[attr-defined]  # it is a FakeTensor
    with mode, mode.silenced:
        return torch.empty_like(value, dtype=dtype)


def _wrapped_number(value: int, dtype: torch.dtype) -> int:
    limits = torch.iinfo(dtype)
    return (value - limits.min) % (1 << limits.bits) + limits.min


def _limited(value: int, dtype: torch.dtype) -> int:
    limits = torch.iinfo(dtype)
    return min(max(value, limits.min), limits.max)


@functools.cache
def _bounds_are_limited() -> bool:
    """Whether a bound that a dtype doesn't hold bounds nothing, as from torch 2.15 on; before, it was wrapped."""
    return int(torch.zeros(1, dtype=torch.uint8, device="cpu").clamp(min=-1)) == 0


def _fits(dtype: torch.dtype, other: torch.dtype) -> bool:
    """Whether a dtype's numbers all are numbers of another."""
    ours, theirs = torch.iinfo(dtype), torch.iinfo(other)
    return theirs.min <= ours.min and ours.max <= theirs.max


def _operator(target: Target) -> Any:
    return target.overloadpacket if isinstance(target, OpOverload) else canonical_name(target)


def _common_dtype(call: Call) -> torch.dtype | None:
    """The dtype in which torch computes a call whose operands are promoted."""
    tensors = call.input_tensors()
    if not tensors or _operator(call.target) not in _PROMOTING:
        return None
    if _without_rounding(call):
        return None
    if any(isinstance(each, float) for each in pytree.tree_leaves((call.args, call.kwargs))):
        return None
    by_axes = [[each for each in tensors if bool(each.dim()) is has_axes] for has_axes in (True, False)]
    first, second = (_promoted([each.dtype for each in group]) for group in by_axes)
    if first is None or second is None:
        return first or second
    return torch.promote_types(first, second) if _category(second) > _category(first) else first


def _without_rounding(call: Call) -> bool:
    """Whether it is a division that asks for none of the ways to round."""
    return _operator(call.target) is aten.div and call.kwargs.get("rounding_mode") is None


def _promoted(dtypes: Sequence[torch.dtype]) -> torch.dtype | None:
    return functools.reduce(torch.promote_types, dtypes) if dtypes else None


def _category(dtype: torch.dtype) -> int:
    return 0 if dtype is torch.bool else 2 if dtype.is_floating_point else 1


def _keeps_values(call: Call) -> bool:
    """Whether bits that are read as another dtype are the same number, but for a wrap."""
    (before, *_), (after,) = call.input_tensors(), call.output_tensors()
    integers = {*SHORT, torch.bool}
    return before.dtype.itemsize == after.dtype.itemsize and {before.dtype, after.dtype} <= integers


def _stays_in_range(call: Call) -> bool:
    """Whether a call on numbers of its results' dtypes gives such numbers."""
    packet = _operator(call.target)
    dtypes = {each.dtype for each in call.output_tensors() if _is_short(each)}
    if not dtypes:
        return True
    limits = torch.iinfo(next(iter(dtypes)))
    numbers = [each for each in pytree.tree_leaves((call.args, call.kwargs)) if isinstance(each, (int, float))]
    if packet in _CHOOSING:
        given = {each.dtype for each in call.input_tensors()} - {torch.bool}
        return given <= dtypes and all(limits.min <= each <= limits.max for each in numbers)
    return packet in _MOVING


# They give elements of their first operand.
_MOVING = {
    *(aten.view, aten._unsafe_view, aten.reshape, aten._reshape_alias, aten.expand, aten.permute, aten.transpose),
    *(aten.t, aten.squeeze, aten.unsqueeze, aten.slice, aten.select, aten.split, aten.split_with_sizes),
    *(aten.unsafe_split, aten.unbind, aten.clone, aten.alias, aten.detach, aten.lift_fresh_copy, aten.diagonal),
    *(aten.flip, aten.roll, aten.repeat, aten.unfold, aten.index, aten.index_select, aten.gather, aten.as_strided),
    *(aten.tril, aten.triu, aten.sort, aten.topk, aten.max, aten.min, aten.amax, aten.amin, aten.relu, aten.sign),
    *(aten.pixel_shuffle, aten.pixel_unshuffle, aten.channel_shuffle, aten.max_pool2d_with_indices),
    *(aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d),
}

# They give elements of their operands, or bits of them.
_CHOOSING = {
    *(aten.cat, aten.stack, aten.where, aten.copy, aten.maximum, aten.minimum, aten.masked_fill, aten.clamp),
    *(aten.clamp_min, aten.clamp_max, aten.constant_pad_nd, aten.slice_scatter, aten.select_scatter),
    *(aten.bitwise_and, aten.bitwise_or, aten.bitwise_xor, aten.remainder, aten.fmod, aten.bitwise_right_shift),
    *(aten.fill, aten.index_put, aten.scatter),
}

# They compute in the common dtype of their operands, and the result isn't the same if it is wrapped only afterwards.
_PROMOTING = {
    *(aten.eq, aten.ne, aten.lt, aten.le, aten.gt, aten.ge, aten.clamp, aten.clamp_min, aten.clamp_max),
    *(aten.maximum, aten.minimum, aten.fmax, aten.fmin, aten.floor_divide, aten.remainder, aten.fmod),
    *(aten.bitwise_left_shift, aten.bitwise_right_shift, aten.__lshift__, aten.__rshift__, aten.gcd, aten.lcm),
    *(aten.bitwise_and, aten.bitwise_or, aten.bitwise_xor, aten.pow, aten.div),
}

_CLAMPS = {aten.clamp, aten.clamp_min, aten.clamp_max}

# They give truth values, of bytes as bytes.
_OF_TRUTH = {aten.any, aten.all}
