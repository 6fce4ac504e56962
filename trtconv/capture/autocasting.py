"""What torch.autocast casts of the arguments of a function that is recorded whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch._subclasses.functional_tensor import disable_functional_mode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from trtconv.capture.recurrent import RECURRENT, RecurrentCall
from trtconv.capture.trace import map_tensors, tensors_in

Casts = dict[int, torch.dtype]
"""By the ids of tensors, the dtypes to which they are cast."""


def is_on(tensors: Sequence[torch.Tensor]) -> bool:
    """Tell whether torch.autocast casts the arguments of calls on these tensors."""
    return any(torch.is_autocast_enabled(device) for device in {tensor.device.type for tensor in tensors})


@contextmanager
def off(tensors: Sequence[torch.Tensor]) -> Iterator[None]:
    """A context in which autocast leaves these tensors alone."""
    with ExitStack() as stack:
        for device in {tensor.device.type for tensor in tensors}:
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def casts(
    silenced: AbstractContextManager[object],
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Casts | None:
    """The arguments that autocast casts in a call; None if it casts something inside the call.

    The call's operators under autocast are compared with those that it has, with these casts, without.

    Args:
        silenced: A context in which operators on fake tensors may be run.
        args, kwargs: The arguments, with fake tensors.
    """
    if func in RECURRENT:
        with silenced, disable_functional_mode():
            return _casts_of_recurrent(func, args)
    given = {id(tensor) for tensor in tensors_in((args, kwargs))}
    found: Casts = {}
    with silenced, disable_functional_mode():
        under: list[_Operator] = []
        for operator in _operators(func, args, kwargs):
            target, inputs, outputs = operator
            if target is torch.ops.aten._to_copy.default and id(inputs[0]) in given:
                if found.setdefault(id(inputs[0]), outputs[0].dtype) is not outputs[0].dtype:
                    return None
            else:
                under.append(operator)
        with off(tensors_in((args, kwargs))):
            cast_args, cast_kwargs = map_tensors(
                lambda tensor: tensor.to(found.get(id(tensor), tensor.dtype)), (args, kwargs)
            )
            without = _operators(func, cast_args, cast_kwargs)
    return found if list(map(_kind, under)) == list(map(_kind, without)) else None


def _casts_of_recurrent(func: Callable[..., Any], args: tuple[Any, ...]) -> Casts:
    """Inputs and parameters are cast. States are, too, where one step makes them so."""
    call = RecurrentCall.of(*args)
    x, states, options = call.input, call.states, call[4:9]
    before: Any = [state.new_empty((state.shape[0], 2, *state.shape[2:])) for state in states]
    before = before[0] if isinstance(call.initial, torch.Tensor) else before
    if call.sizes is not None:
        # Of different lengths: on CPUs torch has a layer of oneDNN's for sequences of one length, which casts more.
        with _disable_current_modes():
            sizes = torch.tensor([2, 1], device="cpu")
        _, *last = func(x.new_empty((3, x.shape[-1])), sizes, before, call.params, *options)
    else:
        _, *last = func(x.new_empty((1, 2, x.shape[-1])), before, call.params, *options, False)
    lower = torch.get_autocast_dtype(x.device.type)
    result = {id(tensor): lower for tensor in (x, *call.params) if tensor.dtype is not torch.float64}
    result.update({id(state): lower for state, after in zip(states, last, strict=True) if after.dtype is lower})
    return result


_Operator = tuple[Any, list[torch.Tensor], list[torch.Tensor]]


class _Log(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Writes down operators."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.operators: list[_Operator] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.operators.append((func, tensors_in((args, kwargs)), tensors_in(output)))
        return output


def _operators(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[_Operator]:
    log = _Log()
    with log:
        func(*args, **kwargs)
    return log.operators


def _kind(operator: _Operator) -> tuple[Any, list[torch.dtype]]:
    target, _, outputs = operator
    return target, [tensor.dtype for tensor in outputs]
