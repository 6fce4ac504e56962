"""Write docs/architecture.md, which shows how trtconv is made: python docs/architecture.py"""

from __future__ import annotations

import ast
import inspect
import pathlib
from collections.abc import Iterator

from trtconv import passes

HERE = pathlib.Path(__file__).parent
LIBRARY = HERE.parent / "trtconv"

STEPS = (
    ("convert(module, args, kwargs)", "", "conversion.py"),
    ("1 capture", "run the module once on fake tensors, note every call of torch", "capture/"),
    ("    -> Trace", "calls in order: target, arguments, results, the user's line", "capture/trace.py"),
    ("2 passes on the trace", "Trace -> Trace, while weights are torch's", "passes/"),
    ("3 emit", "each call's converter adds layers to a definition, which is read", "emit/, converters/"),
    ("    -> Graph", "plain data: layers, types, weights, origins, recipes", "graph/"),
    ("4 passes on the graph", "Graph -> Graph", "passes/"),
    ("5 build", "the graph is written to a fresh definition, and built", "build.py"),
    ("    -> Plan", "signature, engine, graph: what is saved", "plan.py"),
    ("6 TRTModule", "run the engine on GPUs, the interpreter elsewhere", "module.py, runtime/, reference/"),
    ("", "", ""),
    ("from_onnx(model)", "TensorRT's parser fills the definition; then as from 3 on", "onnx.py"),
)
"""Each step, what it does, and the files that hold it."""

TEXT = """# How trtconv is made

Written by `docs/architecture.py` of the code; a test sees that it is up to date.

## From a module to an engine

```text
{picture}
```

One direction: each step reads only what the step before it returned.

- **The front is TensorRT itself.** Converters (ours and users') and TensorRT's ONNX parser write to an
  `INetworkDefinition`, which says what shapes and types follow; trtconv infers none. The definition is read at once
  (`trtconv/graph/reader.py`), and from there on there is only the graph.
- **The graph** (`trtconv/graph/data.py`) is frozen. A layer has its type, its attributes by TensorRT's names, the
  names of its tensors, the line of the model that it comes from, and recipes: from which parameters its weights
  follow. Tensors have types, and symbolic sizes where they are dynamic ("s0 // 2 + 1").
- **The back** is `trtconv.graph.write`: for every layer type that can be read, it gives a definition that reads back
  as the same graph.
- **The interpreter** (`trtconv/reference/`) runs a graph with torch, layer by layer, as TensorRT documents them. It
  runs what is built, except for passes in `for_engine`, which only one backend needs.
- **Recipes** (`trtconv/graph/recipes.py`): while a module is converted, `trtconv/capture/recorder.py` notes the
  operators that compute constants of its parameters and buffers. `TRTModule.update_weights` runs them again;
  `TRTModule.rebuild` builds the saved graph for another GPU or with another TensorRT.

## Rooms

{rooms}

## Where to add what

**An operator**: a function in the file of its family in `converters/`, and a case in `tests/converters/`.

```python
@converter(aten.relu.default)
def relu(net: Network, x: Any) -> Any:
    return net.activation(x, trt.ActivationType.RELU)
```

It gets torch's arguments by the names of the schema and gives TensorRT tensors; `net` (`trtconv/emit/network.py`) has
what converters say, and every `add_*` of TensorRT's definition. A converter speaks mathematics: it knows of no release,
device or precision. An argument that it can't express raises `UnsupportedArgumentError`.

**A layer type** of TensorRT: its attributes in `trtconv/graph/reader.py`, how it is added in
`trtconv/graph/writer.py`, what it computes in `trtconv/reference/layers/`, and cases in `tests/reference/cases/`: those
go through all three.

**A rewrite**: a file in `trtconv/passes/`, named after what it does, or after the release that it works around, and
its place in `trtconv/passes/__init__.py`. Where weights are still to be computed, it is a function Trace -> Trace; else
Graph -> Graph:

```python
def write_elu_as_selu(graph: Graph) -> Graph:
    return rewritten(graph, {{"ACTIVATION": _as_selu}})


def _as_selu(edit: Edit, layer: Layer) -> Any:
    if layer.attributes["type"] != "ELU":
        return None
    x = edit.tensor(layer.inputs[0])
    return edit.net.activation(x, trt.ActivationType.SELU, layer.attributes["alpha"], 1.0)
```

The new layers are written with the vocabulary that converters use, on a scratch definition, so that TensorRT says
their types; they take the place, the name and the origin of what they replace. What nothing reads any more is removed.
Each graph is checked after each pass. The passes now:

{passes}

**A backend** of a segment: a class beside the interpreter and the engine in `trtconv/runtime/backend.py`.
"""


def picture() -> str:
    """The steps with the files that hold them."""
    return "\n".join(f"{step:<31}{what:<67}{where}".rstrip() for step, what, where in STEPS)


def first_sentence(path: pathlib.Path) -> str:
    """What a file says of itself first."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return text.partition("\n\n")[0].replace("\n", " ")


def rooms() -> Iterator[str]:
    """A row for each folder of the library."""
    yield "| folder | what is in it |\n| --- | --- |"
    for path in sorted(LIBRARY.iterdir()):
        if (path / "__init__.py").exists():
            name = "converters/" if path.is_symlink() else f"trtconv/{path.name}/"
            yield f"| `{name}` | {first_sentence(path / '__init__.py')} |"


def passes_now() -> Iterator[str]:
    """A row for each pass, in the order of the files that hold them."""
    yield "| pass | what it does |\n| --- | --- |"
    for name in dir(passes):
        function = getattr(passes, name)
        module = getattr(function, "__module__", "")
        if module.startswith("trtconv.passes.") and inspect.isfunction(function):
            path = LIBRARY.joinpath(*module.split(".")[1:]).with_suffix(".py")
            yield f"| `{name}` ({path.name}) | {first_sentence(path)} |"


def document() -> str:
    """The whole text."""
    return TEXT.format(picture=picture(), rooms="\n".join(rooms()), passes="\n".join(passes_now()))


if __name__ == "__main__":
    (HERE / "architecture.md").write_text(document())
