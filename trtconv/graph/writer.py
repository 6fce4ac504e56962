"""Writing a graph to a TensorRT network definition: the inverse of `trtconv.reference.read`.

Most layers are one call and some attributes, which `_ADDED` lists; what else there is (weights, lists of inputs,
layers with two forms, boundaries of loops, conditionals and attentions) is a function in `_BY_HAND`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.graph.data import DataType, Graph, Layer
from trtconv.graph.order import in_order
from trtconv.graph.plugins import plugin_of
from trtconv.graph.reader import ATTRIBUTES
from trtconv.graph.weights import memory_of
from trtconv.tensorrt.logger import logger


@dataclasses.dataclass(frozen=True)
class Written:
    """A definition that was written from a graph, and what has to live as long as it.

    Attributes:
        builder: The ``trt.Builder`` of the definition.
        definition: The ``trt.INetworkDefinition``.
        weights: The memory that the definition's weights point to; TensorRT doesn't copy it.
    """

    builder: Any
    definition: Any
    weights: list[torch.Tensor | None]


def write(graph: Graph) -> Written:
    """Write a graph to a fresh, strongly typed network definition.

    Weights aren't copied where they are contiguous and TensorRT has them element by element.

    Raises:
        ValueError: the installed TensorRT has no such layer, or refuses one; the message names the layer.
    """
    builder = trt.Builder(logger())
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    definition = builder.create_network(0 if flag is None else 1 << int(flag))
    writer = _Writer(graph, definition)
    writer.write()
    return Written(builder, definition, writer.weights)


class _Writer:
    """One writing of a graph: the TensorRT tensors, loops, conditionals and attentions by their names there."""

    def __init__(self, graph: Graph, definition: Any) -> None:
        self.graph = graph
        self.definition = definition
        self.tensors: dict[str, Any] = {}
        self.constructs: dict[str, Any] = {}
        self.weights: list[torch.Tensor | None] = []
        self._back_edges: list[tuple[Any, str]] = []

    def write(self) -> None:
        for name in self.graph.inputs:
            kind = self.graph.tensors[name]
            self.tensors[name] = self.definition.add_input(name, data_type(kind.dtype.name), kind.shape)
        for layer in in_order(self.graph.layers):
            self._layer(layer)
        for recurrence, name in self._back_edges:
            recurrence.set_input(1, self.tensors[name])
        for name in self.graph.outputs:
            self.definition.mark_output(self.tensors[name])

    def _layer(self, layer: Layer) -> None:
        try:
            if layer.type in _BY_HAND:
                added, rest = _BY_HAND[layer.type](self, layer)
            elif layer.type in _ADDED:
                added, rest = self._add(layer, *_ADDED[layer.type])
            else:
                raise ValueError("layers of this type can't be written")
            if added is None:
                raise ValueError("TensorRT refuses it; its logger has the reason")
            self._set_attributes(added, layer)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{layer}: {error}") from error
        added.name = layer.name
        for place, name in enumerate(layer.inputs[rest:], start=rest):
            if name is not None:
                added.set_input(place, self.tensors[name])
        for place, name in enumerate(layer.outputs):
            tensor, kind = added.get_output(place), self.graph.tensors[name]
            if tensor.dtype != data_type(kind.dtype.name):
                raise ValueError(f"{layer}: TensorRT says that {name!r} is {tensor.dtype.name}, not {kind}")
            self.name(tensor, name)

    def _add(self, layer: Layer, method: str, *arguments: int | str) -> tuple[Any, int]:
        """Add a layer by a method with these arguments: places of inputs, _ALL for a list, and names of attributes."""
        values = [self._argument(layer, each) for each in arguments]
        given = len(layer.inputs) if _ALL in arguments else sum(isinstance(each, int) for each in arguments)
        return getattr(self.definition, method)(*values), given

    def _argument(self, layer: Layer, each: int | str) -> Any:
        if isinstance(each, int):
            return self.input(layer, each)
        return self.inputs(layer) if each == _ALL else self.attribute(layer, each)

    def input(self, layer: Layer, place: int) -> Any:
        name = layer.inputs[place]
        return None if name is None else self.tensors[name]

    def inputs(self, layer: Layer) -> list[Any]:
        return [self.input(layer, place) for place in range(len(layer.inputs))]

    def attribute(self, layer: Layer, given: str) -> Any:
        """An attribute as the bindings take it; "name: Class" is the name of a member of that enum."""
        name, _, enum = given.partition(": ")
        value = layer.attributes[name]
        return member(enum, value) if enum else value

    def weights_of(self, value: torch.Tensor | None, dtype: DataType) -> Any:
        """The ``trt.Weights`` over a tensor's values, empty ones for None."""
        weights, memory = memory_of(value, dtype)
        self.weights.append(memory)
        return weights

    def name(self, tensor: Any, name: str) -> None:
        """Give a new tensor its name."""
        tensor.name = name
        self.tensors[name] = tensor

    def construct(self, layer: Layer, kind: str, add: Callable[[], Any]) -> Any:
        """The loop, conditional or attention that a boundary layer belongs to."""
        label = layer.attributes[kind]
        if label not in self.constructs:
            self.constructs[label] = add()
            self.constructs[label].name = label.rpartition(" #")[0]
        return self.constructs[label]

    def close_later(self, recurrence: Any, name: str) -> None:
        """Note what a recurrence takes from one iteration to the next: it is made after it."""
        self._back_edges.append((recurrence, name))

    def _set_attributes(self, added: Any, layer: Layer) -> None:
        """Set what creating the layer hasn't set: only what differs, since setting alone has effects in places."""
        given = _ADDED.get(layer.type, ())[1:]
        done = {each.partition(": ")[0] for each in given if isinstance(each, str)} | _SET_BY_HAND
        for name in ATTRIBUTES.get(layer.type, ("", ()))[1]:
            value = layer.attributes.get(name)
            if name in done or value is None or isinstance(value, torch.Tensor):
                continue
            present = _present(added, name)
            if hasattr(type(present), "__members__"):
                value = type(present).__members__[value]
            if present is None or (tuple(present) if isinstance(value, tuple) else present) != value:
                setattr(added, name, value)


