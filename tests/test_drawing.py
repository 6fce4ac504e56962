"""Pictures of networks: each layer once, in the cluster of its module, and all edges."""

import collections
import functools
import re
import shutil

import pytest
import torch
from torch import nn

import trtconv
from trtconv.graph import write
from trtconv.inspect import drawing

NODE = re.compile(r'^\s*(box\d+|input\d+|output\d+) \[.*label=(?:"((?:[^"\\]|\\.)*)"|(\S+))')
EDGE = re.compile(r"^\s*(\w+) -> (\w+)")
CLUSTER = re.compile(r'^\s*subgraph "?cluster ([^"]*)"? \{')
KINDS = ("float32", "float16")
DOT = pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")


class Block(nn.Module):
    def __init__(self, dtype=None):
        super().__init__()
        self.dtype = dtype
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return (self.second(self.first(x).relu()) + x).relu()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(Block(), Block())
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3))).half().softmax(-1)


@functools.cache
def converted():
    x = torch.randn(2, 4, 8, 8)
    return trtconv.convert(Net().eval(), (x,), dynamic_shapes={"x": {0: (1, 2, 4)}}).requires_grad_(False)


def read(picture):
    """The boxes of a picture with their labels and the clusters around each, and the edges."""
    labels, clusters, edges, around = {}, {}, [], []
    for line in picture.source.splitlines():
        if found := CLUSTER.match(line):
            around.append(found[1])
        elif line.strip() == "}":
            around = around[:-1]
        elif found := NODE.match(line):
            assert found[1] not in labels
            labels[found[1]] = (found[2] or found[3]).replace(r"\n", "\n")
            clusters[found[1]] = tuple(around)
        elif found := EDGE.match(line):
            edges.append((found[1], found[2]))
    return labels, clusters, edges


def parents(module):
    names = module.split(".") if module else []
    return [".".join(names[:end]) for end in range(1, len(names) + 1)]


def test_each_layer_is_a_box_in_its_module_with_all_edges():
    graph = converted().network
    labels, clusters, edges = read(trtconv.draw(converted(), depth=9))
    boxes = {f"box{number}": layer for number, layer in enumerate(graph.layers)}
    assert set(labels) == {*boxes, "input0", "output0"}
    sizes = collections.Counter(part for layer in graph.layers for part in parents(layer.origin.module))
    for key, layer in boxes.items():
        around = tuple(part for part in parents(layer.origin.module) if sizes[part] > 1)
        assert clusters[key] == around
        name, kind, *types = labels[key].split("\n")
        assert layer.name == ".".join(filter(None, (around[-1] if around else "", name))) and kind == layer.type
        assert types == [drawing.type_text(graph, output) for output in layer.outputs]
    makers = {name: key for key, layer in boxes.items() for name in layer.outputs} | {graph.inputs[0]: "input0"}
    expected = {(makers[name], key) for key, layer in boxes.items() for name in layer.inputs if name}
    assert len(edges) == len(set(edges)) and set(edges) == {*expected, (makers[graph.outputs[0]], "output0")}


def test_dynamic_sizes_and_dtypes_are_said():
    labels, *_ = read(trtconv.draw(converted(), depth=9))
    assert re.search(r"^float32 \[(s\d+), 4, 8, 8\]$", labels["input0"], re.MULTILINE)
    assert re.search(r"^float16 \[(s\d+), 3\]$", labels["output0"], re.MULTILINE)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_modules_of_a_depth_are_folded_with_the_edges_between_them(depth):
    graph = converted().network
    labels, clusters, edges = read(trtconv.draw(converted(), depth=depth))

    def box_of(layer):
        module = layer.origin.module.split(".") if layer.origin.module else []
        return ".".join(module[: depth + 1]) if len(module) > depth else layer.name

    groups = collections.defaultdict(list)
    for layer in graph.layers:
        groups[box_of(layer)].append(layer)
    assert len(labels) == len(groups) + 2 and max(map(len, clusters.values())) <= depth
    for key, (name, layers) in zip((f"box{number}" for number in range(len(groups))), groups.items(), strict=True):
        if len(layers) > 1:
            title, counts, *_ = labels[key].split("\n")
            assert title == name and counts.startswith(f"{len(layers)} layers: ")
    boxes = {name: f"box{number}" for number, name in enumerate(groups)}
    makers = {name: boxes[box_of(layer)] for layer in graph.layers for name in layer.outputs}
    makers[graph.inputs[0]] = "input0"
    between = {(makers[name], boxes[box_of(layer)]) for layer in graph.layers for name in layer.inputs if name}
    expected = {(source, target) for source, target in between if source != target}
    assert set(edges) == {*expected, (makers[graph.outputs[0]], "output0")} and len(edges) == len(set(edges))


def test_colors_are_of_precisions():
    picture = trtconv.draw(converted(), depth=9).source
    lines = [line for line in picture.splitlines() if NODE.match(line) and "box" in line.split()[0]]
    found = {
        kind: {re.search('fillcolor="(.*?)"', line)[1] for line in lines if f"\\n{kind} [" in line} for kind in KINDS
    }
    assert found["float32"] != found["float16"] and all(len(colors) == 1 for colors in found.values())
    assert all(f'BGCOLOR="{color}">{kind}<' in picture for kind, (color,) in found.items())


def test_a_picture_is_folded_so_that_it_stays_legible(monkeypatch):
    most = len(read(trtconv.draw(converted(), depth=1))[0]) - 2
    monkeypatch.setattr(drawing, "LEGIBLE", most)
    assert trtconv.draw(converted()).source == trtconv.draw(converted(), depth=1).source
    monkeypatch.setattr(drawing, "LEGIBLE", most - 1)
    assert trtconv.draw(converted()).source == trtconv.draw(converted(), depth=0).source


def test_definitions_of_tensorrt_are_drawn_too():
    written = write(converted().network)
    labels, clusters, edges = read(drawing.trt_network_to_dot_graph(written.definition))
    assert len(labels) == written.definition.num_layers + 2 and not any(clusters.values())
    assert len(edges) == len(read(trtconv.draw(converted(), depth=9))[2])


@DOT
@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.PNG", b"\x89PNG"), ("a.pdf", b"%PDF")])
def test_pictures_are_saved(tmp_path, name, start):
    trtconv.draw(converted(), tmp_path / name, depth=0)
    assert (tmp_path / name).read_bytes().startswith(start)


@DOT
def test_a_picture_shows_itself_in_a_notebook():
    shown = trtconv.draw(converted(), depth=1)._repr_mimebundle_()
    assert "body.1.first" in shown["image/svg+xml"] or "body.1" in shown["image/svg+xml"]


def test_what_cannot_be_drawn_or_saved_says_why(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"a\.gif.*\.svg, \.png, \.pdf"):
        trtconv.draw(converted(), tmp_path / "a.gif")
    with pytest.raises(ValueError, match="depth=-1"):
        trtconv.draw(converted(), depth=-1)
    with pytest.raises(ValueError, match="keep_network=False"):
        trtconv.draw(trtconv.convert(nn.ReLU(), torch.randn(2), keep_network=False))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="apt-get install graphviz"):
        trtconv.draw(converted(), tmp_path / "a.svg")
    monkeypatch.setitem(__import__("sys").modules, "graphviz", None)
    with pytest.raises(ImportError, match=r"trtconv\[draw\]"):
        trtconv.draw(converted())
