"""The folders of the library build on each other in one direction."""

import ast
import graphlib
import pathlib
from collections.abc import Iterator

import trtconv

LIBRARY = pathlib.Path(trtconv.__file__).parent


def room(module: str) -> str:
    """The folder that a module is in, or the file at the top."""
    return ".".join(module.split(".")[:2])


def imports(path: pathlib.Path) -> Iterator[str]:
    """The modules of the library that a file imports when it is run."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield from (f"{module}.{name.name}" if module == "trtconv" else module for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def rooms() -> dict[str, set[str]]:
    """For each folder, and each file at the top, those that it imports."""
    found: dict[str, set[str]] = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        here = room(".".join(("trtconv", *path.relative_to(LIBRARY).with_suffix("").parts)))
        ours = {room(module) for module in imports(path) if module.startswith("trtconv.")}
        found.setdefault(here, set()).update(ours - {here})
    return found


def test_rooms_have_no_circle():
    order = list(graphlib.TopologicalSorter(rooms()).static_order())  # CycleError names the circle
    assert order.index("trtconv.graph") < order.index("trtconv.capture") < order.index("trtconv.emit")


def test_passes_know_the_vocabulary_only():
    modules = {module for path in (LIBRARY / "passes").rglob("*.py") for module in imports(path)}
    assert not {module for module in modules if module.startswith(("trtconv.converters", "trtconv.emit.emitter"))}


def test_only_one_module_imports_tensorrt():
    elsewhere = {path for path in LIBRARY.rglob("*.py") if any(m.startswith("tensorrt") for m in imports(path))}
    assert elsewhere <= {LIBRARY / "tensorrt" / "__init__.py"}