def _present(added: Any, name: str) -> Any:
    try:
        return getattr(added, name)
    except RuntimeError:  # how the bindings say that block_shape is not set
        return None


def data_type(name: str) -> Any:
    """The ``trt.DataType`` of this name."""
    return trt.DataType.__members__[name]


def member(enum: str, name: str) -> Any:
    """A member of one of TensorRT's enums by its name."""
    return getattr(trt, enum).__members__[name]


_SET_BY_HAND = {"kernel", "bias", "shift", "scale", "power", "weights", "is_v2", "quantization_to_type", "kind"} | {
    f"swiglu_param_{name}" for name in ("alpha", "beta", "limit")
}

_ALL = "*"

# Layer type -> the method that adds it, and its arguments: places of inputs, names of attributes with their enums.
_ADDED: Mapping[str, tuple[Any, ...]] = {
    "ACTIVATION": ("add_activation", 0, "type: ActivationType"),
    "ASSERTION": ("add_assertion", 0, "message"),
    "CAST": ("add_cast", 0, "to_type: DataType"),
    "CONCATENATION": ("add_concatenation", _ALL),
    "CUMULATIVE": ("add_cumulative", 0, 1, "op: CumulativeOperation", "exclusive", "reverse"),
    "DEQUANTIZE": ("add_dequantize", 0, 1, "to_type: DataType"),
    "EINSUM": ("add_einsum", _ALL, "equation"),
    "ELEMENTWISE": ("add_elementwise", 0, 1, "op: ElementWiseOperation"),
    "GATHER": ("add_gather_v2", 0, 1, "mode: GatherMode"),
    "GRID_SAMPLE": ("add_grid_sample", 0, 1),
    "IDENTITY": ("add_identity", 0),
    "KV_CACHE_UPDATE": ("add_kv_cache_update", 0, 1, 2, "cache_mode: KVCacheMode"),
    "LRN": ("add_lrn", 0, "window_size", "alpha", "beta", "k"),
    "MATRIX_MULTIPLY": ("add_matrix_multiply", 0, "op0: MatrixOperation", 1, "op1: MatrixOperation"),
    "NMS": ("add_nms", 0, 1, 2, "indices_type: DataType"),
    "NON_ZERO": ("add_non_zero", 0, "indices_type: DataType"),
    "ONE_HOT": ("add_one_hot", 0, 1, 2, "axis"),
    "PADDING": ("add_padding_nd", 0, "pre_padding_nd", "post_padding_nd"),
    "PARAMETRIC_RELU": ("add_parametric_relu", 0, 1),
    "POOLING": ("add_pooling_nd", 0, "type: PoolingType", "window_size_nd"),
    "QUANTIZE": ("add_quantize", 0, 1, "to_type: DataType"),
    "RAGGED_SOFTMAX": ("add_ragged_softmax", 0, 1),
    "REDUCE": ("add_reduce", 0, "op: ReduceOperation", "axes", "keep_dims"),
    "RESIZE": ("add_resize", 0),
    "REVERSE_SEQUENCE": ("add_reverse_sequence", 0, 1),
    "ROTARY_EMBEDDING": ("add_rotary_embedding", 0, 1, 2, "interleaved", "rotary_embedding_dim"),
    "SCATTER": ("add_scatter", 0, 1, 2, "mode: ScatterMode"),
    "SELECT": ("add_select", 0, 1, 2),
    "SHAPE": ("add_shape", 0),
    "SHUFFLE": ("add_shuffle", 0),
    "SOFTMAX": ("add_softmax", 0),
    "UNARY": ("add_unary", 0, "op: UnaryOperation"),
    "UNSQUEEZE": ("add_unsqueeze", 0, 1),
}


