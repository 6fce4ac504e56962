"""Values that Python computes anew in each call, and that a conversion freezes: counters, random numbers.

Where something that a forward pass decides by has moved while it was captured, it is captured twice more, one after the
other as two calls would be; the first call that differs uses such a value.
"""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.utils import _pytree as pytree

from trtconv.calling.structure import PLAIN
from trtconv.capture.trace import Call, Trace, is_activation
from trtconv.dtypes import name_of
from trtconv.errors import ConversionError, FrozenValueWarning
from trtconv.places import warn


@dataclasses.dataclass
class State:
    """What Python code may decide by that differs from call to call.

    Attributes:
        attributes: The plain values and the tensors that submodules hold, by module and name.
        generators: The states of Python's and numpy's random generators.
    """

    attributes: dict[tuple[torch.nn.Module, str], Any]
    generators: tuple[Any, ...]

    @staticmethod
    def of(module: torch.nn.Module, real: Callable[[torch.Tensor], torch.Tensor] | None = None) -> State:
        """The state at the moment; in a capture, `real` makes real what stands in for a tensor."""

        def kept(value: Any) -> Any:
            return real(value) if real is not None and isinstance(value, FunctionalTensor) else value

        attributes = {
            (child, name): kept(value)
            for child in module.modules()
            for name, value in child.__dict__.items()
            if isinstance(value, (*PLAIN, torch.Tensor)) and name != "training"
        }
        return State(attributes, (random.getstate(), *_numpy_state()))

    def moved(self, later: State) -> bool:
        """Whether something is another now."""
        return self.generators != later.generators or self._changed(later) != {}

    def _changed(self, later: State) -> dict[tuple[torch.nn.Module, str], Any]:
        return {
            key: value
            for key, value in later.attributes.items()
            if key not in self.attributes or not _same(self.attributes[key], value)
        }

    def described(self, later: State, paths: Mapping[torch.nn.Module, str]) -> str:
        """What moved, for a message."""
        said = [
            f"{'.'.join(filter(None, (paths[child], name)))} ({_shown(self.attributes.get((child, name)))}, "
            f"then {_shown(value)})"
            for (child, name), value in self._changed(later).items()
        ]
        if self.generators != later.generators:
            said.append("random numbers of Python's or numpy's")
        return ", ".join(said)

    def restore_attributes(self, since: State | None = None) -> None:
        """Give the modules the values that they had, and take away those that they got `since`."""
        for child, name in (since.attributes.keys() if since else set()) - self.attributes.keys():
            child.__dict__.pop(name, None)
        for (child, name), value in self.attributes.items():
            child.__dict__[name] = value


def warn_of_frozen_values(module: torch.nn.Module, before: State, after: State, capture: Callable[[], Trace]) -> None:
    """Capture two calls in a row, and warn where the second isn't as the first.

    Args:
        before, after: The state before and after a capture.
        capture: Captures the module, and leaves plain attributes as the forward pass left them.

    Warns:
        FrozenValueWarning: with the line of the first call that differs, and what moved.
    """
    try:
        before.restore_attributes(after)
        first, second = capture(), capture()
    except (ConversionError, RuntimeError):
        return  # of a module that doesn't run twice nothing can be said
    finally:
        before.restore_attributes(after)
    line = _first_difference(first, second)
    if line is not None:
        paths = {child: path for path, child in module.named_modules()}
        warn(
            f"{line}: the second call of the module would compute something else here than the first: it uses "
            f"{before.described(after, paths)}. The converted module always computes what this one call did: make the "
            "value an input of the module",
            FrozenValueWarning,
        )


def _first_difference(first: Trace, second: Trace) -> str | None:
    for one, other in zip(first.calls, second.calls, strict=False):
        if not _alike(one, other):
            return str(one.origin)
    if len(first.calls) != len(second.calls):
        longer = max((first, second), key=lambda trace: len(trace.calls))
        return str(longer.calls[min(len(first.calls), len(second.calls))].origin)
    pairs = zip(first.outputs, second.outputs, strict=False)
    return None if all(_same(*pair) for pair in pairs) else "the result"


def _alike(one: Call, other: Call) -> bool:
    leaves, others = (pytree.tree_leaves((each.args, each.kwargs)) for each in (one, other))
    return one.target == other.target and len(leaves) == len(others) and all(map(_same, leaves, others))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if is_activation(one) or is_activation(other):
            return is_activation(one) and is_activation(other) and one.shape == other.shape and one.dtype == other.dtype
        kinds = [(each.dtype, each.shape, each.device, each.layout) for each in (one, other)]
        return one is other or (kinds[0] == kinds[1] and _equal(one, other))
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


def _shown(value: Any) -> str:
    return f"{name_of(value.dtype)}{list(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(((one == other) | ((one != one) & (other != other))).all())


def _numpy_state() -> tuple[Any, ...]:
    if "numpy.random" not in sys.modules:
        return ()
    name, keys, *rest = sys.modules["numpy.random"].get_state()
    return ((name, keys.tobytes(), *rest),)
