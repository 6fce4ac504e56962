"""Tables as text and as HTML."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under headers: aligned text where it is printed, HTML in a notebook.

    Attributes:
        rows: Of text, and of whole numbers, which are written with commas.
        numbers: The headers of columns that are aligned to the right.
        marked: The numbers of the rows that stand out: bold in HTML, behind a ">" in text.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str | int]]
    numbers: Sequence[str] = dataclasses.field(default=(), kw_only=True)
    marked: frozenset[int] = frozenset()

    def __str__(self) -> str:
        lines = [list(self.headers), *([_written(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        sides = [str.rjust if header in self.numbers else str.ljust for header in self.headers]
        edges = [" ", *(">" if place in self.marked else " " for place in range(len(self.rows)))]
        written = [[side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)] for line in lines]
        return "\n".join((mark + "  ".join(line)).rstrip() for mark, line in zip(edges, written, strict=True))

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(each)}</th>" for each in self.headers)
        body = "".join(self._html_row(place, row) for place, row in enumerate(self.rows))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _html_row(self, place: int, row: Sequence[str | int]) -> str:
        weight = ' style="font-weight: bold"' if place in self.marked else ""
        return f"<tr{weight}>{''.join(map(self._html_cell, self.headers, row))}</tr>"

    def _html_cell(self, header: str, cell: str | int) -> str:
        side = ' style="text-align: right"' if header in self.numbers else ""
        return f"<td{side}>{html.escape(_written(cell))}</td>"


def _written(cell: str | int) -> str:
    return cell if isinstance(cell, str) else f"{cell:,}"
