"""What each type of layer does where a network is computed in half precision: one table, with the reasons.

A key is a layer type, or a type with one of its operations ("UNARY.EXP"), which comes first.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from trtconv.graph.data import Layer


class Way(enum.Enum):
    """What decides in which type a layer computes."""

    LOW = "in half precision"
    STAYS = "in float32"
    FOLLOWS = "as its operands"
    MOVES = "as what it moves and its readers"
    AS_MADE = "in the type of its input"


class Rule(NamedTuple):
    """The way of a layer type, and why."""

    way: Way
    reason: str
    settles: bool = False
    """Whether results are of ordinary size whatever came before: they are rounded where they are read."""


_PRODUCT = Rule(Way.LOW, "products in half precision are what tensor cores are for; sums are taken in float32")
_MOVES = Rule(Way.MOVES, "it moves numbers, and is done sooner with half the bytes")
_BY_ELEMENT = Rule(Way.FOLLOWS, "each number by itself: rounded once")
_BOUNDED = Rule(Way.FOLLOWS, "each number by itself: rounded once", settles=True)
_GROWS = Rule(
    Way.STAYS, "powers and exponentials leave the range of half precision, and their digits tell in what follows"
)
_SUMS = Rule(Way.STAYS, "a sum of many numbers needs more digits and range than half precision has")
_BOUNDARY = Rule(Way.AS_MADE, "the boundary of a loop or a conditional hands on what it is given")
_READS = Rule(Way.AS_MADE, "nothing is gained by rounding what it reads")
_FIXED = Rule(Way.STAYS, "its tensors have the types that it was made with")

RULES: Mapping[str, Rule] = {
    # products
    "CONVOLUTION": _PRODUCT,
    "DECONVOLUTION": _PRODUCT,
    "EINSUM": _PRODUCT,
    "MATRIX_MULTIPLY": _PRODUCT,
    "ATTENTION_INPUT": Rule(Way.LOW, "attention in one kernel, with scores and softmax in float32 inside"),
    "ATTENTION_OUTPUT": Rule(Way.LOW, "attention in one kernel, with scores and softmax in float32 inside"),
    "DEQUANTIZE": Rule(Way.LOW, "a quantized number has fewer digits than half precision"),
    # windows
    "LRN": Rule(Way.LOW, "it computes in float32 inside", settles=True),
    "POOLING": Rule(Way.LOW, "a window's largest number or mean, which is rounded once"),
    "RESIZE": Rule(Way.LOW, "places are computed in float32 inside; means of neighbours are rounded once"),
    # element by element
    "ACTIVATION": _BY_ELEMENT,
    "ACTIVATION.CLIP": _BOUNDED,
    "ACTIVATION.HARD_SIGMOID": _BOUNDED,
    "ACTIVATION.SIGMOID": _BOUNDED,
    "ACTIVATION.TANH": _BOUNDED,
    "ELEMENTWISE": _BY_ELEMENT,
    "ELEMENTWISE.POW": _GROWS,
    "PARAMETRIC_RELU": _BY_ELEMENT,
    "ROTARY_EMBEDDING": _BY_ELEMENT,
    "SCALE": _BY_ELEMENT,
    "SELECT": _BY_ELEMENT,
    "UNARY": _GROWS,
    "UNARY.ABS": _BY_ELEMENT,
    "UNARY.CEIL": _BY_ELEMENT,
    "UNARY.ERF": _BOUNDED,
    "UNARY.FLOOR": _BY_ELEMENT,
    "UNARY.ISINF": _READS,
    "UNARY.ISNAN": _READS,
    "UNARY.NEG": _BY_ELEMENT,
    "UNARY.ROUND": _BY_ELEMENT,
    "UNARY.SIGN": _BOUNDED,
    **{
        f"UNARY.{name}": Rule(Way.STAYS, "what decides are the angle's last digits, which half precision hasn't", True)
        for name in ("COS", "SIN")
    },
    # movement
    **{
        name: _MOVES
        for name in (
            "CONCATENATION",
            "CONDITIONAL_OUTPUT",
            "GATHER",
            "IDENTITY",
            "ONE_HOT",
            "PADDING",
            "REVERSE_SEQUENCE",
            "SCATTER",
            "SHUFFLE",
            "SLICE",
            "SQUEEZE",
            "UNSQUEEZE",
        )
    },
    "REDUCE.MAX": _READS,
    "REDUCE.MIN": _READS,
    "TOPK": _READS,
    # statistics and sums
    "NORMALIZATION": Rule(Way.STAYS, "mean, variance, and what they are applied to; one kernel with its casts", True),
    "RAGGED_SOFTMAX": Rule(Way.STAYS, "sums of exponentials; one kernel with its casts", True),
    "SOFTMAX": Rule(Way.STAYS, "sums of exponentials; one kernel with its casts", True),
    "REDUCE": _SUMS,
    "CUMULATIVE": Rule(Way.STAYS, "errors add up along a cumulative sum"),
    "RECURRENCE": Rule(Way.STAYS, "errors add up in what a loop carries from step to step"),
    # places and tables
    "FILL": Rule(Way.STAYS, "places and random numbers are made in float32"),
    "GRID_SAMPLE": Rule(Way.STAYS, "places in half precision are pixels off", True),
    "NMS": Rule(Way.STAYS, "coordinates in half precision are pixels off"),
    # boundaries
    "CONDITIONAL_INPUT": _BOUNDARY,
    "ITERATOR": _BOUNDARY,
    "LOOP_OUTPUT": _BOUNDARY,
    "NON_ZERO": _READS,
    "QUANTIZE": _READS,
    "SHAPE": _READS,
    # as they are
    "DYNAMIC_QUANTIZE": _FIXED,
    "KV_CACHE_UPDATE": _FIXED,
    "MOE": _FIXED,
    "PLUGIN_V2": _FIXED,
    "PLUGIN_V3": _FIXED,
}
"""Layer type, or type and operation -> rule. CAST and CONSTANT have none: they are what their readers need."""

UNKNOWN = Rule(Way.STAYS, "nothing is known of layers of this type")

_OPERATIONS = {"ACTIVATION": "type", "ELEMENTWISE": "op", "REDUCE": "op", "UNARY": "op"}

OWN_TYPE = {"DEQUANTIZE": (1, 2), "QUANTIZE": (1, 2)}
"""Operands, by their places, that have a type of their own: scales in half precision overflow in products."""

ARITHMETIC = frozenset({"ACTIVATION", "ELEMENTWISE", "PARAMETRIC_RELU", "SCALE", "SELECT", "UNARY"})
"""Layers that compute element by element."""

SUMS_OF_PRODUCTS = frozenset({"CONVOLUTION", "DECONVOLUTION", "EINSUM", "MATRIX_MULTIPLY"})


def operation(layer: Layer) -> str:
    """What a layer does, as the table has it: its type, with the operation where it has one."""
    name = _OPERATIONS.get(layer.type)
    return f"{layer.type}.{layer.attributes[name]}" if name else layer.type


def rule_of(layer: Layer) -> Rule:
    """The rule of a layer."""
    return RULES.get(operation(layer)) or RULES.get(layer.type, UNKNOWN)
