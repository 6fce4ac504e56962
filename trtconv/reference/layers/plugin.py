"""PLUGIN, PLUGIN_V2 and PLUGIN_V3, by functions that users register."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from trtconv.graph.data import Layer
from trtconv.reference.layers.registry import Kernel, LayerContext, implements

PluginFunction = Callable[[Layer, Sequence["Tensor | None"]], "Tensor | Sequence[Tensor]"]
PLUGIN_TYPES = ("PLUGIN", "PLUGIN_V2", "PLUGIN_V3")
_FUNCTIONS: dict[str, PluginFunction] = {}


def register_plugin(name: str, function: PluginFunction) -> None:
    """Say how layers of a plugin are computed, replacing what was said before.

    Args:
        name: the plugin's registered name, such as ``"ROIAlign_TRT"``.
        function: called with the layer and its input tensors, None where one is not set; returns the
            output tensor or a sequence of them, each of the type and shape that the plugin gives.
    """
    _FUNCTIONS[name] = function


def is_registered(layer: Layer) -> bool:
    """Tell whether a layer is a plugin for which there is a function."""
    return layer.type in PLUGIN_TYPES and layer.attributes.get("plugin") in _FUNCTIONS


def _plugin(context: LayerContext) -> Kernel:
    layer = context.layer
    name = layer.attributes.get("plugin")
    if name not in _FUNCTIONS:
        raise NotImplementedError(f"no function is registered for plugin {name!r}: see register_plugin")
    function = _FUNCTIONS[name]

    def kernel(*inputs: Tensor | None) -> Tensor | tuple[Tensor, ...]:
        results = function(layer, inputs)
        return results if isinstance(results, Tensor) else tuple(results)

    return kernel


for _type in PLUGIN_TYPES:
    implements(_type)(_plugin)
