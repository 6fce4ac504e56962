"""Finding out which line and which module of the user's a call comes from."""

from __future__ import annotations

import functools
import os
import sys

import torch

from trtconv.capture.trace import Origin

_LIBRARIES = tuple(
    os.path.join(os.path.realpath(path), "")
    for path in (os.path.dirname(torch.__file__), os.path.dirname(os.path.dirname(__file__)))
)
_CALL_MODULE = torch.nn.Module._call_impl.__code__
"""Every module that is called as ``module(...)`` passes through this code with itself as `self`."""


@functools.cache
def is_library(filename: str) -> bool:
    """Tell whether a file belongs to torch or to trtconv."""
    return filename.startswith("<") or os.path.realpath(filename).startswith(_LIBRARIES)


class OriginFinder:
    """Reads origins off the Python stack, given the paths of a module's submodules."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._paths = {id(child): path for path, child in module.named_modules()}

    def find(self, function: str) -> Origin:
        """The origin of the call under way, which the user knows as `function`."""
        file, line, path = "", 0, None
        frame = sys._getframe(1)
        while frame is not None and (not file or path is None):
            code = frame.f_code
            if not file and not is_library(code.co_filename):
                file, line = code.co_filename, frame.f_lineno
            if path is None and code is _CALL_MODULE:
                path = self._paths.get(id(frame.f_locals["self"]))
            parent = frame.f_back
            if parent is None:
                break
            frame = parent
        return Origin(path or "", file, line, function)
