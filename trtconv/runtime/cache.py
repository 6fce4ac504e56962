"""A folder of what takes long to make: kernels that TensorRT-RTX compiled for a GPU, and whole engines.

It is `$TRTCONV_CACHE`, or else "trtconv" in the user's folder for caches; `TRTCONV_CACHE=` (empty) keeps nothing. It
holds at most `$TRTCONV_CACHE_SIZE` bytes, by default 10 GiB; what was used longest ago goes first. What it holds is
code that runs on the GPU, as engines are: it should be writable for its owner only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trtconv.places import warn

_MARK = b"trtconv cache 1\n"
_DEFAULT_SIZE = 10 << 30


@dataclasses.dataclass(frozen=True)
class Entry:
    """Something that is kept.

    Attributes:
        kind: "kernels", "engine" or "timing".
        path: Its file.
        size: In bytes.
        used: When it was last used, in seconds since 1970.
    """

    kind: str
    path: Path
    size: int
    used: float


def folder() -> Path | None:
    """The folder; None where nothing is kept."""
    given = os.environ.get("TRTCONV_CACHE")
    if given is not None:
        return Path(given).expanduser() if given else None
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(base) / "trtconv").expanduser()


def entries() -> list[Entry]:
    """What is kept, that used last first."""
    store = Store.of(True)
    return [] if store is None else store.entries()


def clear() -> None:
    """Remove all that is kept."""
    for entry in entries():
        entry.path.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder with entries by kind and key; any number of processes may use it at once.

    Attributes:
        folder: It is made when something is kept.
    """

    folder: Path

    @staticmethod
    def of(option: bool | str | os.PathLike[str]) -> Store | None:
        """The store that the option `cache` names: True is the default folder, False none."""
        if isinstance(option, bool):
            place = folder() if option else None
            return None if place is None else Store(place)
        return Store(Path(option))

    def load(self, kind: str, key: str) -> bytes | None:
        """What is kept under a key; None if there is nothing, or it is damaged, which is said."""
        path = self._path(kind, key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        head, body = content[: len(_MARK) + 32], content[len(_MARK) + 32 :]
        if head != _MARK + hashlib.sha256(body).digest():
            warn(f"{path} is damaged, or isn't trtconv's; it is left aside and written anew")
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return body

    def keep(self, kind: str, key: str, content: bytes | memoryview) -> None:
        """Keep something under a key, and let go what was used longest ago where it is too much.

        A folder that can't be written to is warned of.
        """
        path = self._path(kind, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_MARK + hashlib.sha256(content).digest())
                    file.write(content)
                Path(partial).replace(path)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
        except OSError as error:
            warn(f"nothing is kept in the cache: {error}. TRTCONV_CACHE names another folder, cache=False uses none")
            return
        self._make_room()

    def entries(self) -> list[Entry]:
        """What is kept, that used last first."""
        return sorted(self._entries(), key=lambda entry: -entry.used)

    def _entries(self) -> Iterator[Entry]:
        for kind in _KINDS:
            for path in (self.folder / kind).glob("[!.]*"):
                with contextlib.suppress(OSError):  # another process has removed it
                    known = path.stat()
                    yield Entry(kind, path, known.st_size, known.st_mtime)

    def _make_room(self) -> None:
        left = int(os.environ.get("TRTCONV_CACHE_SIZE") or _DEFAULT_SIZE)
        for entry in self.entries():
            left -= entry.size
            if left < 0:
                with contextlib.suppress(OSError):
                    entry.path.unlink()

    def _path(self, kind: str, key: str) -> Path:
        assert kind in _KINDS
        return self.folder / kind / hashlib.sha256(key.encode()).hexdigest()


_KINDS = ("kernels", "engine", "timing")
