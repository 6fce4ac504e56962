"""Every place of a saved state replaced by every kind of value: it is refused with its reason, or loads."""

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import trtconv
from trtconv.plan import Plan


class Returns(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x, scale=2.0):
        return {"best": self.linear(x).max(1), "all": [x * scale]}


MODULE, X = Returns().eval(), torch.randn(2, 3)
STATE = trtconv.convert(MODULE, [X], dynamic_shapes={"x": {0: (1, 2, 4)}}).state_dict()
HEADER = json.loads(bytes(STATE["plan"].numpy()))


def with_header(header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return {**STATE, "plan": torch.frombuffer(bytearray(text), dtype=torch.uint8)}


def paths(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def unpacked():
    """The header with the graph's text as JSON too, so that it is mutated like the rest."""
    header = json.loads(json.dumps(HEADER))
    header["segments"][0]["graph"] = json.loads(header["segments"][0]["graph"])
    return header


def packed(header):
    graph = header["segments"][0]["graph"]
    return replaced(header, ("segments", 0, "graph"), json.dumps(graph))


TREE = unpacked()
PATHS = list(paths(TREE))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.just(10**18),
    st.floats(allow_nan=True),
    st.sampled_from(["", "load", "float33", "max", "x", "*", "{}", "FLOAT"]),
    st.sampled_from([[], {}, [[]], {"tensor": "0"}, {"float": "x"}, {"tuple": []}, {"return_type": []}]),
)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(PATHS), VALUES)
def test_any_header_is_loaded_or_refused(path, value):
    try:
        header = packed(replaced(TREE, path, value))
    except (TypeError, KeyError, IndexError):
        header = replaced(TREE, path, value)
    try:
        Plan.from_state(with_header(header))
    except ValueError as error:
        assert str(error)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, len(json.dumps(HEADER)) - 1), st.binary(max_size=4))
def test_any_bytes_are_loaded_or_refused(place, inserted):
    text = json.dumps(HEADER).encode()
    try:
        Plan.from_state(with_header(text[:place] + inserted))
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("key", [key for key in STATE if key != "plan"])
def test_tensors_that_are_missing_are_told(key):
    state = {name: value for name, value in STATE.items() if name != key}
    with pytest.raises(ValueError, match=key.rpartition(".")[2]):
        Plan.from_state(state)


def test_states_are_saved_by_safetensors(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    load_file = pytest.importorskip("safetensors.torch").load_file
    save_file(dict(STATE), tmp_path / "module.safetensors")
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(load_file(tmp_path / "module.safetensors"))
    torch.testing.assert_close(loaded(X)["best"].values, MODULE(X)["best"].values)
