"""A progress bar where someone looks at it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], total: int | None, title: str) -> Iterable[T]:
    """The items, counted by a bar of tqdm in a terminal or a notebook; as they are elsewhere, and without tqdm."""
    if not (sys.stderr.isatty() or "ipykernel" in sys.modules):
        return items
    try:
        tqdm: Any = importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        return items
    bar: Iterable[T] = tqdm(items, desc=title, total=total, leave=False)
    return bar
