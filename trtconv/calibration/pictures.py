"""A folder of pictures as calibration data."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Pictures:
    """The pictures of a folder, in the order of their paths, each transformed when it is read.

    Attributes:
        paths: The files.
    """

    def __init__(self, paths: list[Path], transform: Callable[[Any], Any]) -> None:
        self.paths = paths
        self._transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        with importlib.import_module("PIL.Image").open(self.paths[index]) as picture:
            return self._transform(picture.convert("RGB"))


def pictures(folder: str | os.PathLike[str], transform: Callable[[Any], Any]) -> Pictures:
    """The pictures in a folder and the folders in it, for the option `calibration`.

    Args:
        folder: The folder.
        transform: Makes what the module takes of a PIL image in RGB, as torchvision's transforms do.

    Raises:
        ImportError: Pillow isn't installed.
        TypeError: `transform` can't be called.
        ValueError: there is no picture in the folder.
    """
    if not callable(transform):
        raise TypeError(f"transform={transform!r}: it takes a function from a PIL image to what the module takes")
    try:
        known = importlib.import_module("PIL.Image").registered_extensions()
    except ImportError as error:
        raise ImportError("pictures are read by Pillow: pip install pillow") from error
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in known and path.is_file())
    if not paths:
        raise ValueError(f"there are no pictures in {os.fspath(folder)!r}")
    return Pictures(paths, transform)
