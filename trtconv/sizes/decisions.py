"""Where a forward pass decides something by a dynamic size, and what to write instead."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import linecache
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import sympy
import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from trtconv.places import Origin, is_library


@dataclasses.dataclass(frozen=True)
class Decision:
    """A comparison that torch made of symbolic sizes by the sizes of this capture.

    Attributes:
        condition: What holds at these sizes, as a sympy expression.
        origin: The line that asked.
        asked_by: The method of a size that Python called: "__bool__", "__index__"; "" where torch's own code asked.
        code: What Python computes there, as it is written in the source; "" where that isn't known.
        calls: How many calls were recorded before.
    """

    condition: Any
    origin: Origin
    asked_by: str
    code: str
    calls: int

    @property
    def number(self) -> Any:
        """The number for which a size was taken, if that is what was decided."""
        equal = isinstance(self.condition, sympy.Eq) and self.condition.rhs.is_number
        return self.condition.rhs if equal and self.asked_by != "__bool__" else None


class Environment(ShapeEnv):
    """torch's environment of symbols, with the decisions in their order.

    Attributes:
        spans: The least and the largest value of each symbol; torch narrows those that it keeps by what it decides.
        decisions: What torch decided by the sizes of this capture.
    """

    def __init__(self) -> None:
        super().__init__(specialize_zero_one=False, duck_shape=False, assume_static_by_default=False)
        self.spans: dict[Any, tuple[int, int]] = {}
        self.decisions: list[Decision] = []
        self._origin: Callable[[], Origin] | None = None
        self._calls: Sequence[object] = ()

    @contextmanager
    def noting(self, origin: Callable[[], Origin], calls: Sequence[object]) -> Iterator[None]:
        """Note decisions with where the call under way comes from, and how many were recorded."""
        self._origin, self._calls = origin, calls
        try:
            yield
        finally:
            self._origin, self._calls = None, ()

    def evaluate_expr(self, *args: Any, **kwargs: Any) -> Any:
        """As torch's, which adds a guard where it decides by the sizes of this capture."""
        known = len(self.guards)
        result = super().evaluate_expr(*args, **kwargs)
        if self._origin is not None:
            for guard in self.guards[known:]:
                self.decisions.append(Decision(guard.expr, self._origin(), *_asked(), len(self._calls)))
        return result


def _asked() -> tuple[str, str]:
    """The method of a size that a line outside of torch calls, and what that line computes; "" of others."""
    frame, inner = sys._getframe(2), sys._getframe(1)
    while is_library(frame.f_code.co_filename):
        if frame.f_back is None:
            return "", ""
        frame, inner = frame.f_back, frame
    method = inner.f_code.co_name
    return (method, _code_under_way(frame)) if method in _ASKING else ("", "")


_ASKING = ("__bool__", "__int__", "__index__", "__float__")


def _code_under_way(frame: FrameType) -> str:
    """The expression that a frame computes; the whole line before Python 3.11, which doesn't say more."""
    code = frame.f_code
    if sys.version_info < (3, 11):
        return linecache.getline(code.co_filename, frame.f_lineno).strip()
    first, last, start, end = next(itertools.islice(code.co_positions(), frame.f_lasti // 2, None))
    if first is None or last is None or start is None or end is None:
        return ""
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)]
    if not all(lines):
        return ""
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    return textwrap.dedent(b"".join(lines).decode()).strip()


def instead(code: str) -> str:
    """What to write in the place of code by which Python makes a number of a size: "int(h / 2): h // 2"; else ""."""
    try:
        tree = ast.parse(code.removesuffix(":"))
    except SyntaxError:
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not node.keywords:
            form = _form(ast.unparse(node.func), node.args)
            if form:
                return f"{ast.unparse(node)}: {form}"
    return ""


def _form(function: str, args: list[ast.expr]) -> str:
    shown = [ast.unparse(each) for each in args]
    match function, shown:
        case "int", [inner]:
            division = args[0]
            if isinstance(division, ast.BinOp) and isinstance(division.op, ast.Div):
                return ast.unparse(ast.BinOp(division.left, ast.FloorDiv(), division.right))
            return f"torch.sym_int({inner})"
        case "float", [inner]:
            return f"torch.sym_float({inner})"
        case "len", [inner]:
            return f"{inner}.shape[0]"
        case (("max" | "min"), [first, *rest]) if rest:
            for other in rest:
                first = f"torch.sym_{function}({first}, {other})"
            return first
        case "math.sqrt", [inner]:
            return f"torch.sym_sqrt({inner})"
        case "math.pow", [base, exponent]:
            return f"({base}) ** ({exponent})"
    module, _, name = function.rpartition(".")
    if module in ("math", "np", "numpy") and len(shown) == 1 and hasattr(torch, name):
        return f"torch.{name}(torch.tensor({shown[0]}))"
    return ""
