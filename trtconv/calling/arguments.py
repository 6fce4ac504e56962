"""The parameters of a module's forward, and one form for all ways to pass the same arguments."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trtconv.calling.structure import Structure
from trtconv.errors import ConversionError

KINDS = {
    kind.name: kind
    for kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    )
}
"""How a parameter takes its argument, by the name of the kind."""


class _Some:
    """A default, whatever it is."""

    def __repr__(self) -> str:
        return "..."


_SOME = _Some()


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of a module's forward.

    Attributes:
        name: Its name.
        kind: How it takes its argument: a key of `KINDS`.
        is_optional: Whether it has a default.
        default: The default, where it is of plain values.
    """

    name: str
    kind: str
    is_optional: bool = False
    default: Structure | None = None

    def to_json(self) -> list[Any]:
        """The parameter as JSON values."""
        return [self.name, self.kind, self.is_optional, self.default and self.default.to_json()]

    @staticmethod
    def from_json(data: Sequence[Any]) -> Parameter:
        """The inverse of `to_json`; what was saved before there were defaults has none."""
        name, kind, is_optional, *default = data
        return Parameter(name, kind, is_optional, Structure.from_json(default[0]) if any(default) else None)


@dataclasses.dataclass(frozen=True)
class Parameters:
    """The parameters of a module's forward, in order.

    Raises:
        ValueError: no Python function has such parameters.
    """

    all: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        inspect.Signature.bind_partial(self._python)  # made here, so that it raises here

    @staticmethod
    def of(module: torch.nn.Module) -> Parameters:
        """Those of a module's forward."""
        return Parameters(tuple(map(_read, inspect.signature(module.forward).parameters.values())))

    @functools.cached_property
    def _python(self) -> inspect.Signature:
        return inspect.Signature(
            [
                inspect.Parameter(each.name, KINDS[each.kind], default=_SOME if each.is_optional else inspect._empty)
                for each in self.all
            ]
        )

    @property
    def positional(self) -> int:
        """How many parameters take an argument by position, beside ``*args``."""
        return sum(each.kind.startswith("POSITIONAL") for each in self.all)

    @property
    def takes_any_number(self) -> bool:
        """Whether there is a parameter ``*args``."""
        return any(each.kind == "VAR_POSITIONAL" for each in self.all)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call, positional wherever possible.

        Raises:
            TypeError: the forward doesn't take them.
        """
        bound = self._bound(args, kwargs)
        return bound.args, bound.kwargs

    def with_defaults(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """As `bind`, with the defaults of plain values for what isn't given.

        Raises:
            TypeError: the forward doesn't take them.
        """
        bound = self._bound(args, kwargs)
        for each in self.all:
            if each.default is not None and each.name not in bound.arguments:
                bound.arguments[each.name] = each.default.fill(())
        return bound.args, bound.kwargs

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        try:
            return self._python.bind(*args, **kwargs)
        except TypeError as error:
            came = ", ".join([f"{len(args)} by position", *kwargs])
            raise TypeError(f"{error}; the forward takes {self._python}, and there came {came}") from None

    def named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """Bound arguments with the names of the parameters that take them.

        Their tensors are in the order of (args, kwargs).
        """
        named: list[tuple[str, Any]] = []
        for position, each in enumerate(self.all):
            if each.kind == "VAR_POSITIONAL":
                named.append((each.name, tuple(args[position:])))
            elif position < len(args) and each.kind.startswith("POSITIONAL"):
                named.append((each.name, args[position]))
        return [*named, *kwargs.items()]


def _read(parameter: inspect.Parameter) -> Parameter:
    if parameter.default is parameter.empty:
        return Parameter(parameter.name, parameter.kind.name)
    try:
        default, tensors = Structure.of(parameter.default, "a default")
        default.to_json()
    except (ConversionError, ValueError):
        return Parameter(parameter.name, parameter.kind.name, is_optional=True)
    return Parameter(parameter.name, parameter.kind.name, is_optional=True, default=None if tensors else default)
