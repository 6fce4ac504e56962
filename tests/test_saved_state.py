"""A state from elsewhere is refused with its reason, or answers as it says."""

import copy
import dataclasses
import json
import pathlib

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import trtconv
from trtconv.places import Origin
from trtconv.plan import Plan
from trtconv.reference import from_state, to_state


def state_of(header, state):
    return dict(state, plan=torch.frombuffer(bytearray(json.dumps(header).encode()), dtype=torch.uint8))


class Made(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x, scale=2.0):
        y = self.linear(x) * scale
        return {"best": y.max(1), "all": [y, None]}


@pytest.fixture(scope="module")
def good():
    state = dict(trtconv.convert(Made().eval(), torch.randn(4, 3)).state_dict())
    state["segment_0.engine"] = state["segment_0.engine"][:16].clone()
    return state, json.loads(bytes(state["plan"].numpy()))


def test_states_of_older_releases_load():
    saved = torch.load(pathlib.Path(__file__).parent / "saved" / "format_1.pth")
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(saved["state"])
    result = loaded(saved["x"])
    assert result["n"] == 7 and type(result["pair"]).__name__ == "Pair"
    torch.testing.assert_close(result["pair"].left, saved["expected"])
    assert torch.equal(result["pair"].right[0].indices, saved["x"].max(1).indices)


def test_states_name_files_without_their_folders(monkeypatch):
    """Below where they are imported from, or by their names alone."""
    graph = trtconv.convert(Made().eval(), torch.randn(4, 3)).network
    folders = {"/a/site/torchvision/models/vgg.py": "torchvision/models/vgg.py", "/b/own/model.py": "model.py"}
    monkeypatch.syspath_prepend("/a/site")
    files = [*folders, __file__, "<ipython-input-1>"]
    layers = [
        dataclasses.replace(layer, origin=Origin("", file, 3, "f", ("/b/own/train.py", 4)))
        for layer, file in zip(graph.layers, files, strict=False)
    ]
    loaded = from_state(*to_state(dataclasses.replace(graph, layers=tuple(layers))))
    origins = [layer.origin for layer in loaded.layers]
    assert [each.file for each in origins] == [*folders.values(), "test_saved_state.py", "<ipython-input-1>"]
    assert all(each.caller == ("train.py", 4) and each.line == 3 for each in origins)


def test_states_can_be_saved_by_safetensors(tmp_path):
    converted = trtconv.convert(Made().eval(), torch.randn(4, 3))
    save_file(converted.state_dict(), tmp_path / "made.safetensors")
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(load_file(tmp_path / "made.safetensors"))
    x = torch.randn(4, 3)
    assert torch.equal(loaded(x)["all"][0], converted(x)["all"][0])
    assert torch.equal(loaded(x)["best"].indices, converted(x)["best"].indices)
    strides = [
        [
            value.stride()
            for layer in each.plan.segments[0].graph.layers
            for value in layer.attributes.values()
            if isinstance(value, torch.Tensor)
        ]
        for each in (converted, loaded)
    ]
    assert strides[0] == strides[1] and (1, 3) in strides[0]  # products by columns round as PyTorch's do


@pytest.mark.parametrize("name", ["load", "float33", "Tensor", "", 3, None, {}])
def test_dtypes_are_looked_up_in_a_table(good, name):
    state, header = good
    header = copy.deepcopy(header)
    header["signature"]["inputs"][0][1] = name
    with pytest.raises(ValueError, match=r"no dtype of an input|damaged"):
        Plan.from_state(state_of(header, state))


@pytest.mark.parametrize(
    "name", ["__name__", "pytree_register_structseq", "svd", "all_return_types", "__builtins__", 3]
)
def test_return_types_are_those_of_torch(good, name):
    state, header = good
    text = json.dumps(header).replace('"torch.return_types", "max"', f'"torch.return_types", {json.dumps(name)}')
    assert text != json.dumps(header)
    with pytest.raises(ValueError, match=r"return_types has no"):
        Plan.from_state(state_of(json.loads(text), state))


@pytest.mark.parametrize(
    "header", [{}, [], None, 3, "x", {"format": 1}, {"format": 1, "segments": [], "signature": {}}]
)
def test_headers_that_are_none(good, header):
    with pytest.raises(ValueError, match=r"no saved plan"):
        Plan.from_state(state_of(header, good[0]))


def test_deep_nesting_and_broken_text(good):
    state, _ = good
    for text in (b"[" * 200_000, b'{"format":' * 50_000, b"\xff\xfe", b"", b'{"format": 1, "signature": NaN}'):
        plan = torch.frombuffer(bytearray(text), dtype=torch.uint8) if text else torch.empty(0, dtype=torch.uint8)
        with pytest.raises(ValueError, match=r"no saved plan|damaged"):
            Plan.from_state(dict(state, plan=plan))


def test_a_child_is_named(good):
    state, _ = good
    parent = nn.ModuleDict({"a": trtconv.TRTModule(), "b": nn.Linear(2, 2)})
    whole = {
        **{f"a.{name}": value for name, value in state.items()},
        **nn.ModuleDict({"b": nn.Linear(2, 2)}).state_dict(),
    }
    parent.load_state_dict(whole)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*a\.other"):
        parent.load_state_dict(dict(whole, **{"a.other": torch.ones(1)}))
    assert parent.load_state_dict(dict(whole, **{"a.other": torch.ones(1)}), strict=False).unexpected_keys == [
        "a.other"
    ]
    with pytest.raises(RuntimeError, match=r"a\.plan: .*damaged"):
        parent.load_state_dict(dict(whole, **{"a.plan": whole["a.plan"][:50]}))


def test_weights_of_an_unconverted_module():
    with pytest.raises(
        RuntimeError, match=r"holds linear\.bias, linear\.weight, as the weights of an unconverted module"
    ):
        trtconv.TRTModule().load_state_dict(Made().state_dict())


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from places(child, (*path, key))


VALUES = st.sampled_from(
    [None, True, -1, 0, 1, 7, 10**18, -(10**18), 1.5, "", "load", "SUM", [], {}, [[]], [10**18], {"tensor": "0"}]
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(data=st.data())
def test_mutated_states_are_refused_or_answer_as_they_say(good, data):
    state, header = good
    header = copy.deepcopy(header)
    graph = json.loads(header["segments"][0]["graph"])
    part = data.draw(st.sampled_from(["header", "graph", "tensor"]))
    if part == "tensor":
        name = data.draw(st.sampled_from(sorted(state)))
        others = [torch.ones(2, 2), torch.ones(()), torch.empty(0), torch.ones(3, dtype=torch.int64), None, "text"]
        state = dict(state, **{name: data.draw(st.sampled_from(others))})
    else:
        root = header if part == "header" else graph
        path = data.draw(st.sampled_from([each for each in places(root) if each]))
        owner = root
        for key in path[:-1]:
            owner = owner[key]
        if data.draw(st.booleans()):
            del owner[path[-1]]
        else:
            owner[path[-1]] = data.draw(VALUES)
        if part == "graph":
            header["segments"][0]["graph"] = json.dumps(graph)
        state = state_of(header, state)
    module = trtconv.TRTModule()
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        assert "Error(s) in loading state_dict" in str(error)
        return
    try:
        result = module(torch.ones(4, 3))
    except (ValueError, TypeError, trtconv.EngineError, NotImplementedError, trtconv.reference.LayerError):
        return
    leaves = torch.utils._pytree.tree_leaves(result)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    assert all(tensor.numel() <= 100 for tensor in tensors)
