"""Engines that are built where they are first used: those that weren't saved, and those that don't load."""

import pytest
import stand_in_engine
import torch

import trtconv
from trtconv import EngineError
from trtconv.runtime import session


def module():
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())


def loaded(state, **options):
    result = trtconv.TRTModule(**options)
    result.load_state_dict(state)
    return result


def test_a_state_of_the_network_alone():
    model, x = module(), torch.randn(2, 4)
    converted = trtconv.convert(model, x, save="network")
    state = converted.state_dict()
    whole = trtconv.convert(model, x).state_dict()
    assert set(state) == set(whole) - {"segment_0.engine"}
    again = loaded(state)
    assert torch.equal(again(x), converted(x))  # the interpreter needs no engine
    with pytest.warns(UserWarning, match="without its engine; it was built again, in"):
        engine = again.engine
    assert len(engine) > 0 and len(again.engine) == len(engine) == len(again.state_dict()["segment_0.engine"])
    assert "segment_0.engine" not in loaded(state, save="network").state_dict()
    with pytest.raises(ValueError, match="save='engine': it takes"):
        trtconv.convert(model, x, save="engine")
    with pytest.raises(ValueError, match="needs the network"):
        trtconv.convert(model, x, save="network", keep_network=False)


@pytest.fixture
def refuses(monkeypatch):
    """A stand-in for a GPU, whose TensorRT loads only engines that it has built itself."""
    engine = stand_in_engine.install(monkeypatch)
    load = session._backend
    foreign = []

    def backend(segment, device, store):
        if any(bytes(segment.engine.numpy()) == each for each in foreign):
            raise EngineError("another release built this engine.\nmore")
        return load(segment, device, store)

    monkeypatch.setattr(session, "_backend", backend)
    engine.foreign = foreign
    return engine


def test_an_engine_that_does_not_load_is_built_again(refuses, monkeypatch):
    converted = trtconv.convert(torch.nn.ReLU(), torch.randn(2, 3), input_names=["x"], output_names=["y"])
    state = converted.state_dict()
    refuses.foreign.append(bytes(state["segment_0.engine"].numpy()))
    with pytest.raises(EngineError, match="another release"):
        loaded(state, rebuild=False)(torch.ones(2, 3))
    builds = []

    def rebuilt(plan, store):
        builds.append(plan)
        other = trtconv.convert(
            torch.nn.ReLU(), torch.randn(2, 3), input_names=["x"], output_names=["y"], compute_capabilities=["8.6"]
        )
        return other.plan

    monkeypatch.setattr("trtconv.rebuilding.rebuilt", rebuilt)
    again = loaded(state)
    with pytest.warns(UserWarning, match=r"another release built this engine.; it was built again, in 0\.\d s"):
        again(torch.ones(2, 3))
    again(torch.ones(2, 3))
    assert len(builds) == 1 and again.backend("cpu") == "tensorrt"


def test_where_no_engine_loads_the_interpreter_runs(refuses):
    converted = trtconv.convert(torch.nn.ReLU(), torch.randn(2, 3), input_names=["x"], output_names=["y"])
    refuses.foreign.append(bytes(converted.state_dict()["segment_0.engine"].numpy()))
    refuses.foreign.append(bytes(converted.rebuild().engine.serialize()))
    with pytest.warns(UserWarning) as told:
        x = torch.randn(2, 3)
        assert torch.equal(converted(x), x.relu())
    assert (
        "the reference interpreter runs in place" in str(told[-1].message) and converted.backend("cpu") == "reference"
    )


def test_an_engine_without_its_network_is_an_error(refuses):
    converted = trtconv.convert(torch.nn.ReLU(), torch.randn(2, 3), keep_network=False)
    refuses.foreign.append(bytes(converted.state_dict()["segment_0.engine"].numpy()))
    with pytest.raises(EngineError, match="another release"):
        converted(torch.randn(2, 3))
