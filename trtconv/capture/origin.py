"""Finding out which line and which module of the user's a call comes from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

import torch

from trtconv.capture.trace import Origin
from trtconv.places import is_installed, is_library

_CALL_MODULE = torch.nn.Module._call_impl.__code__
"""Every module that is called as ``module(...)`` passes through this code with itself as `self`."""


class OriginFinder:
    """Reads origins off the Python stack.

    Args:
        module: The module whose submodules' paths are looked for.
        run: What runs it: the lines above on the stack aren't the module's.
    """

    def __init__(self, module: torch.nn.Module, run: Callable[..., Any]) -> None:
        self._paths = {id(child): path for path, child in module.named_modules()}
        self._run: CodeType = run.__code__

    def find(self, function: str) -> Origin:
        """The origin of the call under way, which the user knows as `function`."""
        innermost: tuple[str, int] | None = None
        caller: tuple[str, int] | None = None
        path, outside = None, False
        frame = sys._getframe(1)
        while innermost is None or path is None or (caller is None and not outside):
            code = frame.f_code
            outside = outside or code is self._run
            if not is_library(code.co_filename):
                innermost = innermost or (code.co_filename, frame.f_lineno)
                if not outside and caller is None and not is_installed(code.co_filename):
                    caller = (code.co_filename, frame.f_lineno)
            if path is None and code is _CALL_MODULE:
                path = self._paths.get(id(frame.f_locals["self"]))
            parent = frame.f_back
            if parent is None:
                break
            frame = parent
        file, line = innermost or ("", 0)
        return Origin(path or "", file, line, function, caller if caller != innermost else None)
