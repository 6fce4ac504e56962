"""The coverage table as Markdown."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

_HEAD = """# Coverage

{what} {machine}; {versions}.

**Correct** means: the largest error against PyTorch in float64 is at most twice the error of PyTorch's own
{dtype} against it, plus one unit in the last place of the largest value; the same holds in each slice along an axis,
measured by the slice's own largest value (`trtconv.inspect.Slices` says how much PyTorch's error counts
there); infinities and NaNs stand where PyTorch has them. Of several outputs the one that comes nearest to its limit is
shown. Weights are random unless the name says otherwise.
"""


_BY_INTERPRETER = """What `make coverage` found: each model is captured, emitted and built for TensorRT, and the
network that was built is run by the reference interpreter on inputs that it wasn't converted with."""
_VARYING = """ Here batch and length, or batch,
height and width, vary (`python benchmarks/coverage.py --dynamic`): each model is converted once for the whole
ranges, and compared at five sizes, the least and the largest among them."""
_IN_HALF = """ With `precision="{precision}"`
(`make coverage PRECISION={precision}`): PyTorch's error is that of the module and its inputs in that dtype on the
CPU, and a unit is one in that dtype; inputs and results keep their own."""
_BY_ENGINE = """What `python benchmarks/coverage.py --device cuda` found: each model is converted with `tf32=False`,
and its engine is run on inputs that it wasn't converted with."""


def write_table(
    path: pathlib.Path,
    rows: Sequence[Any],
    machine: str,
    *,
    engines: bool = False,
    dynamic: bool = False,
    precision: str | None = None,
) -> None:
    """Write the rows (`coverage.Result`), grouped by family, with a summary and all failures first."""
    versions = sorted({row.versions for row in rows if row.versions})
    what = _BY_ENGINE if engines else _BY_INTERPRETER + _VARYING * dynamic
    if precision is not None:
        what += _IN_HALF.format(precision=precision)
    dtype = {None: "float32", "fp16": "float16", "bf16": "bfloat16"}[precision]
    parts = [_HEAD.format(what=what, dtype=dtype, machine=machine, versions="; ".join(versions))]
    families = [(family, list(members)) for family, members in groupby(rows, key=lambda row: row.family)]
    parts.append(
        table(
            ("family", "models", "correct", "share"),
            [
                (family, len(counted), good, f"{good / len(counted):.0%}" if counted else "-")
                for family, members in families
                for counted in [[row for row in members if row.status != "excluded"]]
                for good in [sum(row.status == "correct" for row in counted)]
            ],
        )
    )
    for heading, statuses in (("Failures", ("wrong", "refused", "crashed")), ("Not counted", ("excluded",))):
        failed = [row for row in rows if row.status in statuses]
        if failed:
            shown = [(row.family, row.name, row.status, _on_one_line(row.reason)) for row in failed]
            parts += [f"## {heading}\n", table(("family", "model", "status", "reason"), shown)]
    for family, members in families:
        header = (
            "model",
            "parameters",
            "calls",
            "layers",
            "capture + emit, s",
            "build, s",
            "error",
            "PyTorch's own",
            "allowed",
        )
        correct = [row for row in members if row.status == "correct"]
        if correct:
            parts += [f"## {family}\n", table(header, [_numbers(row) for row in correct])]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(parts))


def _numbers(row: Any) -> tuple[Any, ...]:
    errors = (f"{value:.2e}" for value in (row.error, row.torch_error, row.allowed))
    millions = f"{row.parameters / 1e6:.1f} M"
    return row.name, millions, row.calls, row.layers, f"{row.convert:.2f}", f"{row.build:.2f}", *errors


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def _on_one_line(text: str) -> str:
    flat = re.sub(r"\S*/(?:site|dist)-packages/", "", " ".join(text.split())).replace("|", "\\|")
    return flat if len(flat) <= 400 else flat[:400] + " ..."
