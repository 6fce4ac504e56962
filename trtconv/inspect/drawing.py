"""Pictures of networks: a box for each layer, or for each module where these are folded."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.graph import Graph, Layer, read
from trtconv.graph.data import DataType
from trtconv.shown.text import counted, dtype_name, folded, module_of, type_text

if TYPE_CHECKING:
    import graphviz

FORMATS = ("svg", "png", "pdf")
LEGIBLE = 100
"""About how many boxes are legible in one picture."""

_COLORS = {
    DataType.FLOAT: "#cfe2f3",
    DataType.HALF: "#fce5cd",
    DataType.BF16: "#fff2cc",
    DataType.INT8: "#b6d7a8",
    DataType.FP8: "#d9ead3",
    DataType.INT4: "#a2c4c9",
    DataType.FP4: "#b4a7d6",
}
_OTHER = "#eeeeee"
"""Of whole numbers and truth values that aren't a precision to compute in."""
_QUICK = {"nslimit": "1", "nslimit1": "1"}
"""How long dot looks for shorter ways, in iterations for each box; without a limit a hundred boxes may take minutes."""


def draw(trt_module: Any, path: str | PathLike[str] | None = None, *, depth: int | None = None) -> graphviz.Digraph:
    """A picture of a converted module's network, which shows itself in a notebook.

    Layers are boxes with their types, shapes and dtypes, in clusters by the module that they come from. Their color is
    the precision of their results.

    Args:
        trt_module: A `trtconv.TRTModule`, or a `trtconv.graph.Graph`.
        path: Where to save it: a file's name that ends in .svg, .png or .pdf.
        depth: How many modules deep clusters are nested; modules in those of this depth are one box each. 0 shows the
            outermost module's children as boxes, a large number each layer. None goes as deep as leaves at most
            100 boxes.

    Returns: a `graphviz.Digraph`; its `source` is the text in the language of dot.

    Raises:
        ImportError: the Python package `graphviz` isn't installed.
        RuntimeError: a file is asked for, and Graphviz, whose program `dot` draws, isn't installed.
        ValueError: the module has no network, or a file's name ends otherwise.
    """
    if depth is not None and (type(depth) is not int or depth < 0):
        raise ValueError(f"depth={depth!r}: it is a whole number from 0, or None")
    form = None if path is None else _format(Path(path))
    picture = _Picture(_graphs(trt_module), depth).digraph()
    if path is not None and form is not None:
        Path(path).write_bytes(_rendered(picture, form))
    return picture


def trt_network_to_dot_graph(network: Any) -> graphviz.Digraph:
    """A picture of a `trt.INetworkDefinition`, or of a `trtconv.graph.Graph`: a box for each layer.

    It takes time in proportion to the number of layers.

    Raises:
        ImportError: the Python package `graphviz` isn't installed.
    """
    graph = network if isinstance(network, Graph) else read(network, copy=False)
    return _Picture([graph], _deepest([graph])).digraph()


def _graphs(trt_module: Any) -> Sequence[Graph]:
    if isinstance(trt_module, Graph):
        return [trt_module]
    graphs = [segment.graph for segment in trt_module.plan.segments]
    if None in graphs:
        raise ValueError("the network wasn't kept (keep_network=False), so that there is nothing to draw")
    return graphs


def _format(path: Path) -> str:
    form = path.suffix[1:].lower()
    if form not in FORMATS:
        raise ValueError(f"{str(path)!r}: a picture is saved as {', '.join('.' + each for each in FORMATS)}")
    return form


def _rendered(picture: graphviz.Digraph, form: str) -> bytes:
    from graphviz import ExecutableNotFound

    try:
        return bytes(picture.pipe(format=form))
    except ExecutableNotFound as error:
        raise RuntimeError(
            "Graphviz, whose program `dot` draws, isn't installed: it comes with the system's packages (apt-get "
            "install graphviz, brew install graphviz), not with the Python package of that name"
        ) from error


