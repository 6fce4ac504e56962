"""Names of a package that are imported when they are first used.

Capturing a forward pass takes torch's symbolic shapes, which take sympy and torch._dynamo: seconds of imports that a
program pays for when it converts something, and one that only runs a converted module never does.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def lazily(
    package: str, places: Mapping[str, Iterable[str]], rooms: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package (PEP 562) whose names live in modules that aren't imported yet.

    Args:
        package: The package's name.
        places: For each module, by its full name, the names that the package has from it.
        rooms: Submodules that are there without an import of their own.
    """
    found_in = {name: module for module, names in places.items() for name in names}
    known = {*found_in, *rooms}

    def __getattr__(name: str) -> Any:
        if name not in known:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if name not in found_in:
            return importlib.import_module(f"{package}.{name}")
        value = getattr(importlib.import_module(found_in[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *known})

    return __getattr__, __dir__
