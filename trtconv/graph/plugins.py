"""Plugins as data: by what their creators make them again."""

from __future__ import annotations

from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.graph.data import Layer

Fields = tuple[tuple[str, str, torch.Tensor], ...]
"""Each field's name, the member of `trt.PluginFieldType` that it is of, and its values."""


def fields_of(plugin: Any) -> Fields | None:
    """What a ``trt.IPluginV3`` says that it is made again by; None where it says nothing that can be read here."""
    running = plugin.get_capability_interface(trt.PluginCapabilityType.RUNTIME)
    try:
        fields = running.get_fields_to_serialize()
        return tuple((field.name, field.type.name, torch.from_numpy(field.data.copy())) for field in fields)
    except (AttributeError, RuntimeError, TypeError):  # the bindings don't give values of every type
        return None


def plugin_of(layer: Layer) -> Any:
    """The plugin of a layer: the object that it was read with, or one that its creator makes in this process.

    Raises:
        ValueError: its fields aren't known, no such creator is registered, or that makes none of them.
    """
    instance = layer.attributes.get("instance")
    if instance is not None and instance.value is not None:
        return instance.value
    fields: Fields | None = layer.attributes.get("fields")
    if fields is None:
        raise ValueError("its plugin isn't in this process, and of what it is made wasn't told; convert again")
    name, version, namespace = (layer.attributes[each] for each in ("plugin", "version", "namespace"))
    creator = trt.get_plugin_registry().get_creator(name, version, namespace)
    if creator is None:
        raise ValueError(f"no creator of plugin {name!r}, version {version!r}, is registered: load its library first")
    kinds = trt.PluginFieldType.__members__
    given = [trt.PluginField(field, values.numpy(), kinds[kind]) for field, kind, values in fields]
    result = creator.create_plugin(layer.name, trt.PluginFieldCollection(given), trt.TensorRTPhase.BUILD)
    if result is None:
        raise ValueError(f"the creator of plugin {name!r} makes none of the saved fields")
    return result
