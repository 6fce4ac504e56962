"""Reading a TensorRT network definition: the only part of this package that touches TensorRT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy

from trtconv import tensorrt as trt
from trtconv.graph.data import DataType, Graph, Layer, Live, TensorType
from trtconv.graph.layout import copy_weights
from trtconv.graph.plugins import fields_of
from trtconv.graph.weights import to_tensor

_PADDED = ("stride_nd", "padding_mode", "pre_padding", "post_padding")
_CONVOLUTION = (*_PADDED, "kernel_size_nd", "num_output_maps", "num_groups", "dilation_nd", "kernel", "bias")

# LayerType -> the binding's class and the attributes that say what the layer computes. A layer type
# that is not here has inputs and outputs only, or is unknown to the interpreter.
ATTRIBUTES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "ACTIVATION": ("IActivationLayer", ("type", "alpha", "beta")),
    "ASSERTION": ("IAssertionLayer", ("message",)),
    "CAST": ("ICastLayer", ("to_type",)),
    "CONCATENATION": ("IConcatenationLayer", ("axis",)),
    "CONSTANT": ("IConstantLayer", ("shape", "weights")),
    "CONVOLUTION": ("IConvolutionLayer", _CONVOLUTION),
    "CUMULATIVE": ("ICumulativeLayer", ("op", "exclusive", "reverse")),
    "DECONVOLUTION": ("IDeconvolutionLayer", _CONVOLUTION),
    "DEQUANTIZE": ("IDequantizeLayer", ("axis", "block_shape", "to_type")),
    "DYNAMIC_QUANTIZE": (
        "IDynamicQuantizeLayer",
        ("axis", "block_size", "block_shape", "to_type", "scale_type"),
    ),
    "EINSUM": ("IEinsumLayer", ("equation",)),
    "ELEMENTWISE": ("IElementWiseLayer", ("op",)),
    "FILL": ("IFillLayer", ("operation", "shape", "alpha", "beta", "to_type")),
    "GATHER": ("IGatherLayer", ("axis", "mode", "num_elementwise_dims")),
    "GRID_SAMPLE": ("IGridSampleLayer", ("interpolation_mode", "align_corners", "sample_mode")),
    "ITERATOR": ("IIteratorLayer", ("axis", "reverse")),
    "KV_CACHE_UPDATE": ("IKVCacheUpdateLayer", ("cache_mode", "update_form")),
    "LOOP_OUTPUT": ("ILoopOutputLayer", ("axis", "kind")),
    "LRN": ("ILRNLayer", ("window_size", "alpha", "beta", "k")),
    "MATRIX_MULTIPLY": ("IMatrixMultiplyLayer", ("op0", "op1")),
    "MOE": (
        "IMoELayer",
        (
            "activation_type",
            "quantization_to_type",
            "swiglu_param_alpha",
            "swiglu_param_beta",
            "swiglu_param_limit",
        ),
    ),
    "NMS": ("INMSLayer", ("bounding_box_format", "topk_box_limit", "indices_type")),
    "NON_ZERO": ("INonZeroLayer", ("indices_type",)),
    "NORMALIZATION": ("INormalizationLayer", ("axes", "epsilon", "num_groups", "is_v2")),
    "ONE_HOT": ("IOneHotLayer", ("axis",)),
    "PADDING": ("IPaddingLayer", ("pre_padding_nd", "post_padding_nd")),
    "POOLING": (
        "IPoolingLayer",
        (*_PADDED, "type", "window_size_nd", "blend_factor", "average_count_excludes_padding"),
    ),
    "QUANTIZE": ("IQuantizeLayer", ("axis", "block_shape", "to_type")),
    "REDUCE": ("IReduceLayer", ("op", "axes", "keep_dims")),
    "RESIZE": (
        "IResizeLayer",
        (
            "resize_mode",
            "shape",
            "scales",
            "coordinate_transformation",
            "nearest_rounding",
            "selector_for_single_pixel",
            "cubic_coeff",
            "exclude_outside",
        ),
    ),
    "REVERSE_SEQUENCE": ("IReverseSequenceLayer", ("batch_axis", "sequence_axis")),
    "ROTARY_EMBEDDING": ("IRotaryEmbeddingLayer", ("interleaved", "rotary_embedding_dim")),
    "SCALE": ("IScaleLayer", ("mode", "shift", "scale", "power", "channel_axis")),
    "SCATTER": ("IScatterLayer", ("mode", "axis")),
    "SHUFFLE": (
        "IShuffleLayer",
        ("first_transpose", "reshape_dims", "second_transpose", "zero_is_placeholder"),
    ),
    "SLICE": ("ISliceLayer", ("start", "shape", "stride", "axes", "mode")),
    "SOFTMAX": ("ISoftMaxLayer", ("axes",)),
    "TOPK": ("ITopKLayer", ("op", "k", "axes", "indices_type")),
    "TRIP_LIMIT": ("ITripLimitLayer", ("kind",)),
    "UNARY": ("IUnaryLayer", ("op",)),
}

# Boundary layers of a construct: the binding's class and its attribute that gives the construct.
CONSTRUCTS: Mapping[str, tuple[str, str]] = {
    "TRIP_LIMIT": ("ITripLimitLayer", "loop"),
    "RECURRENCE": ("IRecurrenceLayer", "loop"),
    "ITERATOR": ("IIteratorLayer", "loop"),
    "LOOP_OUTPUT": ("ILoopOutputLayer", "loop"),
    "CONDITION": ("IConditionLayer", "conditional"),
    "CONDITIONAL_INPUT": ("IIfConditionalInputLayer", "conditional"),
    "CONDITIONAL_OUTPUT": ("IIfConditionalOutputLayer", "conditional"),
    "ATTENTION_INPUT": ("IAttentionInputLayer", "attention"),
    "ATTENTION_OUTPUT": ("IAttentionOutputLayer", "attention"),
}


def read(network: Any, *, copy: bool = True) -> Graph:
    """Read a ``trt.INetworkDefinition`` into a :class:`Graph`, which keeps no reference to it.

    Weights are copied, because TensorRT neither copies nor owns those that it was given; without ``copy`` they are
    views, and mean something as long as those.

    Raises:
        ValueError: TensorRT itself can't infer a layer's output, so that the network can't be built.
    """
    graph = _Reader(network).read()
    if copy:
        copy_weights(graph.layers)
    return graph


class _Reader:
    """One reading of a network: the tensors met so far, and the loops, conditionals and attentions."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.tensors: dict[str, TensorType] = {}
        # Python wrappers of a construct are identical while one lives, so that these lists, which keep
        # them alive, number the constructs; their names may repeat.
        self.constructs: dict[str, list[Any]] = {"loop": [], "conditional": [], "attention": []}

    def read(self) -> Graph:
        network = self.network
        inputs = tuple(self._tensor(network.get_input(i), "network input") for i in range(network.num_inputs))
        layers = tuple(self._layer(network.get_layer(i)) for i in range(network.num_layers))
        outputs = tuple(network.get_output(i).name for i in range(network.num_outputs))
        return Graph(inputs, outputs, layers, self.tensors)

    def _tensor(self, tensor: Any, origin: str) -> str:
        name: str = tensor.name
        if name in self.tensors:
            return name
        try:
            shape = tuple(int(size) for size in tensor.shape)
        except RuntimeError as error:
            raise ValueError(
                f"TensorRT can't infer the shape of tensor {name!r} of {origin}, so it can't build the "
                "network; TensorRT's logger has the reason"
            ) from error
        self.tensors[name] = TensorType(DataType[tensor.dtype.name], shape)
        return name

    def _layer(self, layer: Any) -> Layer:
        # Before the downcast: the classes of some layers have a `type` of another meaning.
        kind: str = layer.type.name
        name: str = layer.name
        origin = f"layer {name!r} ({kind})"
        inputs = tuple(
            None if tensor is None else self._tensor(tensor, origin)
            for tensor in (layer.get_input(i) for i in range(layer.num_inputs))
        )
        outputs = tuple(self._tensor(layer.get_output(i), origin) for i in range(layer.num_outputs))
        attributes: dict[str, Any] = {}
        if kind in CONSTRUCTS:
            attributes.update(self._construct(layer, kind))
        if kind in ATTRIBUTES:
            class_name, names = ATTRIBUTES[kind]
            layer.__class__ = getattr(trt, class_name)
            attributes.update((name, _attribute(layer, name)) for name in names)
        result = Layer(name, kind, attributes, inputs, outputs)
        if kind in _REFINEMENTS:
            attributes.update(_REFINEMENTS[kind](layer, result, self.tensors))
        return result

    def _construct(self, layer: Any, kind: str) -> dict[str, Any]:
        class_name, attribute = CONSTRUCTS[kind]
        layer.__class__ = getattr(trt, class_name)
        construct = getattr(layer, attribute)
        known = self.constructs[attribute]
        index = next((i for i, other in enumerate(known) if other is construct), len(known))
        if index == len(known):
            known.append(construct)
        result = {attribute: f"{construct.name} #{index}"}
        if kind == "ATTENTION_INPUT":
            result.update(_attention(construct))
        return result


