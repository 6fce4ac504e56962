"""What has to hold for every graph, whoever made it."""

from __future__ import annotations

from collections import Counter

from trtconv.graph.data import Graph
from trtconv.graph.order import in_order


def check(graph: Graph) -> None:
    """Raise unless a graph can be written.

    Raises:
        ValueError: a tensor has no type, no maker or several; an output isn't made; layers depend on themselves.
    """
    made = Counter([*graph.inputs, *(name for layer in graph.layers for name in layer.outputs)])
    several = [name for name, count in made.items() if count > 1]
    if several:
        makers = [str(layer) for layer in graph.layers if several[0] in layer.outputs]
        raise ValueError(f"tensor {several[0]!r} is made by {' and '.join(makers)}, or is an input too")
    for layer in graph.layers:
        missing = [name for name in layer.inputs if name is not None and name not in made]
        if missing:
            raise ValueError(f"{layer} reads tensor {missing[0]!r}, which nothing makes")
    unmade = [name for name in graph.outputs if name not in made]
    if unmade:
        raise ValueError(f"output {unmade[0]!r} is made by nothing")
    untyped = [name for name in made if name not in graph.tensors]
    if untyped:
        raise ValueError(f"tensor {untyped[0]!r} has no type")
    in_order(graph.layers)
