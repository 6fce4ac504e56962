"""The folder of what takes long to make."""

import os
import subprocess
import sys
import warnings

import pytest
import stand_in_engine
import torch

import trtconv
from trtconv import build
from trtconv.calling.signature import Signature, TensorSpec
from trtconv.plan import Plan, Segment
from trtconv.runtime.cache import Store
from trtconv.runtime.kernels import Kernels


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def test_what_is_kept_is_found_again(store):
    assert store.load("kernels", "a") is None
    store.keep("kernels", "a", b"one")
    store.keep("kernels", "b", b"")
    store.keep("kernels", "a", b"two")
    assert store.load("kernels", "a") == b"two" and store.load("kernels", "b") == b""
    assert store.load("engine", "a") is None
    assert sorted((entry.kind, entry.size) for entry in store.entries()) == [("kernels", 48), ("kernels", 51)]


def test_the_folder_is_named_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TRTCONV_CACHE", str(tmp_path))
    assert trtconv.runtime.cache.folder() == tmp_path and Store.of(True) == Store(tmp_path)
    assert Store.of(False) is None and Store.of(tmp_path / "own") == Store(tmp_path / "own")
    Store(tmp_path).keep("kernels", "a", b"x")
    assert len(trtconv.runtime.cache.entries()) == 1
    trtconv.runtime.cache.clear()
    assert trtconv.runtime.cache.entries() == []
    monkeypatch.setenv("TRTCONV_CACHE", "")
    assert trtconv.runtime.cache.folder() is None and Store.of(True) is None and trtconv.runtime.cache.entries() == []
    monkeypatch.delenv("TRTCONV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert trtconv.runtime.cache.folder() == tmp_path / "trtconv"


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b + b"x", lambda b: b"y" * len(b)])
def test_damaged_files_are_told_of_and_written_anew(store, damage):
    store.keep("kernels", "a", b"content")
    (entry,) = store.entries()
    entry.path.write_bytes(damage(entry.path.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged"):
        assert store.load("kernels", "a") is None
    store.keep("kernels", "a", b"again")
    assert store.load("kernels", "a") == b"again"


def test_what_was_used_longest_ago_goes_first(store, monkeypatch):
    monkeypatch.setenv("TRTCONV_CACHE_SIZE", "500")
    for number in range(4):
        store.keep("kernels", str(number), bytes(100))
        os.utime(store._path("kernels", str(number)), (number, number))
        store.load("kernels", "0")
    assert [store.load("kernels", str(number)) is not None for number in range(4)] == [True, False, True, True]


def test_a_folder_that_cannot_be_written_to_is_warned_of(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="nothing is kept in the cache"):
        Store(tmp_path / "file").keep("kernels", "a", b"x")
    assert Store(tmp_path / "file").load("kernels", "a") is None


def test_processes_at_once(store):
    """Whole contents only, whoever reads and writes meanwhile; nothing is left behind."""
    program = """
import sys
from pathlib import Path
from trtconv.runtime.cache import Store
store = Store(Path(sys.argv[1]))
for number in range(150):
    store.keep("kernels", str(number % 3), bytes([number % 7]) * 200_000)
    content = store.load("kernels", str(number % 3))
    assert content is None or (len(content) == 200_000 and len(set(content)) == 1)
"""
    command = [sys.executable, "-W", "error", "-c", program, str(store.folder)]
    environment = {**os.environ, "TRTCONV_CACHE_SIZE": "500000"}
    processes = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert not list(store.folder.glob("*/.*"))


def test_kernels_are_kept_with_the_module_and_in_the_folder(monkeypatch, store):
    stand_in_engine.install(monkeypatch)
    specs = [TensorSpec(name, torch.float32, (2, 3)) for name in "xy"]
    signature = Signature.of_tensors(specs[:1], specs[1:])

    def segment(fill):
        return Segment(("x",), ("y",), torch.full((7,), fill, dtype=torch.uint8), None)

    here = torch.device("cpu")
    module = trtconv.TRTModule(Plan(signature, (segment(1),), {}), cache=store.folder)
    assert "segment_0.kernels" not in module.state_dict()
    module(torch.ones(2, 3))
    assert bytes(module.state_dict()["segment_0.kernels"].numpy()) == b"kernels of 1"
    assert Kernels(segment(1), here, store).load() == b"kernels of 1"  # another process
    assert Kernels(segment(2), here, store).load() is None  # of another engine
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(module.state_dict())
    (kept,) = loaded.plan.segments
    assert Kernels(kept, here, None).load() == b"kernels of 1"
    kept.kernels_of = "TensorRT 9 on a toaster"
    assert Kernels(kept, here, None).load() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trtconv.TRTModule(Plan(signature, (segment(3),), {}), cache=False)(torch.ones(2, 3))
    assert Kernels(segment(3), here, store).load() is None


def test_an_engine_is_built_once(store, monkeypatch):
    builds = []
    real = build.build
    monkeypatch.setattr(build, "build", lambda *args, **kwargs: builds.append(1) or real(*args, **kwargs))
    module, x = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()), torch.randn(2, 4)

    def engine(**options):
        return trtconv.convert(module, x, **{"cache": store.folder, **options}).engine.serialize()

    first = engine()
    assert engine() == first and len(builds) == 1
    others = [
        {"dynamic_shapes": {"input": {0: (1, 2, 8)}}},
        {"dynamic_shapes": {"input": {0: (1, 2, 9)}}},
        {"tf32": False},
        {"compute_capabilities": ["8.6"]},
        {"output_names": ["y"]},
    ]
    for _ in range(2):
        for options in others:
            engine(**options)
    assert len(builds) == 6
    with torch.no_grad():
        module[0].weight[0, 0] += 1
    engine()
    engine(cache=False)
    assert len(builds) == 8
    converted = trtconv.convert(module, x, cache=store.folder)
    torch.testing.assert_close(converted(x), module(x))


def test_networks_with_plugins_are_not_kept(store, monkeypatch):
    """What a plugin does isn't in the graph; here an activation passes for one."""
    monkeypatch.setattr(build, "PLUGIN_TYPES", ("ACTIVATION",))
    trtconv.convert(torch.nn.ReLU(), torch.randn(2), cache=store.folder)
    trtconv.convert(torch.nn.Linear(2, 2), torch.randn(1, 2), cache=store.folder)
    assert [entry.kind for entry in store.entries()] == ["engine"]
