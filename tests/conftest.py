"""Settings of the whole suite."""

import os

import cases
import engine_differences
import pytest
import torch

from trtconv.emit.registry import USER
from trtconv.graph import write

os.environ["TRTCONV_CACHE"] = ""  # the suite neither uses the user's cache nor fills it
torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where the converters' cases run: cpu, or cuda for engines")


def pytest_configure(config):
    cases.DEVICE = torch.device(config.getoption("--device"))
    if cases.DEVICE.type == "cuda":
        torch.set_default_device(cases.DEVICE)  # for the constants in the cases
        # PyTorch's own error is measured without TensorFloat-32 too.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def pytest_collection_modifyitems(items):
    if cases.DEVICE.type == "cuda":
        engine_differences.mark(items)
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(autouse=True)
def seed():
    """Each test draws the same random numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def without_engines(monkeypatch):
    """Definitions are written, so that TensorRT sees all types, but no engines are built of them."""

    def written(graph, *args, **kwargs):
        write(graph)
        return torch.zeros(1, dtype=torch.uint8)

    monkeypatch.setattr("trtconv.build.build", written)


@pytest.fixture
def clean():
    """Remove what a test registers."""
    before = {c.key for c in USER.converters()}
    yield
    for converter in USER.converters():
        if converter.key not in before:
            USER.remove(converter.key)
