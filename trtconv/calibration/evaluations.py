"""What was evaluated, in a file from which a search goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import trtconv
from trtconv.graph import digest
from trtconv.graph.data import Graph

_FORMAT = 1


class Evaluations:
    """Numbers by what they are of, each measured once.

    Args:
        path: The file that keeps them; None for none. It is written anew after each measurement, at once.
        fits: What the search that it belongs to is recognized by.

    Raises:
        ValueError: the file is of another search, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str] | None, fits: str) -> None:
        self._path = None if path is None else Path(path)
        self._fits = fits
        self._known: dict[str, float] = {}
        if self._path is not None and self._path.exists():
            self._known = self._read(self._path)

    def of(self, option: Mapping[str, str], kind: str, measure: Callable[[], float]) -> float:
        """A number of an option, measured unless it is known."""
        key = f"{kind} {json.dumps(option)}"
        if key not in self._known:
            self._known[key] = measure()
            self._write()
        return self._known[key]

    def _read(self, path: Path) -> dict[str, float]:
        try:
            data = json.loads(path.read_text())
            fits, numbers = data["fits"], {str(key): float(value) for key, value in data["numbers"].items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"state={str(path)!r} is no file of a search, or damaged: {error!r}") from error
        if fits != self._fits:
            raise ValueError(
                f"state={str(path)!r} is of another search: of other weights, data, metric or type, or by other "
                "versions; delete it, or give another path"
            )
        return numbers

    def _write(self) -> None:
        if self._path is None:
            return
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        new.write_text(json.dumps({"format": _FORMAT, "fits": self._fits, "numbers": self._known}, indent=1))
        os.replace(new, self._path)


def digest_of(graph: Graph, calls: Sequence[Sequence[Tensor]], *names: Any) -> str:
    """What a search is recognized by: the network with its weights, the data, and what else it depends on."""
    result = hashlib.sha256(
        json.dumps([_FORMAT, trtconv.__version__, torch.__version__, digest(graph), *names]).encode()
    )
    for call in calls:
        for x in call:
            plain = x.detach().cpu().contiguous()
            result.update(f"{x.dtype} {list(x.shape)}".encode())
            result.update(plain.flatten().view(torch.uint8).numpy().data if plain.numel() else b"")
    return result.hexdigest()
