"""Objects among a call's arguments, as caches of keys and values: whether a forward pass changes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtconv.calling.structure import PLAIN, children_of, shown_path
from trtconv.errors import CaptureError


class GivenObjects:
    """The objects in the arguments of a forward pass, as they are before it."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        named = [*_objects(("args",), args), *(each for name in kwargs for each in _objects((name,), kwargs[name]))]
        self._before = [(path, value, _attributes(value)) for path, value in named]

    def check(self, result: Any) -> None:
        """See that all that are other objects now are in the result.

        Raises:
            CaptureError: one isn't. A converted module gives new objects and leaves those that it is given.
        """
        changed = [(path, value) for path, value, before in self._before if _attributes(value) != before]
        if not changed:
            return
        returned = {id(value) for _, value in _objects(("result",), result)}
        for path, value in changed:
            if id(value) not in returned:
                raise CaptureError(
                    f"the forward pass changes {shown_path(path)}, a {type(value).__name__} that it is given, and "
                    "doesn't return it: a converted module leaves its arguments as they are, and returns new objects. "
                    "Have the module return what it changes"
                )


def _objects(path: tuple[Any, ...], value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The objects in nested containers that are there for their attributes only, each with its path."""
    found = children_of(value)
    if found is None:
        return
    nesting, children = found
    if nesting.kind == "object":
        yield path, value
    for key, child in zip(nesting.keys or range(len(children)), children, strict=True):
        yield from _objects((*path, key), child)


def _attributes(value: Any) -> Any:
    """What tells whether an object's own attributes are others; not what objects in them have."""
    return {name: _own(each) for name, each in vars(value).items()}


def _own(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _own(each)) for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return list(map(_own, value))
    return (type(value), value) if isinstance(value, PLAIN) else id(value)