def _squeeze(w: _Writer, layer: Layer) -> tuple[Any, int]:
    return w.definition.add_squeeze(*w.inputs(layer)), len(layer.inputs)


def _constant(w: _Writer, layer: Layer) -> tuple[Any, int]:
    dtype = w.graph.tensors[layer.outputs[0]].dtype
    weights = w.weights_of(layer.attributes["weights"], dtype)
    return w.definition.add_constant(layer.attributes["shape"], weights), 0


def _convolution(w: _Writer, layer: Layer) -> tuple[Any, int]:
    attributes, dtype = layer.attributes, w.graph.tensors[layer.outputs[0]].dtype
    method = getattr(w.definition, f"add_{layer.type.lower()}_nd")
    kernel, bias = (w.weights_of(attributes[name], dtype) for name in ("kernel", "bias"))
    maps, size = attributes["num_output_maps"], attributes["kernel_size_nd"]
    return method(w.input(layer, 0), maps, size, kernel, bias), 1


def _scale(w: _Writer, layer: Layer) -> tuple[Any, int]:
    dtype = w.graph.tensors[layer.outputs[0]].dtype
    weights = [w.weights_of(layer.attributes[name], dtype) for name in ("shift", "scale", "power")]
    mode = w.attribute(layer, "mode: ScaleMode")
    return w.definition.add_scale_nd(w.input(layer, 0), mode, *weights, layer.attributes["channel_axis"]), 1


def _slice(w: _Writer, layer: Layer) -> tuple[Any, int]:
    rank = len(w.graph.tensors[layer.outputs[0]].shape)
    numbers = [layer.attributes[name] for name in ("start", "shape", "stride")]
    # What an input gives is replaced when that is set.
    return w.definition.add_slice(w.input(layer, 0), *[(0,) * rank if n is None else n for n in numbers]), 1


def _fill(w: _Writer, layer: Layer) -> tuple[Any, int]:
    shape = layer.attributes["shape"]
    rank = len(w.graph.tensors[layer.outputs[0]].shape)
    kinds = w.attribute(layer, "operation: FillOperation"), w.attribute(layer, "to_type: DataType")
    return w.definition.add_fill((0,) * rank if shape is None else shape, *kinds), 0


def _normalization(w: _Writer, layer: Layer) -> tuple[Any, int]:
    method = w.definition.add_normalization_v2 if layer.attributes["is_v2"] else w.definition.add_normalization
    return method(*w.inputs(layer), layer.attributes["axes"]), 3


def _dynamic_quantize(w: _Writer, layer: Layer) -> tuple[Any, int]:
    types = w.attribute(layer, "to_type: DataType"), w.attribute(layer, "scale_type: DataType")
    if layer.attributes["block_shape"]:
        return w.definition.add_dynamic_quantize_v2(w.input(layer, 0), layer.attributes["block_shape"], *types), 1
    sizes = layer.attributes["axis"], layer.attributes["block_size"]
    return w.definition.add_dynamic_quantize(w.input(layer, 0), *sizes, *types), 1


def _experts(w: _Writer, layer: Layer) -> tuple[Any, int]:
    tokens, experts, scores, *weights = w.inputs(layer)
    weights += [None] * (7 - len(weights))  # gate, up and down, their biases, the scale of what enters down
    attributes = layer.attributes
    added = w.definition.add_moe(tokens, experts, scores)
    added.set_gated_weights(*weights[:3], w.attribute(layer, "activation_type: MoEActType"))
    if weights[3] is not None:
        added.set_gated_biases(*weights[3:6])
    if weights[6] is not None:
        added.set_quantization_static(weights[6], w.attribute(layer, "quantization_to_type: DataType"))
    swiglu = [attributes[f"swiglu_param_{name}"] for name in ("limit", "alpha", "beta")]
    if swiglu != [added.swiglu_param_limit, added.swiglu_param_alpha, added.swiglu_param_beta]:
        added.set_swiglu_params(*swiglu)
    return added, len(layer.inputs)


def _topk(w: _Writer, layer: Layer) -> tuple[Any, int]:
    count = max(layer.attributes["k"], 1)  # -1 where an input gives it
    kinds = w.attribute(layer, "op: TopKOperation"), w.attribute(layer, "indices_type: DataType")
    return w.definition.add_topk(w.input(layer, 0), kinds[0], count, layer.attributes["axes"], kinds[1]), 1


def _trip_limit(w: _Writer, layer: Layer) -> tuple[Any, int]:
    loop = w.construct(layer, "loop", w.definition.add_loop)
    return loop.add_trip_limit(w.input(layer, 0), w.attribute(layer, "kind: TripLimit")), 1


