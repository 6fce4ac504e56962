"""The one place that imports TensorRT, and the one that knows how its releases differ.

The rest of the library writes ``from trtconv import tensorrt as trt`` and uses ``trt.ActivationType``
and the like. The bindings are loaded at the first such use, so that ``import trtconv`` needs neither
TensorRT nor a GPU.
"""

from __future__ import annotations

import functools
import importlib
import os
from types import ModuleType
from typing import Any

ENVIRONMENT_VARIABLE = "TRTCONV_TENSORRT"
# tensorrt_rtx_bindings is what the wheels of TensorRT-RTX hold; the name tensorrt_rtx comes with a
# metapackage that adds nothing else.
CANDIDATES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")


class TensorRTNotFoundError(ImportError):
    """No TensorRT can be imported; the message says which extra installs one."""


@functools.cache
def load() -> ModuleType:
    """Import TensorRT once and return its Python module.

    The environment variable ``TRTCONV_TENSORRT`` names the module to take (``tensorrt``,
    ``tensorrt_rtx`` or ``tensorrt_rtx_bindings``); without it the first that imports is taken.

    Raises:
        TensorRTNotFoundError: none of them imports.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    failures = []
    for name in (chosen,) if chosen else CANDIDATES:
        try:
            module = importlib.import_module(name)
            module.Builder  # noqa: B018  # an empty namespace package imports too
        except (ImportError, OSError, AttributeError) as error:
            failures.append(f"  {name}: {error}")
        else:
            return module
    raise TensorRTNotFoundError(
        "TensorRT can't be imported:\n"
        + "\n".join(failures)
        + "\nInstall TensorRT-RTX with `pip install trtconv[rtx]` (builds engines without a GPU too) or "
        "TensorRT with `pip install trtconv[tensorrt]`."
    )


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(load(), name)


def release() -> str:
    """The module and the version of the TensorRT in use, as "tensorrt_rtx 1.7.1.116"."""
    return f"{load().__name__} {load().__version__}"


def is_available() -> bool:
    """Tell whether a TensorRT can be imported."""
    try:
        load()
    except TensorRTNotFoundError:
        return False
    return True


def is_rtx() -> bool:
    """Tell whether the TensorRT in use is TensorRT-RTX, whose builder needs no GPU."""
    return "rtx" in load().__name__
