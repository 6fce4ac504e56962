"""Tables as text and as HTML."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under headers: aligned text where it is printed, HTML in a notebook.

    Attributes:
        marked: The numbers of the rows that stand out: bold in HTML, behind a ">" in text.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[int] = frozenset()

    def __str__(self) -> str:
        lines = [self.headers, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        edges = [" ", *(">" if place in self.marked else " " for place in range(len(self.rows)))]
        return "\n".join(
            (mark + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))).rstrip()
            for mark, line in zip(edges, lines, strict=True)
        )

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(each)}</th>" for each in self.headers)
        body = "".join(self._html_row(place, row) for place, row in enumerate(self.rows))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _html_row(self, place: int, row: Sequence[str]) -> str:
        weight = ' style="font-weight: bold"' if place in self.marked else ""
        return f"<tr{weight}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
