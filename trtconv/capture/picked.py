"""Elements that a mask picks, of which it isn't known how many there are.

``x[mask]`` of a mask that depends on an input stays all elements of `x`, the mask's axes made one. What is computed
of them element by element, or row by row, is right for those that the mask picks; written to the places of the same
mask it is a choice by the mask.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from trtconv.capture.names import canonical_name, property_name
from trtconv.capture.switch import Switch
from trtconv.capture.trace import Call, DependsOnInput, Origin, tensors_in
from trtconv.errors import DataDependentError
from trtconv.sizes import is_same, same

_aten = torch.ops.aten


@dataclasses.dataclass(frozen=True)
class Pick:
    """What is known of picked elements.

    Attributes:
        mask: The mask that picks them.
        axis: Which axis they are along, counted from the last one, -1.
        origin: Where it picks them.
    """

    mask: torch.Tensor
    axis: int
    origin: Origin


class PickedElements:
    """Knows which tensors of a capture stand for elements that a mask picks.

    Args:
        value_of: Gives the fake tensor behind what the code sees.
        origin: Tells where the call under way comes from.
        calls: The calls recorded so far.
    """

    def __init__(
        self,
        value_of: Callable[[torch.Tensor], torch.Tensor],
        origin: Callable[[], Origin],
        calls: Sequence[Call],
    ) -> None:
        self._value_of, self._origin, self._calls = value_of, origin, calls
        self._picks: dict[int, tuple[torch.Tensor, Pick]] = {}
        self._writing = Switch()

    def functions(self) -> dict[Any, Callable[..., Any]]:
        """The functions to run instead of torch's; NotImplemented where no mask picks elements."""
        tensor = torch.Tensor
        return {
            tensor.__getitem__: self._getitem,
            tensor.__setitem__: self._setitem,
            **dict.fromkeys((torch.masked_select, tensor.masked_select), self._masked_select),
            **dict.fromkeys((torch.masked_scatter, tensor.masked_scatter), self._masked_scatter),
        }

    def any(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Tell whether picked elements are among some tensors of the code."""
        return bool(self._picks) and not self._writing and any(self._pick(each) is not None for each in tensors)

    def check(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> bool:
        """Tell whether a call computes with picked elements; its results are such elements too.

        Raises:
            DataDependentError: what it computes depends on how many there are, or on their places.
        """
        if not self._picks or self._writing:
            return False
        picks = [pick for each in tensors_in((args, kwargs)) if (pick := self._pick(each)) is not None]
        if not picks:
            return False
        axis = self._axis_after(target, args, kwargs, picks)
        if axis is None:
            raise self._refusal(target if isinstance(target, OpOverload) else canonical_name(target))
        for each in tensors_in(output):
            self._picks[id(each)] = (each, dataclasses.replace(picks[0], axis=axis))
        return True

    def check_description(self, func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Refuse to say how many elements are picked."""
        name = (property_name(func) or getattr(func, "__name__", "")) if self._picks else ""
        if name in _SIZES and self.any(args[:1]):
            raise self._refusal(name)

    def check_results(self, tensors: Sequence[torch.Tensor]) -> None:
        """Refuse picked elements as results."""
        picks = [pick for each in tensors if (pick := self._pick(each)) is not None]
        if picks:
            raise DataDependentError(_RESULT.format(origin=picks[0].origin))

    def _pick(self, tensor: torch.Tensor) -> Pick | None:
        found = self._picks.get(id(self._value_of(tensor)))
        return None if found is None else found[1]

    # -- which calls keep the elements apart ------------------------------------------------------

    def _axis_after(self, target: Any, args: Any, kwargs: Any, picks: Sequence[Pick]) -> int | None:
        """Along which axis of its results a call leaves the elements; None if it doesn't keep them apart."""
        axis = picks[0].axis
        if not isinstance(target, OpOverload) or any(each.axis != axis for each in picks):
            return None
        if not all(self._are_same(each.mask, picks[0].mask) for each in picks[1:]):
            return None
        if torch.Tag.pointwise in target.tags or target in _ELEMENTWISE:
            others = (each for each in tensors_in((args, kwargs)) if self._pick(each) is None)
            return axis if not any(_reaches(each, axis) for each in others) else None
        place = _ROWS.get(target, 0)
        if len(picks) > 1 or not isinstance(args[place], torch.Tensor) or self._pick(args[place]) is None:
            return None
        rank = args[place].dim()
        if target is _aten.embedding.default:
            return axis - 1
        if target in _PRODUCTS:
            bias = args[0] if target is _aten.addmm.default else None
            return axis if axis <= -2 and not (bias is not None and _reaches(bias, axis)) else None
        if target is _aten.native_layer_norm.default:
            return axis if len(args[1]) < -axis else None
        if target in _REDUCTIONS:
            dims = (
                {dim % rank for dim in args[1] or range(rank)}
                if isinstance(args[1], (list, tuple))
                else set(range(rank))
            )
            keepdim = len(args) > 2 and args[2]
            return None if rank + axis in dims else axis + (0 if keepdim else sum(dim > rank + axis for dim in dims))
        if target in _SOFTMAX:
            return axis if args[1] % rank != rank + axis else None
        return None

    def _are_same(self, a: Any, b: Any) -> bool:
        """Whether two masks are one, or the same function of the same tensors."""
        if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
            return type(a) is type(b) and bool(a == b)
        if a is b:
            return True
        makers = [next((c for c in self._calls if c.output is each), None) for each in (a, b)]
        if makers[0] is None or makers[1] is None or makers[0].target != makers[1].target:
            return False
        first, second = (
            [*torch.utils._pytree.tree_leaves((call.args, call.kwargs))] for call in makers if call is not None
        )
        return len(first) == len(second) and all(map(self._are_same, first, second))

    # -- picking and writing back -----------------------------------------------------------------

    def _getitem(self, depends: DependsOnInput, x: torch.Tensor, key: Any) -> Any:
        found = _mask_of(depends, x, key)
        return NotImplemented if found is None else self._picked(*found)

    def _masked_select(self, depends: DependsOnInput, input: torch.Tensor, mask: torch.Tensor) -> Any:
        return NotImplemented if not same(input.shape, mask.shape) else self._getitem(depends, input, mask)

    def _picked(self, x: torch.Tensor, mask: torch.Tensor, axis: int) -> torch.Tensor:
        with self._writing:
            elements = x.flatten(axis, axis + mask.dim() - 1).clone()
            fake = self._value_of(elements)
            self._picks[id(fake)] = (fake, Pick(self._value_of(mask), axis - elements.dim(), self._origin()))
            return elements

    def _setitem(self, depends: DependsOnInput, x: torch.Tensor, key: Any, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not self.any([value]):
            return NotImplemented
        found = _mask_of(depends, x, key)
        if found is None or not self._is_written(*found, value):
            raise self._refusal("__setitem__")
        return None

    def _masked_scatter(self, depends: DependsOnInput, input: Any, mask: Any, source: Any) -> Any:
        if not self.any([source]):
            return NotImplemented
        result = input.clone()
        fits = source.dim() == 1 and same(input.shape, mask.shape)
        if not fits or not self._is_written(result, mask, 0, source):
            raise self._refusal("masked_scatter")
        return result

    def _is_written(self, x: torch.Tensor, mask: torch.Tensor, axis: int, value: torch.Tensor) -> bool:
        """Write elements to the places of a mask, if that is the one that picked them."""
        pick, after = self._pick(value), x.dim() - axis - mask.dim()
        if pick is None or pick.axis != -1 - after or not self._are_same(pick.mask, self._value_of(mask)):
            return False
        with self._writing:
            places = mask.bool().reshape([*mask.shape, *(1 for _ in range(after))])
            values = torch.unflatten(value, pick.axis, mask.shape)
            x.copy_(torch.where(places, values, x))
        return True

    def _refusal(self, func: object) -> DataDependentError:
        return DataDependentError(_READ.format(origin=self._origin(), func=func))


def _mask_of(depends: DependsOnInput, x: torch.Tensor, key: Any) -> tuple[torch.Tensor, torch.Tensor, int] | None:
    """What is left of `x` by the numbers and slices of an index, the mask among them, and its first axis there."""
    places = list(key) if isinstance(key, tuple) else [key]
    masks = [each for each in places if isinstance(each, torch.Tensor)]
    if len(masks) != 1 or masks[0].dtype not in (torch.bool, torch.uint8) or not masks[0].dim():
        return None
    mask = masks[0]
    if not depends(mask) or not all(each is mask or _is_basic(each) for each in places):
        return None
    place = next(place for place, each in enumerate(places) if each is mask)
    before, after = places[:place], places[place + 1 :]
    view = x
    if after or before:
        view = x[(*before, *(slice(None) for _ in range(mask.dim())), *after)]
    axis = sum(each is None or isinstance(each, slice) for each in before)
    if Ellipsis in before:
        axis = view.dim() - mask.dim() - sum(each is None or isinstance(each, slice) for each in after)
    if not same(view.shape[axis : axis + mask.dim()], mask.shape):
        return None
    return view, mask, axis


def _is_basic(index: Any) -> bool:
    return index is None or index is Ellipsis or isinstance(index, slice) or type(index) is int


def _reaches(tensor: torch.Tensor, axis: int) -> bool:
    """Whether a tensor has values of its own along an axis counted from the last."""
    return tensor.dim() >= -axis and not is_same(tensor.shape[axis], 1)


_SIZES = frozenset({"shape", "size", "numel", "nelement", "__len__"})

_ELEMENTWISE = frozenset(
    {
        *(_aten._to_copy.default, _aten.clone.default, _aten.alias.default, _aten.detach.default, _aten.copy.default),
        *(_aten.zeros_like.default, _aten.ones_like.default, _aten.full_like.default),
        *(_aten.zero.default, _aten.fill.Scalar, _aten.fill.Tensor),
    }
)
_PRODUCTS = frozenset({_aten.mm.default, _aten.addmm.default, _aten.linear.default})
_SOFTMAX = frozenset({_aten._softmax.default, _aten._log_softmax.default, _aten.softmax.int, _aten.log_softmax.int})
_REDUCTIONS = frozenset({_aten.sum.dim_IntList, _aten.mean.dim, _aten.amax.default, _aten.amin.default})
_ROWS = {_aten.addmm.default: 1, _aten.embedding.default: 1}
"""Where the argument is whose rows such operators keep apart, if that isn't the first."""

_READ = (
    "{origin}: {func} reads elements that a mask picks, and how many these are depends on the values of an input, "
    "while an engine's layers have sizes that follow from the inputs' sizes. Computed element by element they may be "
    "written to the places of the same mask (y[mask] = f(y[mask])). For all else compute all places and mask the "
    "unwanted ones (torch.where, multiplication by the mask), or convert the submodules around this line and leave it "
    "in PyTorch."
)
_RESULT = (
    "{origin}: the module's result holds elements that a mask picks here, and how many these are depends on the "
    "values of an input. Return all places, and the mask beside them."
)
