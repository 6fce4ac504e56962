"""The network as plain data: read from TensorRT's definitions, edited by passes, and written to definitions again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtconv.graph.check import check
from trtconv.graph.digest import digest
from trtconv.graph.order import in_order
from trtconv.graph.writer import Written, write
from trtconv.lazy import lazily

if TYPE_CHECKING:  # what `lazily` finds, for type checkers and editors
    from trtconv.graph.edit import Edit, rewritten

if not TYPE_CHECKING:  # editing takes the vocabulary of converters, which takes this package
    __getattr__, __dir__ = lazily(__name__, {"trtconv.graph.edit": ("Edit", "rewritten")})

__all__ = ["Edit", "Written", "check", "digest", "in_order", "rewritten", "write"]
