"""Tensors of a forward pass that depend on no input: parameters, buffers, and what is computed of them.

Their values are computed when something asks for them, never before: what nothing needs costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree

from trtconv.calling.structure import as_plain
from trtconv.capture.fake_results import fake_like
from trtconv.capture.recorder import current
from trtconv.capture.source import obstacle
from trtconv.capture.trace import Call, Origin, bind, map_tensors, tensors_in
from trtconv.capture.unseen import unseen
from trtconv.errors import CaptureError

_aten = torch.ops.aten
READ_ONLY_SIZES = frozenset(
    {
        *(_aten.zeros_like.default, _aten.ones_like.default, _aten.full_like.default, _aten.empty_like.default),
        *(_aten.new_zeros.default, _aten.new_ones.default, _aten.new_full.default, _aten.new_empty.default),
        *(_aten.zero.default, _aten.fill.Scalar),
    }
)
"""Operators whose result doesn't depend on their argument's values."""


def is_fixed(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operator of constants gives the same from call to call: it isn't random, and takes no dynamic size."""
    if torch.Tag.nondeterministic_seeded in func.tags and bind(func, args, kwargs).get("dropout_p", True):
        return False  # attention's is random only with dropout
    leaves = pytree.tree_leaves((args, kwargs))
    return not any(isinstance(leaf, (torch.SymInt, torch.SymFloat, torch.SymBool)) for leaf in leaves)


class Constants:
    """Knows which fake tensors are constants, and their values."""

    def __init__(self) -> None:
        self._values: dict[int, torch.Tensor] = {}
        self._thunks: dict[int, tuple[OpOverload, tuple[Any, ...], dict[str, Any], Any]] = {}
        self._origins: dict[int, Origin] = {}
        self._stand_ins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._read: list[torch.Tensor] = []

    def stand_in(self, mode: FakeTensorMode, real: torch.Tensor) -> torch.Tensor:
        """The fake tensor that stands for a real one; always the same for the same tensor."""
        known = self._stand_ins.get(id(real))
        if known is not None:
            return known[1]
        why = obstacle(real)
        if why:
            raise CaptureError(f"the forward pass uses a tensor that is {why}")
        plain = as_plain(real)
        fake = fake_like(mode, plain)
        # The real tensor is kept too: an id means something only while its object lives.
        self._stand_ins[id(real)] = (real, fake)
        self._values[id(fake)] = plain
        return fake

    def vary(self, mode: FakeTensorMode, real: torch.Tensor) -> None:
        """Say that a real tensor isn't a constant: calls change it."""
        self._stand_ins[id(real)] = (real, fake_like(mode, as_plain(real)))

    def is_constant(self, tensor: torch.Tensor) -> bool:
        """Tell whether a tensor is real, or a fake one that depends on no input."""
        return not isinstance(tensor, FakeTensor) or id(tensor) in self._values or id(tensor) in self._thunks

    def all_constant(self, structure: Any) -> bool:
        """Tell whether every tensor in nested containers is a constant."""
        return all(self.is_constant(tensor) for tensor in tensors_in(structure))

    def define(
        self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, origin: Origin
    ) -> None:
        """Say that `func(*args, **kwargs)`, all constants, computes the fake tensors in `output`."""
        for tensor in tensors_in(output):
            self._thunks.setdefault(id(tensor), (func, args, kwargs, output))
            self._origins[id(tensor)] = origin

    def origin(self, tensor: torch.Tensor) -> Origin | None:
        """Where a constant was computed; None for one that was there."""
        return self._origins.get(id(tensor))

    def count(self) -> int:
        """How many constants were computed of others so far."""
        return len(self._thunks)

    def forget(self, count: int) -> None:
        """Forget the constants that were defined after the first `count`, and that Python read them."""
        for key in list(self._thunks)[count:]:
            del self._thunks[key], self._origins[key]
            self._values.pop(key, None)
        self._read = [tensor for tensor in self._read if self.is_constant(tensor)]

    def read(self, tensor: torch.Tensor) -> torch.Tensor:
        """The value of a constant, for Python to decide by."""
        self._read.append(tensor)
        value, recorder = self.value(tensor), current()
        if recorder is not None:
            recorder.read(value)
        return value

    def is_read(self, tensor: torch.Tensor) -> bool:
        """Tell whether Python read a constant's value, or another constant is computed of it."""
        arguments = ((args, kwargs) for _, args, kwargs, _ in self._thunks.values())
        return any(each is tensor for each in tensors_in((self._read, list(arguments))))

    def value(self, tensor: torch.Tensor) -> torch.Tensor:
        """The value of a constant."""
        if not isinstance(tensor, FakeTensor):
            return tensor
        pending = [tensor]
        while pending:
            if id(pending[-1]) in self._values:
                pending.pop()
                continue
            func, args, kwargs, output = self._thunks[id(pending[-1])]
            missing = [t for t in tensors_in((args, kwargs)) if isinstance(t, FakeTensor) and id(t) not in self._values]
            if missing:
                pending.extend(missing)
                continue
            real_args, real_kwargs = map_tensors(self._known, (args, kwargs))
            with unseen(), torch.no_grad():
                result = func(*real_args, **real_kwargs)
            recorder = current()
            if recorder is not None:
                recorder.ran(func, real_args, real_kwargs, result)
            self._store(tensors_in(output), tensors_in(result))
        return self._values[id(tensor)]

    def like(self, tensor: torch.Tensor) -> torch.Tensor:
        """A real tensor like one that a call made: the value of a constant, else any values; a symbolic size is 1."""
        if self.is_constant(tensor):
            return self.value(tensor)
        with unseen():
            shape = [size if isinstance(size, int) else 1 for size in tensor.shape]
            some = torch.rand(shape, generator=torch.Generator().manual_seed(0))
            return some.add(1).to(tensor.device, tensor.dtype)

    def settled(self, tensor: torch.Tensor) -> torch.Tensor:
        """The value of a constant, and any other tensor as it is."""
        return self.value(tensor) if self.is_constant(tensor) else tensor

    def settled_call(self, call: Call) -> Call:
        """A call with the values of constants among its arguments."""
        return call.with_arguments(*map_tensors(self.settled, (call.args, call.kwargs)))

    def _known(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._values[id(tensor)] if isinstance(tensor, FakeTensor) else tensor.detach()

    def _store(self, fakes: Iterable[torch.Tensor], reals: Iterable[torch.Tensor]) -> None:
        for fake, real in zip(fakes, reals, strict=True):
            self._values.setdefault(id(fake), real)
