"""The option `precision`: which type the layers of a network may have, by module path and torch function."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

from trtconv.graph.data import DataType, Graph, Layer

TYPES = {"fp32": DataType.FLOAT, "fp16": DataType.HALF, "bf16": DataType.BF16}
"""What the option calls the types."""
NAMES = {dtype: name for name, dtype in TYPES.items()}

_ALIASES = ("torch.nn.functional.", "torch.Tensor.", "torch.special.", "torch.")
"""Where torch has one function under several names."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a user asks for.

    Attributes:
        default: The type of layers that no pattern is for.
        patterns: Patterns over module paths and torch functions, with their types; the last match counts.
    """

    default: DataType
    patterns: tuple[tuple[str, DataType], ...] = ()

    @staticmethod
    def of(option: Any) -> Choice | None:
        """What the value of the option stands for; None if layers keep the types that the module gives them.

        Raises:
            ValueError: it is no such value.
        """
        if option is None:
            return None
        if isinstance(option, str):
            return Choice(_type("precision", option))
        if not isinstance(option, Mapping):
            raise ValueError(
                f"precision={option!r}: it takes {_LISTING}, or a dict of patterns over module paths and torch "
                'functions, as {"default": "fp16", "layer4.*": "fp32"}'
            )
        wrong = next((key for key in option if not isinstance(key, str) or not key), None)
        if wrong is not None:
            raise ValueError(
                f"precision has the key {wrong!r}; keys are patterns over module paths and torch functions"
            )
        types = {pattern: _type(f"precision[{pattern!r}]", name) for pattern, name in option.items()}
        default = types.pop("default", DataType.FLOAT)
        return Choice(default, tuple(types.items()))

    def to_json(self) -> Any:
        """The option's value, as plain data."""
        if not self.patterns:
            return NAMES[self.default]
        return {"default": NAMES[self.default], **{pattern: NAMES[dtype] for pattern, dtype in self.patterns}}

    def types(self, graph: Graph) -> dict[str, tuple[DataType, str]]:
        """For each layer, by name, the type that it may have, and the pattern that says so ("" for the default).

        Raises:
            ValueError: a pattern matches no layer.
        """
        if not self.patterns:
            return {layer.name: (self.default, "") for layer in graph.layers}
        found: dict[tuple[str, ...], tuple[DataType, str]] = {}
        result = {}
        unused = {pattern for pattern, _ in self.patterns}
        for layer in graph.layers:
            names = tuple(names_of(layer))
            if names not in found:
                found[names] = self.default, ""
                for pattern, dtype in self.patterns:
                    if any(_matches(name, pattern) for name in names):
                        found[names] = dtype, pattern
                        unused.discard(pattern)
            result[layer.name] = found[names]
        if unused:
            raise ValueError(_explain([pattern for pattern, _ in self.patterns if pattern in unused], graph))
        return result


def provenance_of(choice: Choice | None) -> dict[str, Any]:
    """What a plan's provenance says of a choice."""
    return {} if choice is None else {"precision": choice.to_json()}


_LISTING = ", ".join(f'"{name}"' for name in TYPES)


def _type(what: str, name: Any) -> DataType:
    if not isinstance(name, str) or name not in TYPES:
        raise ValueError(f"{what}={name!r}: it takes {_LISTING}")
    return TYPES[name]


def names_of(layer: Layer) -> Iterator[str]:
    """What patterns may call a layer: its module and those around it, and its torch function."""
    origin = layer.origin
    if origin is None:
        yield layer.name  # a node of an ONNX file
        return
    path = origin.module
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield origin.function


def _matches(name: str, pattern: str) -> bool:
    if fnmatch.fnmatchcase(name, pattern):
        return True
    alias = next((prefix for prefix in _ALIASES if name.startswith(prefix)), None)
    given = next((prefix for prefix in _ALIASES if pattern.startswith(prefix)), None)
    if alias is None or given is None:
        return False
    return fnmatch.fnmatchcase(name.removeprefix(alias), pattern.removeprefix(given))


def _explain(unused: list[str], graph: Graph) -> str:
    known = dict.fromkeys(name for layer in graph.layers for name in names_of(layer))
    lines = []
    for pattern in unused:
        near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {', '.join(list(known)[:8])}, ..."
        )
        lines.append(f"precision[{pattern!r}] matches no module path and no torch function of this network; {hint}")
    return "\n".join(lines)
