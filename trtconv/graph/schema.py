"""What the attributes of each layer type may be, so that a damaged graph is refused where it is loaded.

Names of enum members are only names here: what they may be is for those who execute or write the layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trtconv.graph.data import DataType, Layer, TensorType
from trtconv.graph.padding import output_size

_MOST_DIMENSIONS = 8
_MOST = 2**31 - 1
_MOST_INT64 = 2**63 - 1


@dataclass(frozen=True)
class _Kind:
    """Values that an attribute may have; ``words`` names them."""

    words: str
    holds: Callable[[Any], bool]

    def __or__(self, other: _Kind) -> _Kind:
        return _Kind(f"{self.words} or {other.words}", lambda value: self.holds(value) or other.holds(value))


def _integer(low: int, high: int) -> _Kind:
    return _Kind(f"an integer from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def _several(kind: _Kind) -> _Kind:
    def holds(value: Any) -> bool:
        return isinstance(value, tuple) and len(value) <= _MOST_DIMENSIONS and all(map(kind.holds, value))

    return _Kind(f"a tuple, each {kind.words}", holds)


_NONE = _Kind("None", lambda value: value is None)
_NAME = _Kind("a name", lambda value: isinstance(value, str))
_FLAG = _Kind("True or False", lambda value: type(value) in (bool, int) and value in (0, 1))
_NUMBER = _Kind("a number", lambda value: type(value) in (int, float))
_WEIGHTS = _Kind("weights", lambda value: isinstance(value, torch.Tensor))
_COUNT = _integer(0, _MOST)
_POSITIVE = _integer(1, _MOST)
_AXIS = _integer(-_MOST_DIMENSIONS, _MOST_DIMENSIONS - 1)
_AXES = _integer(0, 2**_MOST_DIMENSIONS - 1)  # a bit for each
_ANY = _integer(-_MOST_INT64, _MOST_INT64)
_SIZES = _several(_integer(0, _MOST_INT64))
_COUNTS, _POSITIVES = _several(_COUNT), _several(_POSITIVE)
_ORDER = _several(_integer(0, _MOST_DIMENSIONS - 1)) | _NONE
_DATA_TYPE = _Kind("a data type", lambda value: value in DataType.__members__)

_PADDED = {"stride_nd": _POSITIVES, "padding_mode": _NAME, "pre_padding": _COUNTS, "post_padding": _COUNTS}
_CONVOLUTION = _PADDED | {
    "kernel_size_nd": _POSITIVES,
    "num_output_maps": _POSITIVE,
    "num_groups": _POSITIVE,
    "dilation_nd": _several(_integer(1, 2**16)),
    "kernel": _WEIGHTS | _NONE,
    "bias": _WEIGHTS | _NONE,
}
_QUANTIZE = {"axis": _AXIS, "block_shape": _several(_ANY) | _NONE, "to_type": _DATA_TYPE | _NONE}
_LOOP, _CONDITIONAL, _ATTENTION = {"loop": _NAME}, {"conditional": _NAME}, {"attention": _NAME}
_PLUGIN = {"plugin": _NAME}

# Layer type -> its attributes. None stands for what isn't set, or what a release of TensorRT doesn't have.
KINDS: Mapping[str, Mapping[str, _Kind]] = {
    "ACTIVATION": {"type": _NAME, "alpha": _NUMBER, "beta": _NUMBER},
    "ASSERTION": {"message": _NAME},
    "ATTENTION_INPUT": _ATTENTION
    | {
        "norm_op": _NAME,
        "causal": _FLAG | _NONE,
        "causal_kind": _NAME | _NONE,
        "decomposable": _FLAG | _NONE,
        "query_form": _NAME | _NONE,
        "key_value_form": _NAME | _NONE,
        "normalization_quantize_to_type": _DATA_TYPE | _NONE,
    },
    "ATTENTION_OUTPUT": _ATTENTION,
    "CAST": {"to_type": _DATA_TYPE},
    "CONCATENATION": {"axis": _AXIS},
    "CONDITION": _CONDITIONAL,
    "CONDITIONAL_INPUT": _CONDITIONAL,
    "CONDITIONAL_OUTPUT": _CONDITIONAL,
    "CONSTANT": {"shape": _SIZES, "weights": _WEIGHTS},
    "CONVOLUTION": _CONVOLUTION,
    "CUMULATIVE": {"op": _NAME, "exclusive": _FLAG, "reverse": _FLAG},
    "DECONVOLUTION": _CONVOLUTION,
    "DEQUANTIZE": _QUANTIZE,
    "DYNAMIC_QUANTIZE": _QUANTIZE | {"block_size": _ANY | _NONE, "scale_type": _DATA_TYPE | _NONE},
    "EINSUM": {"equation": _NAME},
    "ELEMENTWISE": {"op": _NAME},
    "FILL": {
        "operation": _NAME,
        "shape": _SIZES | _NONE,
        "alpha": _NUMBER,
        "beta": _NUMBER,
        "to_type": _DATA_TYPE | _NONE,
    },
    "GATHER": {"axis": _AXIS, "mode": _NAME, "num_elementwise_dims": _integer(0, _MOST_DIMENSIONS)},
    "GRID_SAMPLE": {"interpolation_mode": _NAME, "align_corners": _FLAG, "sample_mode": _NAME},
    "ITERATOR": _LOOP | {"axis": _AXIS, "reverse": _FLAG},
    "KV_CACHE_UPDATE": {"cache_mode": _NAME, "update_form": _NAME | _NONE},
    "LOOP_OUTPUT": _LOOP | {"axis": _AXIS, "kind": _NAME},
    "LRN": {"window_size": _POSITIVE, "alpha": _NUMBER, "beta": _NUMBER, "k": _NUMBER},
    "MATRIX_MULTIPLY": {"op0": _NAME, "op1": _NAME},
    "MOE": {
        "activation_type": _NAME,
        "quantization_to_type": _NAME | _NONE,
        "swiglu_param_alpha": _NUMBER,
        "swiglu_param_beta": _NUMBER,
        "swiglu_param_limit": _NUMBER,
    },
    "NMS": {"bounding_box_format": _NAME, "topk_box_limit": _COUNT, "indices_type": _DATA_TYPE | _NONE},
    "NON_ZERO": {"indices_type": _DATA_TYPE | _NONE},
    "NORMALIZATION": {"axes": _AXES, "epsilon": _NUMBER, "num_groups": _POSITIVE, "is_v2": _FLAG | _NONE},
    "ONE_HOT": {"axis": _AXIS},
    "PADDING": {"pre_padding_nd": _several(_ANY), "post_padding_nd": _several(_ANY)},
    "PLUGIN_V2": _PLUGIN,
    "PLUGIN_V3": _PLUGIN,
    "POOLING": _PADDED
    | {
        "type": _NAME,
        "window_size_nd": _POSITIVES,
        "blend_factor": _NUMBER,
        "average_count_excludes_padding": _FLAG,
    },
    "QUANTIZE": _QUANTIZE,
    "RECURRENCE": _LOOP,
    "REDUCE": {"op": _NAME, "axes": _AXES, "keep_dims": _FLAG},
    "RESIZE": {
        "resize_mode": _NAME,
        "shape": _SIZES | _NONE,
        "scales": _several(_NUMBER) | _NONE,
        "coordinate_transformation": _NAME,
        "nearest_rounding": _NAME,
        "selector_for_single_pixel": _NAME,
        "cubic_coeff": _NUMBER,
        "exclude_outside": _FLAG,
    },
    "REVERSE_SEQUENCE": {"batch_axis": _AXIS, "sequence_axis": _AXIS},
    "ROTARY_EMBEDDING": {"interleaved": _FLAG, "rotary_embedding_dim": _COUNT},
    "SCALE": {
        "mode": _NAME,
        "shift": _WEIGHTS | _NONE,
        "scale": _WEIGHTS | _NONE,
        "power": _WEIGHTS | _NONE,
        "channel_axis": _AXIS,
    },
    "SCATTER": {"mode": _NAME, "axis": _AXIS},
    "SHUFFLE": {
        "first_transpose": _ORDER,
        "reshape_dims": _several(_integer(-1, _MOST_INT64)) | _NONE,
        "second_transpose": _ORDER,
        "zero_is_placeholder": _FLAG,
    },
    "SLICE": {
        "start": _several(_ANY) | _NONE,
        "shape": _SIZES | _NONE,
        "stride": _several(_ANY) | _NONE,
        "axes": _several(_AXIS) | _NONE,
        "mode": _NAME,
    },
    "SOFTMAX": {"axes": _AXES},
    "TOPK": {"op": _NAME, "k": _integer(-1, _MOST), "axes": _AXES, "indices_type": _DATA_TYPE | _NONE},
    "TRIP_LIMIT": _LOOP | {"kind": _NAME},
    "UNARY": {"op": _NAME},
    **{
        kind: {}
        for kind in ("IDENTITY", "PARAMETRIC_RELU", "RAGGED_SOFTMAX", "SELECT", "SHAPE", "SQUEEZE", "UNSQUEEZE")
    },
}

# How many of the first inputs must be set, where not one, and how many outputs there are, where not one.
_INPUTS = {
    "ATTENTION_INPUT": 3,
    "CONDITIONAL_OUTPUT": 2,
    "CONSTANT": 0,
    "CUMULATIVE": 2,
    "DEQUANTIZE": 2,
    "ELEMENTWISE": 2,
    "FILL": 0,
    "GATHER": 2,
    "GRID_SAMPLE": 2,
    "KV_CACHE_UPDATE": 3,
    "MATRIX_MULTIPLY": 2,
    "MOE": 6,
    "NMS": 3,
    "NORMALIZATION": 3,
    "ONE_HOT": 3,
    "PARAMETRIC_RELU": 2,
    "QUANTIZE": 2,
    "RAGGED_SOFTMAX": 2,
    "RECURRENCE": 2,
    "REVERSE_SEQUENCE": 2,
    "ROTARY_EMBEDDING": 3,
    "SCATTER": 3,
    "SELECT": 3,
    "UNSQUEEZE": 2,
}
_OUTPUTS = {"ASSERTION": 0, "CONDITION": 0, "DYNAMIC_QUANTIZE": 2, "NMS": 2, "TOPK": 2, "TRIP_LIMIT": 0}
# Whose axis is one of its first input's or output's.
_ALONG = {
    "CONCATENATION": "output",
    "GATHER": "input",
    "ITERATOR": "input",
    "LOOP_OUTPUT": "output",
    "ONE_HOT": "output",
}


def check_layer(layer: Layer, tensors: Mapping[str, TensorType]) -> None:
    """Refuse a layer without what it needs, attributes that are none of their kind, and sizes unlike its output's.

    Layers of unknown types and plugins may be anything: whoever runs them knows them.

    Raises:
        ValueError: one of them, by name.
    """
    if layer.type in KINDS:
        if not layer.type.startswith("PLUGIN"):
            _check_tensors(layer)
        _check_attributes(layer)
        _check_axis(layer, tensors)
        _check_sizes(layer, tensors)


def _check_tensors(layer: Layer) -> None:
    least, outputs = _INPUTS.get(layer.type, 1), _OUTPUTS.get(layer.type, 1)
    if len(layer.inputs) < least or None in layer.inputs[:least]:
        raise ValueError(f"{layer} has inputs {list(layer.inputs)}, and needs {least}")
    if len(layer.outputs) != outputs:
        raise ValueError(f"{layer} has outputs {list(layer.outputs)}, not {outputs} of them")


def _check_attributes(layer: Layer) -> None:
    for name, kind in KINDS[layer.type].items():
        if name not in layer.attributes:
            raise ValueError(f"{layer} has no {name}")
        value = layer.attributes[name]
        if not kind.holds(value):
            raise ValueError(f"{layer} has {name} {str(value)[:60]}, which should be {kind.words}")


def _check_axis(layer: Layer, tensors: Mapping[str, TensorType]) -> None:
    if layer.type not in _ALONG or layer.attributes.get("kind") == "LAST_VALUE":
        return
    name = layer.inputs[0] if _ALONG[layer.type] == "input" else layer.outputs[0]
    rank, axis = len(tensors[str(name)].shape), layer.attributes["axis"]
    if not -rank <= axis < rank:
        raise ValueError(f"{layer} has axis {axis} in a tensor of {rank} dimensions")


def _check_sizes(layer: Layer, tensors: Mapping[str, TensorType]) -> None:
    if layer.type not in _IMPLIED:
        return
    output = tensors[layer.outputs[0]]
    try:
        inputs = [None if name is None else tensors[name].shape for name in layer.inputs]
        implied = _IMPLIED[layer.type](layer.attributes, inputs)
        pairs = [] if implied is None else list(zip(implied, output.shape, strict=True))
    except (IndexError, ValueError) as error:  # other numbers of dimensions than the attributes have
        raise ValueError(f"{layer} doesn't fit its tensors: {error}") from error
    if any(-1 not in pair and pair[0] != pair[1] for pair in pairs):
        raise ValueError(f"{layer} gives sizes {list(implied or ())}, but its output is {output}")
    if layer.type == "CONSTANT" and layer.attributes["weights"].dtype is not output.dtype.carrier:
        raise ValueError(f"{layer} has weights of {layer.attributes['weights'].dtype}, but its output is {output}")


# -- sizes that attributes imply; -1 where they aren't known -------------------------------------------

_Inputs = Sequence["tuple[int, ...] | None"]
_Implied = Callable[[Mapping[str, Any], _Inputs], "Sequence[int] | None"]


def _constant(attributes: Mapping[str, Any], inputs: _Inputs) -> Sequence[int]:
    shape = tuple(attributes["weights"].shape)
    if shape != attributes["shape"]:
        raise ValueError(f"weights {list(shape)} aren't of shape {list(attributes['shape'])}")
    return shape


def _fill(attributes: Mapping[str, Any], inputs: _Inputs) -> Sequence[int] | None:
    return None if _is_set(inputs, 0) else attributes["shape"]


def _slice(attributes: Mapping[str, Any], inputs: _Inputs) -> Sequence[int] | None:
    part = _is_set(inputs, 2) or _is_set(inputs, 5) or attributes["axes"] is not None
    return None if part else attributes["shape"]


def _resize(attributes: Mapping[str, Any], inputs: _Inputs) -> Sequence[int] | None:
    if _is_set(inputs, 1) or not attributes["scales"]:
        return None if _is_set(inputs, 1) else attributes["shape"]
    return _each(lambda size, scale: math.floor(size * scale), inputs[0], attributes["scales"])


def _padding(attributes: Mapping[str, Any], inputs: _Inputs) -> Sequence[int]:
    return _each(
        lambda size, before, after: size + before + after,
        inputs[0],
        attributes["pre_padding_nd"],
        attributes["post_padding_nd"],
    )


def _windows(attributes: Mapping[str, Any], inputs: _Inputs) -> Sequence[int]:
    """Sizes of a pooling's or a convolution's output, whose channels aren't looked at."""
    window = attributes["window_size_nd"] if "window_size_nd" in attributes else _kernel(attributes)
    mode = attributes["padding_mode"]
    sizes = _each(
        lambda size, window, stride, pre, post: max(output_size(size, window, stride, pre, post, mode), 0),
        inputs[0],
        window,
        *(attributes[name] for name in ("stride_nd", "pre_padding", "post_padding")),
    )
    return _without_channels(sizes, len(window))


