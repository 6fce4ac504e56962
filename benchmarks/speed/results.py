"""What was measured, as rows of plain data: written, read and merged."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import trtconv

Row = dict[str, Any]


@dataclasses.dataclass
class Results:
    """Rows, and the runs that they are of.

    Attributes:
        runs: By its name, the machine, versions and settings of a run; rows have it as "run".
        rows: Each with its "kind": "call", "throughput", "roofline", "load" or "soak".
    """

    runs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    rows: list[Row] = dataclasses.field(default_factory=list)

    def add(self, run: str, rows: Iterable[Row]) -> None:
        """Add rows; what was measured before of the same subjects goes, so that each has rows of one run only."""
        new = [{**row, "run": run} for row in rows]
        subjects = {_subject(row) for row in new}
        self.rows = [row for row in self.rows if _subject(row) not in subjects] + new

    def of_kind(self, kind: str) -> list[Row]:
        """All rows of a kind."""
        return [row for row in self.rows if row["kind"] == kind]

    def subjects(self, kind: str = "call") -> Iterator[tuple[tuple[str, str, int], list[Row]]]:
        """(model, dtype, batch) with its rows of a kind."""
        found: dict[tuple[str, str, int], list[Row]] = {}
        for row in self.of_kind(kind):
            found.setdefault((row["model"], row["dtype"], row["batch"]), []).append(row)
        yield from found.items()

    def value(self, model: str, dtype: str, batch: int, column: str, name: str) -> float:
        """A number of a column; NaN if it wasn't measured."""
        for row in self.of_kind("call"):
            if (row["model"], row["dtype"], row["batch"], row["column"]) == (model, dtype, batch, column):
                return float(row.get(name, math.nan)) if "failed" not in row else math.nan
        return math.nan

    def write(self, path: Path) -> None:
        """Write them as JSON, a row a line."""
        rows = ",\n".join(json.dumps(row) for row in self.rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"runs": {json.dumps(self.runs, indent=1)},\n"rows": [\n{rows}\n]}}\n')


def _subject(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["kind"], row["model"], row["dtype"], row["batch"]


def read(path: Path) -> Results:
    """The results that `Results.write` wrote."""
    content = json.loads(path.read_text())
    return Results(content["runs"], content["rows"])


def merge(parts: Sequence[Results]) -> Results:
    """All parts as one; a later part's subject replaces an earlier one's."""
    merged = Results()
    for part in parts:
        merged.runs.update(part.runs)
        for run in part.runs:
            merged.add(run, [row for row in part.rows if row["run"] == run])
    return merged


def describe_run(device: torch.device, settings: Mapping[str, Any], rates: Mapping[str, float]) -> dict[str, Any]:
    """Machine, versions and settings of a run."""
    tensorrt = trtconv.tensorrt.load()
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{gpu}, {os.cpu_count()} cores ({platform.machine()})",
        "versions": f"trtconv {trtconv.__version__}, {tensorrt.__name__} {tensorrt.__version__}, "
        f"torch {torch.__version__}, Python {platform.python_version()}",
        "settings": dict(settings),
        "rates": dict(rates),
    }
