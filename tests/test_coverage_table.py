"""The coverage benchmark: that it tells which models got worse since earlier results."""

import dataclasses
import importlib.util
import json
import pathlib
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def coverage(monkeypatch, tmp_path):
    """The script, with results of its own and no models to run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("coverage_table", BENCHMARKS / "coverage.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    (tmp_path / "benchmarks").mkdir()
    for name, value in {"SOURCES": (), "ROOT": tmp_path, "FOLDER": tmp_path}.items():
        monkeypatch.setattr(module, name, value)
    return module


def write(coverage, path, statuses):
    rows = [coverage.Result("own", "nets", name, status, f"of {name}") for name, status in statuses.items()]
    path.write_text("".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows))
    return path


def run(coverage, monkeypatch, *arguments):
    """The exit status of a comparison."""
    monkeypatch.setattr("sys.argv", ["coverage.py", "--table", *map(str, arguments)])
    try:
        coverage.main()
    except SystemExit as end:
        return end.code
    return 0


WORST_FIRST = ("no result", "wrong", "crashed", "refused", "excluded", "correct")


@pytest.mark.parametrize("after", WORST_FIRST)
@pytest.mark.parametrize("before", WORST_FIRST[1:])
def test_each_change_is_listed_and_a_worse_one_fails(before, after, coverage, monkeypatch, tmp_path, capsys):
    earlier = write(coverage, tmp_path / "earlier.jsonl", {"net": before, "other": "correct"})
    now = {"net": after} if after != "no result" else {}
    write(coverage, tmp_path / "coverage.jsonl", {**now, "other": "correct", "new": "wrong"})
    change = WORST_FIRST.index(after) - WORST_FIRST.index(before)
    assert run(coverage, monkeypatch, "--compare", earlier) == (1 if change < 0 else 0)
    printed = capsys.readouterr().out
    assert f"{int(change < 0)} of 2 got worse\n" in printed and f"{int(change > 0)} of 2 got better\n" in printed
    assert (f"own/net: {before} -> {after}" in printed) is (change != 0)
    assert "own/other" not in printed and "own/new" not in printed


def test_only_what_is_chosen_is_compared(coverage, monkeypatch, tmp_path):
    earlier = write(coverage, tmp_path / "earlier.jsonl", {"a": "correct", "b": "correct"})
    write(coverage, tmp_path / "coverage.jsonl", {"a": "correct", "b": "wrong"})
    assert run(coverage, monkeypatch, "--compare", earlier, "--only", "own/a") == 0
    assert run(coverage, monkeypatch, "--compare", earlier, "--only", "own") == 1
    assert run(coverage, monkeypatch, "--compare", tmp_path / "coverage.jsonl") == 0


def test_without_a_comparison_nothing_is_said(coverage, monkeypatch, tmp_path, capsys):
    write(coverage, tmp_path / "coverage.jsonl", {"a": "wrong"})
    assert run(coverage, monkeypatch) == 0
    assert not capsys.readouterr().out


def test_results_in_half_precision_have_a_table_of_their_own(coverage, monkeypatch, tmp_path):
    example = coverage.Example("nets", "a", lambda: None)
    monkeypatch.setattr(coverage, "SOURCES", ("own",))
    monkeypatch.setattr(coverage, "examples", lambda source: [example])
    write(coverage, tmp_path / "coverage_fp16.jsonl", {"a": "wrong"})
    assert run(coverage, monkeypatch, "--precision", "fp16") == 0
    (table,) = (tmp_path / "benchmarks" / "results").iterdir()
    assert (
        table.name == "coverage_fp16.md" and "float16 against it" in table.read_text() and "of a" in table.read_text()
    )