def _spread(attributes: Mapping[str, Any], inputs: _Inputs) -> Sequence[int]:
    """Sizes of a deconvolution's output."""
    window, same = _kernel(attributes), attributes["padding_mode"].startswith("SAME")
    sizes = _each(
        lambda n, window, stride, pre, post: n * stride if same else (n - 1) * stride + window - pre - post,
        inputs[0],
        window,
        *(attributes[name] for name in ("stride_nd", "pre_padding", "post_padding")),
    )
    return _without_channels(sizes, len(window))


def _kernel(attributes: Mapping[str, Any]) -> list[int]:
    """How far a kernel reaches in each dimension."""
    size, weights = attributes["kernel_size_nd"], attributes["kernel"]
    if weights is not None and tuple(weights.shape[2:]) != size:
        raise ValueError(f"its kernel is {list(weights.shape)}, not of size {list(size)}")
    return [d * (k - 1) + 1 for k, d in zip(size, attributes["dilation_nd"], strict=True)]


def _is_set(inputs: _Inputs, place: int) -> bool:
    return place < len(inputs) and inputs[place] is not None


def _each(rule: Callable[..., int], shape: tuple[int, ...] | None, *numbers: Sequence[Any]) -> list[int]:
    """The shape with a rule applied to its last dimensions, where they are known, and the numbers for each."""
    shape = shape or ()
    count = len(numbers[0])
    last = [size if size < 0 else rule(size, *given) for size, *given in zip(shape[-count:], *numbers, strict=True)]
    return [*shape[:-count], *last]


def _without_channels(sizes: list[int], rank: int) -> list[int]:
    return [-1 if place == len(sizes) - rank - 1 else size for place, size in enumerate(sizes)]


_IMPLIED: Mapping[str, _Implied] = {
    "CONSTANT": _constant,
    "CONVOLUTION": _windows,
    "DECONVOLUTION": _spread,
    "FILL": _fill,
    "PADDING": _padding,
    "POOLING": _windows,
    "RESIZE": _resize,
    "SLICE": _slice,
}