def _new_digraph() -> graphviz.Digraph:
    try:
        import graphviz
    except ImportError as error:
        raise ImportError("pictures of networks need the package graphviz: pip install trtconv[draw]") from error
    font = {"fontname": "Helvetica", "fontsize": "10"}
    return graphviz.Digraph(
        graph_attr={**font, **_QUICK, "ranksep": "0.3", "nodesep": "0.2", "labelloc": "t", "tooltip": " "},
        node_attr={**font, "shape": "box", "style": "filled,rounded", "color": "#888888", "margin": "0.1,0.04"},
        edge_attr={**font, "color": "#666666", "arrowsize": "0.6"},
    )


@dataclasses.dataclass
class _Box:
    """A layer, or the layers of a module that is folded.

    Attributes:
        key: What dot calls it.
        module: The path of the module whose cluster it is in.
        title: The path of the folded module; "" for a layer.
        leaving: The tensors that others read.
    """

    key: str
    module: str
    title: str
    graph: Graph
    layers: list[Layer] = dataclasses.field(default_factory=list)
    leaving: dict[str, None] = dataclasses.field(default_factory=dict)


def _deepest(graphs: Sequence[Graph]) -> int:
    """How many names the longest path of a module has."""
    return max((len(module_of(layer).split(".")) for graph in graphs for layer in graph.layers), default=0)


def _legible_depth(graphs: Sequence[Graph]) -> int:
    """The largest depth at which about `LEGIBLE` boxes are left, or 0."""
    depths = range(_deepest(graphs), 0, -1)
    return next((depth for depth in depths if len(_boxes(graphs, depth)) <= LEGIBLE), 0)


def _boxes(graphs: Sequence[Graph], depth: int) -> list[_Box]:
    """The boxes in the order of their first layers."""
    boxes: dict[tuple[int, str | int], _Box] = {}
    for number, graph in enumerate(graphs):
        for place_in_graph, layer in enumerate(graph.layers):
            module = module_of(layer)
            inside = folded(module, depth)
            title = "" if module == inside else folded(module, depth + 1)
            place = (number, title or place_in_graph)
            if place not in boxes:
                boxes[place] = _Box(f"box{len(boxes)}", inside, title, graph)
            boxes[place].layers.append(layer)
    return list(boxes.values())


