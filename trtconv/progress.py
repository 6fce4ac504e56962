"""How far something has come that takes long: a bar on a terminal and in a notebook."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

DELAY = 0.5
"""Seconds after which a bar is shown: what is done by then needs none."""


class Bar:
    """What is told how far it has come: one of tqdm's bars, or nothing."""

    def __init__(self, bar: Any = None) -> None:
        self._bar = bar

    def note(self, text: str) -> None:
        """Say what is under way."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=time.time() - self._bar.start_t > DELAY)

    def update(self, steps: float = 1) -> None:
        """Say that so many more steps are done."""
        if self._bar is not None:
            self._bar.update(steps)


@dataclasses.dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """Phases of some steps, inside of steps of others, as TensorRT's builder reports them, on a bar of length 1."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._active: dict[str, _Phase] = {}
        self._shown = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        self._active[name] = _Phase(parent or None, max(steps, 1))
        self._bar.note(name)

    def step(self, name: str) -> None:
        """A step of a phase is done."""
        if name in self._active:
            self._active[name].done += 1
            self._show()

    def finish(self, name: str) -> None:
        """A phase ends, with all of its steps or not."""
        phase = self._active.pop(name, None)
        if phase is not None and phase.parent is None:
            self._bar.update(1.0 - self._shown)

    def _show(self) -> None:
        """Let the bar go on to where the phases are; a phase that begins anew in the same step takes nothing back."""
        inside = dict.fromkeys(self._active, 0.0)
        reached = 0.0
        for name, phase in reversed(self._active.items()):
            part = min(1.0, (phase.done + inside[name]) / phase.steps)
            if phase.parent in inside:
                inside[phase.parent] = max(inside[phase.parent], part)
            else:
                reached = max(reached, part)
        if reached > self._shown:
            self._bar.update(reached - self._shown)
            self._shown = reached


@contextmanager
def progress(what: str, total: float | None = None, *, show: bool | None = None) -> Iterator[Bar]:
    """A bar for as long as the context is open.

    Args:
        what: What is done, as "Building the engine".
        total: How many steps it takes, if that is known.
        show: None shows the bar where somebody looks, True always, False never.
    """
    if not (_is_watched() if show is None else show):
        yield Bar()
        return
    in_cell = _in_notebook() and importlib.util.find_spec("ipywidgets") is not None
    kind = importlib.import_module("tqdm.notebook" if in_cell else "tqdm").tqdm
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}" if total is not None else None
    with kind(desc=what, total=total, leave=False, delay=DELAY, bar_format=form) as bar:
        yield Bar(bar)


def check_progress(value: Any) -> None:
    """Raise `ValueError` unless `value` says whether bars are shown."""
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"progress={value!r}: it is True, False, or None for bars where somebody looks")


def _is_watched() -> bool:
    return _in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
