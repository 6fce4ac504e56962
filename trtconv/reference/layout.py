"""The order in memory of a graph's weights; it changes no value."""

from __future__ import annotations

from collections.abc import Sequence

from trtconv.reference.graph import Layer


def put_factors_by_columns(layers: Sequence[Layer]) -> None:
    """Keep by columns, in place, the constants that serve only as right factors of matrix products.

    BLAS then multiplies a single row by such a matrix with one dot product for each column, as PyTorch's
    linear layers do. By rows it adds up one product after the other, which rounds three times as much
    (measured: 1 x 9216 times 9216 x 4096 in fp32 on a CPU, 1.2e-5 against 4.2e-6).
    """
    factors: set[str] = set()
    others: set[str] = set()
    for layer in layers:
        is_product = layer.type == "MATRIX_MULTIPLY" and layer.attributes["op1"] == "NONE"
        for index, name in enumerate(layer.inputs):
            if name is not None:
                (factors if is_product and index == 1 else others).add(name)
    chosen = factors - others
    for layer in layers:
        if layer.type == "CONSTANT" and layer.outputs[0] in chosen:
            layer.attributes["weights"] = layer.attributes["weights"].mT.contiguous().mT
