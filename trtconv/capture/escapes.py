"""Tensors of a capture that code keeps: in a dict, a closure, `functools.lru_cache`, by a hook.

They stand for values that aren't there, and the module would fail on them ever after. So when a capture ends each is
made the real tensor that a call with the example inputs would have left in its place.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch._subclasses.functional_tensor import FunctionalTensor, FunctionalTensorMode
from torch.utils._python_dispatch import _disable_current_modes

from trtconv.capture.constants import Constants
from trtconv.capture.replay import run
from trtconv.capture.trace import Call, Origin, Trace, live_calls, tensors_in


class NotingMode(FunctionalTensorMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """A functional mode that notes the tensors that it gives out, without keeping them."""

    def __init__(self) -> None:
        super().__init__()
        self._given: list[weakref.ref[FunctionalTensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        for tensor in tensors_in(result):
            if isinstance(tensor, FunctionalTensor):
                self.note(tensor)
        return result

    def note(self, tensor: FunctionalTensor) -> FunctionalTensor:
        """Note a tensor, and give it back."""
        self._given.append(weakref.ref(tensor))
        return tensor

    def escaped(self) -> list[FunctionalTensor]:
        """The tensors that somebody still holds; they are forgotten here."""
        if any(each() is not None for each in self._given):
            gc.collect()  # what only cycles hold
        alive = {id(tensor): tensor for each in self._given if (tensor := each()) is not None}
        self._given.clear()  # a tensor to which there are weak references can't be swapped
        return list(alive.values())


def make_real(
    escaped: Mapping[FunctionalTensor, torch.Tensor],
    constants: Constants,
    calls: Sequence[Call],
    inputs: Sequence[torch.Tensor],
    examples: Sequence[torch.Tensor],
    sizes: Mapping[Any, int],
) -> list[Origin]:
    """Put real tensors into the places of those that escaped a capture.

    Args:
        escaped: Each tensor that escaped, and the fake tensor behind it.
        calls, inputs: Of the capture.
        examples: The values of `inputs` to compute with.
        sizes: The sizes that the capture's symbols have there.

    Returns: where those were made that depend on an input.
    """
    dependent = [fake for fake in escaped.values() if not constants.is_constant(fake)]
    needed = live_calls(calls, dependent)
    settled = [constants.settled_call(call) for call in needed]
    makers = {id(tensor): call for call in needed for tensor in call.output_tensors()}
    known = [fake for fake in dependent if id(fake) in makers or any(fake is each for each in inputs)]
    with _disable_current_modes(), torch.no_grad():
        try:
            results = run(Trace(list(inputs), known, settled), examples, sizes)
        except (RuntimeError, ValueError, TypeError, IndexError):  # the capture ended early, or is of other sizes
            results = []
        values = dict(zip(map(id, known), results, strict=False))
        # A view holds its base, which can be swapped only when nothing else holds it.
        for tensor, fake in sorted(escaped.items(), key=lambda pair: not pair[0]._is_view()):
            if constants.is_constant(fake):
                real = constants.value(fake)
            else:  # nothing is known of what a function of the user's makes inside, which is recorded whole
                shape = [sizes.get(n.node.expr, 1) if isinstance(n, torch.SymInt) else n for n in fake.shape]
                real = values[id(fake)] if id(fake) in values else torch.zeros(shape, dtype=fake.dtype)
            torch.utils.swap_tensors(tensor, real.detach().clone())  # type: ignore[no-untyped-call]  # as above
    return [makers[id(fake)].origin for fake in dependent if id(fake) in makers]
