"""What the torch functions that the code calls give, so that it can be found in the network again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.functional_tensor import FunctionalTensor

from trtconv.capture.functions import FunctionLevel, Handler
from trtconv.capture.names import canonical_name
from trtconv.capture.trace import DependsOnInput, Origin, tensors_in


@dataclasses.dataclass(frozen=True, eq=False)
class Returned:
    """What a call of the code's gave: its tensors in order, None for those that no input reaches."""

    origin: Origin
    tensors: tuple[torch.Tensor | None, ...]


def results_of(args: tuple[Any, ...], result: Any) -> list[torch.Tensor]:
    """The tensors that a call gives: where it returns nothing, as ``x[0] = y``, what it writes to."""
    return tensors_in(args[:1] if result is None else result)


class NotingResults:
    """A handler of a `FunctionLevel` that hands all calls on to another, and notes what those of the code's own give.

    Args:
        handler: What the calls are handed on to; the calls that it makes in turn aren't the code's.
        origin: Finds the origin of the call under way by the function's name.
        value_of: Leads from what the code sees of a tensor to its fake one.
        depends_on_input: Tells whether what the code sees depends on an input.

    Attributes:
        calls: The calls so far that gave tensors.
    """

    def __init__(
        self,
        handler: Handler,
        origin: Callable[[str], Origin],
        value_of: Callable[[torch.Tensor], torch.Tensor],
        depends_on_input: DependsOnInput,
    ) -> None:
        self.calls: list[Returned] = []
        self._handler, self._origin = handler, origin
        self._value_of, self._depends_on_input = value_of, depends_on_input
        self._is_inside = False

    def __call__(
        self, level: FunctionLevel, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._is_inside:
            return self._handler(level, func, args, kwargs)
        self._is_inside = True
        try:
            result = self._handler(level, func, args, kwargs)
            tensors = results_of(args, result)
            if tensors:
                self.calls.append(Returned(self._origin(canonical_name(func)), tuple(map(self._fake, tensors))))
            return result
        finally:
            self._is_inside = False

    def _fake(self, tensor: torch.Tensor) -> torch.Tensor | None:
        if not isinstance(tensor, FunctionalTensor) or not self._depends_on_input(tensor):
            return None
        return self._value_of(tensor)
