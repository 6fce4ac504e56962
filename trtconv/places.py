"""Lines of code as a user knows them: whose they are, and what they are called."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import site
import sys
import sysconfig
import warnings

import torch

_INSTALLED = tuple(
    os.path.join(os.path.realpath(path), "")
    for path in {
        *site.getsitepackages(),
        site.getusersitepackages(),
        *(sysconfig.get_path(name) for name in ("purelib", "platlib")),
    }
)
_SYMPY = importlib.util.find_spec("sympy")  # which takes long to import
_OURS = tuple(
    os.path.join(os.path.realpath(os.path.dirname(file)), "")
    for file in (torch.__file__, __file__, _SYMPY and _SYMPY.origin)
    if file
)
_STANDARD = os.path.join(os.path.realpath(sysconfig.get_path("stdlib")), "")
_GENERATED = ("<frozen ", "<string>", "<eval_with_key>", "<__array_function__", "<attrs generated")
"""Code that isn't in a file and that nobody wrote. Cells (<ipython-input-...>) and <stdin> are the user's."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a call comes from.

    Attributes:
        module: Path of the module whose forward made the call, as in `named_modules`; "" at the top.
        file: File of the innermost line that belongs neither to torch nor to trtconv nor to Python.
        line: Its line number, from 1.
        function: The outermost torch function under way, as the user wrote it: ``torch.nn.functional.gelu``.
        caller: The innermost file and line that belong to no installed package either, where that is another line.
    """

    module: str
    file: str
    line: int
    function: str
    caller: tuple[str, int] | None = None

    def __str__(self) -> str:
        caller = f", called from {place(*self.caller)}" if self.caller else ""
        return place(self.file, self.line) + caller + (f" (module {self.module})" if self.module else "")

    def elsewhere(self) -> Origin:
        """The origin as it is told on another machine: by the files' names where they would be imported from."""
        caller = self.caller and (_from_its_root(self.caller[0]), self.caller[1])
        return dataclasses.replace(self, file=_from_its_root(self.file), caller=caller)

    def keys(self) -> list[str]:
        """What the lines are called where options name them: "file.py:3", with the folder or without it."""
        lines = [(self.file, self.line), *([self.caller] if self.caller else [])]
        return [f"{name}:{line}" for file, line in lines for name in (file, os.path.basename(file))]


@functools.cache
def _from_its_root(filename: str) -> str:
    """A file's path below the folder of `sys.path` that it is in, as "torchvision/models/resnet.py"; else its name."""
    if not os.path.isabs(filename):
        return filename
    roots = [os.path.join(os.path.abspath(each), "") for each in sys.path]
    root = max((each for each in roots if filename.startswith(each)), key=len, default=None)
    return os.path.basename(filename) if root is None else filename.removeprefix(root)


@functools.cache
def is_library(filename: str) -> bool:
    """Tell whether a file belongs to torch, with sympy, to trtconv or to Python."""
    if filename.startswith("<"):
        return filename.startswith(_GENERATED)
    path = os.path.realpath(filename)
    return path.startswith(_OURS) or (path.startswith(_STANDARD) and not is_installed(filename))


@functools.cache
def is_installed(filename: str) -> bool:
    """Tell whether a file belongs to an installed package: a line that the user can read but not mend."""
    return os.path.realpath(filename).startswith(_INSTALLED)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line outside of torch, trtconv and Python."""
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and is_library(frame.f_code.co_filename):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def place(filename: str, line: int) -> str:
    """A line as a user finds it: ``file.py:3``, or ``Cell In[2], line 3`` in a notebook."""
    cell = _cell(filename)
    return f"{cell}, line {line}" if cell else f"{filename}:{line}"


def _cell(filename: str) -> str:
    """What IPython calls the cell that a file name stands for; "" for other files."""
    if "IPython" not in sys.modules:
        return ""
    shell = sys.modules["IPython"].get_ipython()
    if shell is None or not hasattr(shell.compile, "format_code_name"):  # IPython 7.31 and later has it
        return ""
    return " ".join(shell.compile.format_code_name(filename) or ())
