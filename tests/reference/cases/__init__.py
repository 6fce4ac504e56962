"""The table of cases: all of them, for the tests with and without a GPU."""

from . import (
    attention,
    control_flow,
    convolution,
    indexing,
    movement,
    normalization,
    pointwise,
    product,
    quantization,
    reduction,
    resize,
    sampling,
    slicing,
)

FAMILIES = (
    attention,
    control_flow,
    convolution,
    indexing,
    movement,
    normalization,
    pointwise,
    product,
    quantization,
    reduction,
    resize,
    sampling,
    slicing,
)
CASES = [case for family in FAMILIES for case in family.CASES]
