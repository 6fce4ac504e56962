"""What PyTorch gives at each call of a module's own code, to compare with what a network has there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch

from trtconv.capture.compiled import uncompiled
from trtconv.capture.exporting import exporting
from trtconv.capture.functions import FunctionLevel
from trtconv.capture.interception import intercepted, is_unseen
from trtconv.capture.names import canonical_name
from trtconv.capture.origin import OriginFinder
from trtconv.capture.returned import results_of
from trtconv.emit import registry
from trtconv.graph.data import Site
from trtconv.places import Origin

Key = tuple[Origin, int]
"""A call: its origin as a saved network tells it, and its number among the calls there."""


def key_of(site: Site) -> Key:
    """The call that a network says that it has results of."""
    return site.origin.elsewhere(), site.number


class Sites:
    """A run of a module with real tensors that keeps the results of the calls that are asked for.

    Its calls are counted as a capture counts them, and torch tells it that it is exported, as then.

    Args:
        module: Its submodules name the origins.
        wanted: The calls whose results are kept, as copies.

    Attributes:
        values: The results of these calls, as far as they were made.
        origins: Where on this machine they were made.
    """

    def __init__(self, module: torch.nn.Module, wanted: Collection[Key]) -> None:
        self.values: dict[Key, list[torch.Tensor]] = {}
        self.origins: dict[Key, Origin] = {}
        self._module = module
        self._wanted = set(wanted)
        self._counts: Counter[Origin] = Counter()
        self._origins = OriginFinder(module, Sites.run)
        self._is_inside = False

    def run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call the module."""
        level, eager = FunctionLevel(self._handle), uncompiled()

        def handler(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return eager[func](*args, **kwargs) if func in eager else self._handle(level, func, args, kwargs)

        functions = [each for each in (*registry.users_functions(), *eager) if is_unseen(each)]
        with torch.no_grad(), exporting(), level, intercepted(functions, handler):
            return self._module(*args, **kwargs)

    def _handle(
        self, level: FunctionLevel, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._is_inside:
            return func(*args, **kwargs)
        self._is_inside = True
        try:
            result = func(*args, **kwargs)
            tensors = results_of(args, result)
            if tensors:
                origin = self._origins.find(canonical_name(func))
                key = origin.elsewhere(), self._counts[origin]
                self._counts[origin] += 1
                if key in self._wanted:
                    self.origins[key] = origin
                    self.values[key] = [each.detach().clone() for each in tensors]
            return result
        finally:
            self._is_inside = False
