"""The three forms of a tensor in a capture.

Real ones come from outside: parameters, buffers, what a closure holds. Fake ones have shapes and dtypes but no values;
calls are recorded on them. The code sees functional ones, which wrap fake ones and give in-place calls and views
their meaning: what was written to gets another fake tensor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from trtconv.capture.aten import AtenLevel
from trtconv.capture.constants import Constants
from trtconv.capture.escapes import NotingMode
from trtconv.capture.trace import tensors_in
from trtconv.capture.unseen import unseen


class Forms:
    """Leads from each form of a tensor to the others.

    Args:
        aten: The mode of the fake tensors.
        constants: Keeps the stand-ins of real tensors.
    """

    def __init__(self, aten: AtenLevel, constants: Constants) -> None:
        self.mode = NotingMode()
        self._aten = aten
        self._constants = constants
        self._wrapped: dict[int, tuple[torch.Tensor, FunctionalTensor, torch.Tensor]] = {}

    def seen(self, tensor: torch.Tensor) -> FunctionalTensor:
        """What the code sees of a tensor: the same functional tensor each time."""
        if isinstance(tensor, FunctionalTensor):
            return tensor
        if torch._is_functional_tensor(tensor):
            return FunctionalTensor(tensor, self.mode)
        known = self._wrapped.get(id(tensor))
        if known is None:
            fake = self.stand_in(tensor)
            known = self._wrapped[id(tensor)] = (tensor, self.over(fake), fake)
        return known[1]

    def keep(self, buffer: torch.Tensor) -> FunctionalTensor:
        """What the code sees of a buffer that each call finds as the last one left it: an input."""
        self._constants.vary(self._aten, buffer)
        return self.seen(buffer)

    def value_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The fake tensor behind what the code sees, with everything written to it so far."""
        known = self._wrapped.get(id(tensor))
        if known is not None:
            tensor = known[1]
        elif torch._is_functional_tensor(tensor) and not isinstance(tensor, FunctionalTensor):
            tensor = FunctionalTensor(tensor, self.mode)
        return tensor.from_functional() if isinstance(tensor, FunctionalTensor) else self.stand_in(tensor)

    def stand_in(self, tensor: torch.Tensor) -> torch.Tensor:
        """The fake tensor that stands for a real one."""
        return tensor if isinstance(tensor, FakeTensor) else self._constants.stand_in(self._aten, tensor)

    def of_its_sizes(self, tensor: torch.Tensor) -> torch.Tensor:
        """A constant with a tensor's shape and dtype and no values of interest."""
        with unseen():
            real = torch.empty((), dtype=tensor.dtype, device=tensor.device).expand(tensor.shape)
        return self._constants.stand_in(self._aten, real)

    def over(self, fake: torch.Tensor) -> FunctionalTensor:
        """A functional tensor that wraps a fake one."""
        # FunctionalTensor.to_functional mirrors what autograd knows too, of which there is nothing here.
        with self._aten.silenced, unseen():
            return self.mode.note(FunctionalTensor(torch._to_functional_tensor(fake), self.mode))

    def release(self) -> list[FunctionalTensor]:
        """Let go of all functional tensors; return those that others still hold."""
        self._wrapped.clear()
        return self.mode.escaped()

    def written(self) -> list[torch.Tensor]:
        """The real tensors that the code wrote to."""
        return [real for real, seen, before in self._wrapped.values() if self.value_of(seen) is not before]


class Given:
    """The tensors that a function gets, as they were before the call."""

    def __init__(self, arguments: Any) -> None:
        self._versions = [(tensor, tensor._version) for tensor in tensors_in(arguments)]

    def is_apart_from(self, output: Any) -> bool:
        """Tell whether the function left them as they were, and no memory is shared among them and what it returned."""
        memory = {_memory(tensor) for tensor, _ in self._versions}
        results = [_memory(tensor) for tensor in tensors_in(output)]
        return (
            all(tensor._version == version for tensor, version in self._versions)
            and memory.isdisjoint(results)
            and len(set(results)) == len(results)
        )


def _memory(tensor: torch.Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address
