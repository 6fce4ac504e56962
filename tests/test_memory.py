"""What a call returns is the caller's alone, and what a converted module keeps is its own."""

import copy
import gc
import pickle
import weakref
from unittest import mock

import pytest
import torch
from cases import Function
from torch import nn

import trtconv
from trtconv import reference
from trtconv.capture.recorder import Recorder
from trtconv.capture.trace import Trace
from trtconv.emit.network import Network

ALIASING = {
    "itself": lambda x: x,
    "clone": lambda x: x.clone(),
    "repeat": lambda x: x.repeat(1, 1),
    "reshape": lambda x: x.reshape(3, 2),
    "transposed": lambda x: x.mT,
    "slice": lambda x: x[:1],
    "twice": lambda x: (x + 1,) * 2,
    "views of one": lambda x: ((x * 2).flatten(), (x * 2).mT, x[0]),
    "a constant": lambda x: (x, torch.arange(6.0)),
    "views of a constant": lambda x: (x, torch.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(2, 3)[0]),
}


@pytest.mark.parametrize("function", ALIASING.values(), ids=ALIASING)
def test_writing_to_results_changes_nothing_else(function):
    module = Function(lambda x: tuple(y) if isinstance(y := function(x), tuple) else (y,))
    converted = trtconv.convert(module, torch.randn(2, 3))
    x = torch.randn(2, 3)
    before, state = x.clone(), copy.deepcopy(converted.state_dict())
    expected = module(x)
    for _ in range(2):
        results = converted(x)
        for place, (result, value) in enumerate(zip(results, expected, strict=True)):
            torch.testing.assert_close(result, value, rtol=0, atol=0, msg=f"result {place}")
            result.add_(100)
    assert torch.equal(x, before)
    assert all(torch.equal(value, state[name]) for name, value in converted.state_dict().items())


def test_nothing_of_a_conversion_but_its_graph_is_alive_while_it_is_built():
    """TensorRT holds the weights twice then."""
    made, alive = [], []

    def noting(kind):
        def init(self, *args):
            made.append(weakref.ref(self))
            original(self, *args)

        original = kind.__init__
        return mock.patch.object(kind, "__init__", init)

    def build(*args, **options):
        alive.extend(type(each()).__name__ for each in made if each() is not None)
        return torch.zeros(1, dtype=torch.uint8)

    gc.collect()
    gc.disable()
    try:
        with noting(Network), noting(Recorder), noting(Trace), mock.patch("trtconv.build.build", build):
            trtconv.convert(
                Function(lambda x: torch.native_layer_norm(x, (4,), None, None, 1e-5)[0]), torch.randn(3, 4)
            )
    finally:
        gc.enable()
    assert len(made) > 2 and not alive


def test_results_of_an_observed_run_are_new_too():
    converted = trtconv.convert(Function(lambda x: (x.reshape(3, 2), torch.arange(3.0))), torch.randn(2, 3))
    interpreter = reference.Interpreter(converted.network)
    x = torch.randn(2, 3)
    before = x.clone()
    for observe in (None, lambda name, value: None):
        for _ in range(2):
            results = interpreter.run({"input_0": x}, observe)
            assert torch.equal(results["output_1"], torch.arange(3.0))
            for result in results.values():
                result.add_(100)
    assert torch.equal(x, before)


def test_a_written_input_that_is_returned():
    module = Function(lambda x, y: x.add_(y))
    converted = trtconv.convert(module, (torch.randn(2, 3), torch.randn(2, 3)))
    x, y = torch.randn(2, 3), torch.randn(2, 3)
    expected = x + y
    result = converted(x, y)
    assert torch.equal(result, expected) and torch.equal(x, expected)
    result.zero_()
    assert torch.equal(x, expected)


def test_a_written_input_that_shares_memory_with_another_is_refused():
    """There torch lets the second input see the write."""
    module = Function(lambda x, y: x.add_(1) + y)
    converted = trtconv.convert(module, (torch.randn(2, 3), torch.randn(2, 3)))
    memory = torch.randn(4, 3)
    assert torch.equal(converted(memory[:2], memory[2:]), module(memory[:2] - 1, memory[2:]))
    for args in ((memory[:2], memory[:2]), (memory[:2], memory[1:3])):
        with pytest.raises(trtconv.InputError, match=r"writes to 'args\[0\]'.*shares memory with 'args\[1\]'.*clone"):
            converted(*args)


class Holds(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.register_buffer("offset", torch.randn(3))
        self.table = torch.randn(3)

    def forward(self, x):
        return self.norm(self.linear(x)) + self.offset, x * self.table, self.table, self.linear.weight


def test_training_the_original_on_changes_nothing():
    module = Holds().eval()
    example = torch.randn(2, 3)
    converted = trtconv.convert(module, example)
    x = torch.randn(2, 3)
    expected = [value.clone() for value in converted(x)]
    state = copy.deepcopy(converted.state_dict())
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers(), module.table, example):
            tensor.fill_(7)
    assert all(map(torch.equal, converted(x), expected))
    fresh = trtconv.TRTModule()
    fresh.load_state_dict(converted.state_dict())
    assert all(map(torch.equal, fresh(x), expected))
    assert all(torch.equal(value, state[name]) for name, value in converted.state_dict().items())


@pytest.mark.parametrize("assign", [False, True])
def test_a_loaded_module_shares_its_state_with_nobody_unless_it_is_asked_to(assign):
    converted = trtconv.convert(Holds().eval(), torch.randn(2, 3))
    x = torch.randn(2, 3)
    expected = converted(x)
    state = copy.deepcopy(dict(converted.state_dict()))
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(state, assign=assign)
    shared = {value.data_ptr() for value in state.values()}
    assert any(value.data_ptr() in shared for name, value in loaded.state_dict().items() if name != "plan") is assign
    if not assign:
        for value in state.values():
            value.zero_()
    assert all(map(torch.equal, loaded(x), expected))


def test_copies_share_no_memory():
    converted = trtconv.convert(Holds().eval(), torch.randn(2, 3))
    x = torch.randn(2, 3)
    expected = converted(x)
    for other in (copy.deepcopy(converted), pickle.loads(pickle.dumps(converted))):
        for value in other.state_dict().values():
            value.zero_()
        assert all(map(torch.equal, converted(x), expected))