class _Picture:
    """Graphs that run one after the other, with modules that are so deep folded, as a picture."""

    def __init__(self, graphs: Sequence[Graph], depth: int | None) -> None:
        self._digraph = _new_digraph()
        self._boxes = _boxes(graphs, _legible_depth(graphs) if depth is None else depth)
        by_layer = {id(layer): box for box in self._boxes for layer in box.layers}
        self._edges: dict[tuple[str, str], None] = {}
        known: dict[str, tuple[str, _Box | None]] = {}
        for graph in graphs:
            for name in graph.inputs:
                if name not in known:
                    known[name] = (f"input{len(known)}", None)
                    self._end(known[name][0], graph, name)
            makers = {name: known[name] for name in graph.inputs}
            for layer in graph.layers:
                box = by_layer[id(layer)]
                makers.update(dict.fromkeys(layer.outputs, (box.key, box)))
            for layer in graph.layers:
                for name in filter(None, layer.inputs):
                    self._connect(makers[name], name, by_layer[id(layer)].key)
            known.update({name: makers[name] for name in graph.outputs})
        for number, name in enumerate(graphs[-1].outputs):
            self._end(f"output{number}", graphs[-1], name)
            self._connect(known[name], name, f"output{number}")

    def digraph(self) -> graphviz.Digraph:
        """The picture."""
        self._clusters()
        for source, target in self._edges:
            self._digraph.edge(source, target)
        self._digraph.attr(label=self._legend())
        return self._digraph

    def _end(self, key: str, graph: Graph, name: str) -> None:
        """Add an input or output of the network."""
        label = _lines(name, type_text(graph, name))
        self._digraph.node(key, label, shape="ellipse", style="filled", fillcolor="white")

    def _connect(self, maker: tuple[str, _Box | None], name: str, reader: str) -> None:
        source, box = maker
        if source != reader:
            self._edges[source, reader] = None
            if box is not None:
                box.leaving[name] = None

    def _clusters(self) -> None:
        """Add the boxes, in clusters of the modules that have more than one."""
        sizes = Counter(module for box in self._boxes for module in _around(box.module))
        inside: dict[str, list[_Box | str]] = {"": []}
        for box in self._boxes:
            outer = ""
            for module in _around(box.module):
                if sizes[module] > 1:
                    if module not in inside:
                        inside[module] = []
                        inside[outer].append(module)
                    outer = module
            inside[outer].append(box)
        self._fill(self._digraph, "", inside)

    def _fill(self, where: graphviz.Digraph, module: str, inside: Mapping[str, Sequence[_Box | str]]) -> None:
        for part in inside[module]:
            if isinstance(part, _Box):
                lines = "2" if len(part.layers) > 1 else "1"
                label, color, tooltip = _label(part, module), _color(part), _tooltip(part)
                where.node(part.key, label, fillcolor=color, tooltip=tooltip, peripheries=lines)
                continue
            with where.subgraph(name=f"cluster {part}") as cluster:
                cluster.attr(label=_lines(part), style="rounded", color="#999999", tooltip=_lines(part))
                self._fill(cluster, part, inside)

    def _legend(self) -> str:
        """The colors that there are, as one of dot's tables."""
        found = dict.fromkeys(dtype for box in self._boxes if (dtype := _precision(box)) in _COLORS)
        cells = [f'<TD BGCOLOR="{_COLORS[dtype]}">{dtype_name(dtype)}</TD>' for dtype in _COLORS if dtype in found]
        if any(_color(box) == _OTHER for box in self._boxes):
            cells.append(f'<TD BGCOLOR="{_OTHER}">others</TD>')
        return f'<<TABLE BORDER="0" CELLBORDER="1" CELLSPACING="4"><TR>{"".join(cells)}</TR></TABLE>>' if cells else ""


def _around(module: str) -> list[str]:
    """The modules around what is in this one, the outermost first, and itself; without the network's own, ""."""
    names = module.split(".") if module else []
    return [".".join(names[: end + 1]) for end in range(len(names))]


def _label(box: _Box, module: str) -> str:
    if box.title and len(box.layers) > 1:
        types = [type_text(box.graph, name) for name in box.leaving]
        layers = f"{len(box.layers)} layers: {counted(layer.type for layer in box.layers)}"
        return _lines(box.title, layers, *_few(types))
    (layer,) = box.layers
    types = [type_text(box.graph, name) for name in layer.outputs]
    return _lines(_within(layer.name, module), layer.type, *_few(types))


def _within(name: str, module: str) -> str:
    return name.removeprefix(f"{module}.") if module else name


def _few(texts: Sequence[str]) -> list[str]:
    return [*texts[:2], "..."] if len(texts) > 2 else list(texts)


def _tooltip(box: _Box) -> str:
    """What a box says under the mouse: the lines of the model that it comes from."""
    lines = dict.fromkeys(f"{layer.origin.function} at {layer.origin}" for layer in box.layers if layer.origin)
    return _lines(*[layer.name for layer in box.layers[:1]], *list(lines)[:10])


def _precision(box: _Box) -> DataType | None:
    """The precision of most of its results; of constants' only where it has no others."""
    kinds = [(layer.type, box.graph.tensors[name].dtype) for layer in box.layers for name in layer.outputs]
    computed = [dtype for kind, dtype in kinds if kind != "CONSTANT" and dtype in _COLORS]
    found = Counter(computed or [dtype for _, dtype in kinds])
    return found.most_common(1)[0][0] if found else None


def _color(box: _Box) -> str:
    dtype = _precision(box)
    return _OTHER if dtype is None else _COLORS.get(dtype, _OTHER)


def _lines(*texts: str) -> str:
    """Lines of a label, in which dot sees no signs of its own."""
    from graphviz import escape

    return r"\n".join(str(escape(text)) for text in texts)
