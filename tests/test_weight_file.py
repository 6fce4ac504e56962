"""Weights in a file: the same values, whatever is taken out of memory; and what a conversion puts there."""

from __future__ import annotations

import os
import tempfile

import pytest
import torch
from torch import nn

import trtconv
from trtconv.graph import weight_file
from trtconv.graph.weight_file import SMALLEST, WeightFile

LARGE = SMALLEST // 4 + 3
"""Elements of float32 that go to the file."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.bool])
def test_values_stay(dtype: torch.dtype) -> None:
    file = WeightFile()
    given = [torch.randint(0, 2 if dtype is torch.bool else 100, (8, LARGE)).to(dtype) for _ in range(4)]
    held = [file.hold(tensor) for tensor in given]
    file.release()
    for tensor, kept in zip(given, held, strict=True):
        assert kept.dtype is dtype
        assert kept.data_ptr() != tensor.data_ptr()
        assert kept.data_ptr() % 64 == 0
        assert torch.equal(kept, tensor)


def test_order_in_memory_stays() -> None:
    tensor = torch.randn(LARGE, 3).t()
    kept = WeightFile().hold(tensor)
    assert kept.stride() == tensor.stride()
    assert torch.equal(kept, tensor)


def test_small_ones_stay_in_memory() -> None:
    tensor = torch.randn(10)
    assert WeightFile().hold(tensor) is tensor


def test_blocks_grow() -> None:
    file = WeightFile()
    given = [torch.full((40 << 20,), number, dtype=torch.uint8) for number in range(5)]
    held = [file.hold(tensor) for tensor in given]
    assert all(torch.equal(kept, tensor) for kept, tensor in zip(held, given, strict=True))
    assert len(file._blocks) == 5  # two don't fit in one block


def test_a_full_disk_leaves_them_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    tensor = torch.randn(LARGE)
    assert WeightFile().hold(tensor) is tensor


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no folder in memory")
def test_the_file_is_not_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[str] = []
    make = tempfile.TemporaryFile

    def note(dir: str) -> object:
        folders.append(dir)
        return make(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", note)
    monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    tensor = torch.randn(LARGE)
    assert torch.equal(WeightFile().hold(tensor), tensor)
    assert folders and "/dev/shm" not in folders


def test_without_a_folder_on_disk_they_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_file, "_folders", lambda: ["/dev/shm", "/nowhere"])
    tensor = torch.randn(LARGE)
    assert WeightFile().hold(tensor) is tensor


def test_values_outlive_the_file() -> None:
    tensor = torch.randn(LARGE)
    kept = WeightFile().hold(tensor)
    assert torch.equal(kept, tensor)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(600, 600)
        self.convolution = nn.Conv2d(200, 200, 3, padding=1)
        self.norm = nn.BatchNorm2d(200)

    def forward(self, x: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.linear(x), self.norm(self.convolution(image))


def test_a_network_keeps_its_weights() -> None:
    model = nn.Linear(700, 700).eval()
    network = trtconv.convert(model, [torch.randn(2, 700)]).network
    weight = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.zero_()  # as training on would: a converted module has its own
    del model
    constants = [layer.attributes["weights"] for layer in network.layers if layer.type == "CONSTANT"]
    assert any(torch.equal(values, weight.t()) for values in constants)


@pytest.mark.parametrize("tf32", [True, False])
def test_only_what_was_computed_is_in_the_file(monkeypatch: pytest.MonkeyPatch, tf32: bool) -> None:
    held: list[tuple[int, ...]] = []
    hold = WeightFile.hold

    def note(self: WeightFile, tensor: torch.Tensor) -> torch.Tensor:
        kept = hold(self, tensor)
        if kept is not tensor:
            held.append(tuple(tensor.shape))
        return kept

    monkeypatch.setattr(weight_file.WeightFile, "hold", note)
    torch.manual_seed(0)
    model = Model().eval()
    inputs = torch.randn(2, 600), torch.randn(1, 200, 5, 5)
    converted = trtconv.convert(model, inputs, tf32=tf32)
    assert held[:2] == [(600, 600), (200, 200, 3, 3)]  # the transposed matrix, and the folded kernel
    held.clear()
    trtconv.convert(model.convolution, [inputs[1]])
    assert not held
    inputs = torch.randn(2, 600), torch.randn(1, 200, 5, 5)
    for result, expected in zip(converted(*inputs), model(*inputs), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