def _attribute(layer: Any, name: str) -> Any:
    """An attribute as plain data; None where it is not set or this release of TensorRT lacks it."""
    try:
        return _plain(getattr(layer, name, None))
    except RuntimeError:  # how the bindings say that block_shape is not set
        return None


def _plain(value: Any) -> Any:
    """A binding's value as plain data."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, numpy.ndarray) or type(value).__name__ == "Weights":
        return to_tensor(value)
    if hasattr(type(value), "__members__"):
        return value.name
    return tuple(_plain(item) for item in value)


def _attention(attention: Any) -> dict[str, Any]:
    """Attributes of an IAttention; its tensors are inputs of its ATTENTION_INPUT layer."""
    names = ("norm_op", "causal", "causal_kind", "decomposable", "query_form", "key_value_form")
    result = {name: _plain(getattr(attention, name, None)) for name in names}
    # Reading the type of a quantization that is not set is an error in TensorRT's log.
    quantized = attention.normalization_quantize_scale is not None
    result["normalization_quantize_to_type"] = attention.normalization_quantize_to_type.name if quantized else None
    return result


def _constant(_binding: Any, layer: Layer, _tensors: Mapping[str, TensorType]) -> dict[str, Any]:
    return {"weights": layer.attributes["weights"].reshape(layer.attributes["shape"])}


def _kernel(_binding: Any, layer: Layer, _tensors: Mapping[str, TensorType]) -> dict[str, Any]:
    """Kernel and bias in the shapes that torch's convolutions take, None where an input holds them."""
    attributes = layer.attributes
    kernel, bias = attributes["kernel"], attributes["bias"]
    maps, groups = attributes["num_output_maps"], attributes["num_groups"]
    leading = (maps, -1) if layer.type == "CONVOLUTION" else (-1, maps // groups)
    return {
        "kernel": kernel.reshape(*leading, *attributes["kernel_size_nd"]) if kernel.numel() else None,
        "bias": bias if bias.numel() else None,
    }


def _scale(_binding: Any, layer: Layer, _tensors: Mapping[str, TensorType]) -> dict[str, Any]:
    weights = {name: layer.attributes[name] for name in ("shift", "scale", "power")}
    return {name: value if value.numel() else None for name, value in weights.items()}


def _shuffle(_binding: Any, layer: Layer, tensors: Mapping[str, TensorType]) -> dict[str, Any]:
    """Permutations cut to the rank, None for the identity: TensorRT always gives eight entries."""

    def cut(name: str, tensor: str | None) -> tuple[int, ...] | None:
        rank = len(tensors[tensor].shape) if tensor is not None else 0
        permutation: tuple[int, ...] = layer.attributes[name][:rank]
        return None if permutation == tuple(range(rank)) else permutation

    return {
        "first_transpose": cut("first_transpose", layer.inputs[0]),
        "second_transpose": cut("second_transpose", layer.outputs[0]),
    }


def _plugin(binding: Any, layer: Layer, _tensors: Mapping[str, TensorType]) -> dict[str, Any]:
    """By what a plugin is registered and made again, and itself."""
    if layer.type == "PLUGIN_V2":
        binding.__class__ = trt.IPluginV2Layer
        return {"plugin": binding.plugin.plugin_type, "instance": Live(binding.plugin)}
    binding.__class__ = trt.IPluginV3Layer
    core = binding.plugin.get_capability_interface(trt.PluginCapabilityType.CORE)
    names = {"plugin": core.plugin_name, "version": core.plugin_version, "namespace": core.plugin_namespace}
    return {**names, "fields": fields_of(binding.plugin), "instance": Live(binding.plugin)}


_Refinement = Callable[[Any, Layer, Mapping[str, TensorType]], dict[str, Any]]
_REFINEMENTS: Mapping[str, _Refinement] = {
    "CONSTANT": _constant,
    "CONVOLUTION": _kernel,
    "DECONVOLUTION": _kernel,
    "PLUGIN_V2": _plugin,
    "PLUGIN_V3": _plugin,
    "SCALE": _scale,
    "SHUFFLE": _shuffle,
}