def _iterator(w: _Writer, layer: Layer) -> tuple[Any, int]:
    loop = w.construct(layer, "loop", w.definition.add_loop)
    return loop.add_iterator(w.input(layer, 0), layer.attributes["axis"], layer.attributes["reverse"]), 1


def _recurrence(w: _Writer, layer: Layer) -> tuple[Any, int]:
    recurrence = w.construct(layer, "loop", w.definition.add_loop).add_recurrence(w.input(layer, 0))
    if len(layer.inputs) > 1 and layer.inputs[1] is not None:
        w.close_later(recurrence, layer.inputs[1])
    return recurrence, len(layer.inputs)


def _loop_output(w: _Writer, layer: Layer) -> tuple[Any, int]:
    loop = w.construct(layer, "loop", w.definition.add_loop)
    kind = w.attribute(layer, "kind: LoopOutput")
    return loop.add_loop_output(w.input(layer, 0), kind, layer.attributes["axis"]), 1


def _condition(w: _Writer, layer: Layer) -> tuple[Any, int]:
    conditional = w.construct(layer, "conditional", w.definition.add_if_conditional)
    return conditional.set_condition(w.input(layer, 0)), 1


def _conditional_input(w: _Writer, layer: Layer) -> tuple[Any, int]:
    return w.construct(layer, "conditional", w.definition.add_if_conditional).add_input(w.input(layer, 0)), 1


def _conditional_output(w: _Writer, layer: Layer) -> tuple[Any, int]:
    return w.construct(layer, "conditional", w.definition.add_if_conditional).add_output(*w.inputs(layer)), 2


def _attention(w: _Writer, layer: Layer) -> tuple[Any, int]:
    """Both boundary layers of an attention are added at once; its optional tensors are the first's inputs."""
    query, key, value, *optional = w.inputs(layer)
    attributes, norm = layer.attributes, w.attribute(layer, "norm_op: AttentionNormalizationOp")

    def add() -> Any:
        if attributes["causal_kind"] is None:  # a TensorRT before 11
            return w.definition.add_attention(query, key, value, norm, attributes["causal"])
        causal = w.attribute(layer, "causal_kind: CausalMaskKind")
        return w.definition.add_attention_v2(query, key, value, norm, causal)

    attention = w.construct(layer, "attention", add)
    for name, tensor in zip(_ATTENTION_TENSORS, optional, strict=False):
        if tensor is not None:
            setattr(attention, name, tensor)
    quantized = attributes["normalization_quantize_to_type"]
    if quantized is not None:
        attention.normalization_quantize_to_type = data_type(quantized)
    for name, enum in (("query_form", "AttentionIOForm"), ("key_value_form", "AttentionIOForm")):
        if attributes[name] is not None and getattr(attention, name).name != attributes[name]:
            setattr(attention, name, member(enum, attributes[name]))
    attention.decomposable = attributes.get("decomposable") is not False  # saved graphs of old don't say
    return w.definition.get_layer(w.definition.num_layers - 2), len(layer.inputs)


_ATTENTION_TENSORS = ("mask", "normalization_quantize_scale", "query_lengths", "key_value_lengths")


def _attention_output(w: _Writer, layer: Layer) -> tuple[Any, int]:  # it was added with the input
    return w.definition.get_layer(w.definition.num_layers - 1), len(layer.inputs)


def _plugin(w: _Writer, layer: Layer) -> tuple[Any, int]:
    plugin = plugin_of(layer)
    if layer.type == "PLUGIN_V2":
        return w.definition.add_plugin_v2(w.inputs(layer), plugin), len(layer.inputs)
    return w.definition.add_plugin_v3(w.inputs(layer), [], plugin), len(layer.inputs)


_BY_HAND: Mapping[str, Callable[[_Writer, Layer], tuple[Any, int]]] = {
    "ATTENTION_INPUT": _attention,
    "ATTENTION_OUTPUT": _attention_output,
    "CONDITION": _condition,
    "CONDITIONAL_INPUT": _conditional_input,
    "CONDITIONAL_OUTPUT": _conditional_output,
    "CONSTANT": _constant,
    "CONVOLUTION": _convolution,
    "DECONVOLUTION": _convolution,
    "DYNAMIC_QUANTIZE": _dynamic_quantize,
    "FILL": _fill,
    "ITERATOR": _iterator,
    "LOOP_OUTPUT": _loop_output,
    "MOE": _experts,
    "NORMALIZATION": _normalization,
    "PLUGIN_V2": _plugin,
    "PLUGIN_V3": _plugin,
    "RECURRENCE": _recurrence,
    "SCALE": _scale,
    "SLICE": _slice,
    "SQUEEZE": _squeeze,
    "TOPK": _topk,
    "TRIP_LIMIT": _trip_limit,
}
