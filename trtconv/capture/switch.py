"""A switch that is on for a while."""

from __future__ import annotations


class Switch:
    """On while one of its contexts is open, ``with switch: ...``, and off otherwise."""

    def __init__(self) -> None:
        self._open = 0

    def __bool__(self) -> bool:
        return self._open > 0

    def __enter__(self) -> None:
        self._open += 1

    def __exit__(self, *_: object) -> None:
        self._open -= 1
