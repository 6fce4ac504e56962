"""Bars are shown where somebody looks, and come to their end; the logger says what was done."""

import io
import logging
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import trtconv
from trtconv import progress as progress_module
from trtconv.progress import Phases, progress


class Terminal(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "show", "shown"),
    [(True, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
def test_a_bar_is_shown_where_somebody_looks(monkeypatch, is_terminal, show, shown):
    terminal = Terminal(is_terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress_module, "DELAY", 0)
    trtconv.convert(nn.Linear(3, 4), torch.randn(2, 3), progress=show)
    assert ("Building the engine: " in terminal.getvalue()) == shown
    assert shown or not terminal.getvalue()


def test_what_is_quick_shows_no_bar(monkeypatch):
    terminal = Terminal(True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("Counting", 2) as bar:
        bar.note("one")
        bar.update()
    assert "Counting" not in terminal.getvalue()


@pytest.mark.parametrize("value", [1, "yes", 0.5])
def test_the_option_is_checked(value):
    with pytest.raises(ValueError, match="progress="):
        trtconv.convert(nn.ReLU(), torch.randn(2), progress=value)


class Recorded:
    def __init__(self):
        self.at, self.notes = 0.0, []

    def update(self, steps=1):
        assert steps >= 0
        self.at += steps

    def note(self, text):
        self.notes.append(text)


def test_phases_inside_of_phases_come_to_the_whole():
    bar = Recorded()
    phases = Phases(bar)
    phases.start("build", None, 4)
    phases.step("build")
    assert bar.at == pytest.approx(1 / 4)
    for turn in range(2):  # the second takes nothing back
        phases.start("costs", "build", 2)
        phases.step("costs")
        assert bar.at == pytest.approx(1 / 4 + 1 / 8 + turn / 16)
        phases.start("tactics", "costs", 2)
        phases.step("tactics")
        assert bar.at == pytest.approx(1 / 4 + 3 / 16)
        phases.finish("tactics")
        phases.finish("costs")
    phases.step("build")
    assert bar.at == pytest.approx(2 / 4)
    phases.finish("build")  # TensorRT leaves steps out
    assert bar.at == pytest.approx(1)
    assert bar.notes == ["build", "costs", "tactics", "costs", "tactics"]


def test_notebooks_have_bars_of_their_own(monkeypatch):
    made = []

    class Widget:
        start_t = 0.0

        def __init__(self, **options):
            made.append(options)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def set_postfix_str(self, text, refresh):
            made.append(text)

    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "tqdm.notebook", SimpleNamespace(tqdm=Widget))
    monkeypatch.setattr(progress_module.importlib.util, "find_spec", lambda name: object())
    with progress("Counting", 3) as bar:
        bar.note("one")
    assert made[0]["desc"] == "Counting" and made[0]["total"] == 3 and made[1] == "one"


def test_the_logger_tells_the_steps_and_what_passes_did(monkeypatch):
    terminal = Terminal(False)
    monkeypatch.setattr(sys, "stderr", terminal)
    logger = logging.getLogger("trtconv")
    monkeypatch.setattr(logger, "propagate", False)  # pytest's own handlers are at the root
    before = (logger.level, list(logger.handlers))
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    with trtconv.verbose():
        trtconv.convert(module, torch.randn(1, 3, 8, 8))
    said = terminal.getvalue()
    assert all(f"trtconv: {step}: " in said for step in ("capture", "emit", "build"))
    assert "trtconv: fold_batch_norm: 2 -> 1" in said
    assert "trtconv.tensorrt: " in said and "Layers:" not in said
    with trtconv.verbose("DEBUG"):
        trtconv.convert(module, torch.randn(1, 3, 8, 8))
    assert "Layers:" in terminal.getvalue()
    assert (logger.level, list(logger.handlers)) == before
    terminal.truncate(0)
    trtconv.convert(module, torch.randn(1, 3, 8, 8))
    assert "trtconv: " not in terminal.getvalue()  # TensorRT may warn, of the loggers of other tests for one


def test_records_come_once_where_logging_is_set_up(caplog):
    with trtconv.verbose():
        trtconv.convert(nn.ReLU(), torch.randn(2))
    assert sum(record.getMessage().startswith("build: ") for record in caplog.records) == 1
    with pytest.raises(ValueError, match="LOUD"), trtconv.verbose("LOUD"):
        pass
