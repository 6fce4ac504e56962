"""Layers of an engine that say which layers of the network they were made of.

TensorRT gives a layer of an engine the metadata of all layers that it fused into it, one after the other.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote


def write_names(definition: Any) -> None:
    """Give each layer of a `trt.INetworkDefinition` its name as its metadata."""
    for place in range(definition.num_layers):
        layer = definition.get_layer(place)
        layer.metadata = f"<{quote(layer.name, safe='/.:-_ ')}>"


def names_in(metadata: str) -> list[str]:
    """The names of layers in the metadata of an engine's layer."""
    return [unquote(name) for name in re.findall("<([^<>]*)>", metadata)]
