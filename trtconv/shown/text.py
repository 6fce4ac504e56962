"""How layers, types and numbers are written where they are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from trtconv.graph.data import DataType, Graph, Layer

_TORCH_NAMES = {DataType.FLOAT: "float32", DataType.HALF: "float16", DataType.BF16: "bfloat16"}


def dtype_name(dtype: DataType) -> str:
    """A data type by torch's name; those that torch lacks by TensorRT's, in small letters."""
    return _TORCH_NAMES.get(dtype, dtype.name.lower())


def shape_text(graph: Graph, name: str) -> str:
    """A tensor's shape as "[1, s0 // 2, 8]"; "?" is a size of which nothing is known."""
    sizes = graph.sizes.get(name, graph.tensors[name].shape)
    return f"[{', '.join('?' if size == -1 else str(size) for size in sizes)}]"


def type_text(graph: Graph, name: str) -> str:
    """A tensor's dtype and shape, as "float32 [1, 8]"."""
    return f"{dtype_name(graph.tensors[name].dtype)} {shape_text(graph, name)}"


def counted(names: Iterable[str], most: int = 3) -> str:
    """How often each name comes, the most frequent first: "4 CONVOLUTION, 2 ACTIVATION, 3 others"."""
    found = Counter(names).most_common()
    rest = sum(count for _, count in found[most:])
    return ", ".join([f"{count} {name}" for name, count in found[:most]] + ([f"{rest} others"] if rest else []))


def bytes_text(count: float) -> str:
    """A number of bytes, as "47.0 MB"."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def module_of(layer: Layer) -> str:
    """The path of the module that a layer comes from; "" for the outermost and where it isn't known."""
    return layer.origin.module if layer.origin else ""


def folded(module: str, depth: int | None) -> str:
    """A module's path up to so many names; None leaves it as it is."""
    return module if depth is None else ".".join(module.split(".")[:depth])
