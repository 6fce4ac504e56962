"""Modules that write to their buffers, or put others in their place: converted ones keep them as PyTorch would."""

import copy
import gc
import io
import pickle
import threading
import weakref
from dataclasses import replace

import pytest
import stand_in_engine
import torch
import torch.nn.functional as F
from torch import nn

import trtconv
from trtconv.calling.signature import Signature, TensorSpec
from trtconv.errors import CaptureError, ConversionError, InputError
from trtconv.plan import Plan, Segment

POSITIONS = torch.arange(3)


class Writes(nn.Module):
    """Calls a function with itself, after which its buffer `kept` may be another."""

    def __init__(self, function, dtype=torch.float32):
        super().__init__()
        self.function = function
        self.register_buffer("kept", torch.arange(12).reshape(3, 4).to(dtype))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        return self.function(self, x)


def replaced(self, x):
    before = self.kept
    self.kept = self.kept * 0.5 + x
    return before, self.kept + 1


def shifted(self, x):
    self.kept = torch.cat([self.kept[1:], x[:1]])
    return self.kept.sum(0)


def counted(self, x):
    self.count += 1
    self.kept.index_copy_(0, self.count.remainder(3)[None], x[:1])
    return self.kept @ x.T


def through_a_view(self, x):
    row = self.kept[1]
    row += x[0]
    row.clamp_(max=20)
    return self.kept.exp(), row


def normalized(self, x):
    return F.batch_norm(x, self.kept[0], self.kept[1], training=True) + self.kept.sum()


def only_read(self, x):
    return self.kept * x


def slot(self, x):
    self.kept[:, self.count] = x[:, 0]
    self.count.add_(1).remainder_(4)
    return self.kept.mean()


def set_data(self, x):
    self.kept.data.copy_(self.kept + x)
    return self.kept * 2


def assigned_input(self, x):
    before, self.kept = self.kept, x
    return before - x


def added(self, x):
    self.kept.add_(x)


WAYS = {
    "index_copy": lambda self, x: self.kept.index_copy_(0, POSITIONS[1:2], x[:1]).sum(1),
    "slice assignment": lambda self, x: self.kept[1:, ::2].copy_(x[1:, ::2]) + self.kept.sum(),
    "index assignment": lambda self, x: self.kept.index_put_((POSITIONS,), x * 2) - x,
    "scatter": lambda self, x: self.kept.scatter_add_(1, x.argsort(1), x),
    "mask": lambda self, x: self.kept.masked_fill_(x > 0, -1.0) + x,
    "running mean": lambda self, x: x - self.kept.mul_(0.9).add_(x, alpha=0.1),
    "lerp": lambda self, x: self.kept.lerp_(x, 0.25),
    "replaced": replaced,
    "shifted": shifted,
    "counted": counted,
    "through a view": through_a_view,
    "statistics of a norm": normalized,
    "only read": only_read,
    "a slot that the state names": slot,
    "data": set_data,
    "an input in its place": assigned_input,
    "no result but the state": added,
}


def check_calls(module, converted, inputs):
    """Call both; results and buffers stay the same."""
    for x in inputs:
        with torch.no_grad():
            expected = module(x)
        torch.testing.assert_close(converted(x), expected, rtol=1e-5, atol=1e-5)
        buffers = dict(module.named_buffers())
        for name, value in converted.named_buffers():
            torch.testing.assert_close(value, buffers[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_each_call_finds_what_the_one_before_left(way):
    module = Writes(WAYS[way]).eval()
    before = copy.deepcopy(module.state_dict())
    converted = trtconv.convert(module, torch.randn(3, 4), state=["kept", "count"])
    torch.testing.assert_close(module.state_dict(), before)
    check_calls(module, converted, torch.randn(4, 3, 4))
    assert [name for name, _ in converted.named_buffers()] == ["kept", "count"]
    converted.reset_state()
    torch.testing.assert_close(dict(converted.named_buffers()), dict(before))


@pytest.mark.filterwarnings("ignore::trtconv.errors.PrecisionWarning")
@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.float64, torch.complex64, torch.int64, torch.int32, torch.uint8, torch.bool], ids=str
)
def test_state_has_the_dtypes_of_inputs(dtype):
    def swap(self, x):
        before = self.kept.flip(1)
        self.kept.copy_(x.roll(1))
        return before

    module, x = Writes(swap, dtype).eval(), X.to(dtype)
    check_calls(module, trtconv.convert(module, x, state=["kept"]), [x] * 3)


X = torch.arange(12.0).reshape(3, 4) - 5


class Nested(nn.Module):
    """A cell whose state is kept deep inside, under names that TRTModule has for something else."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 4)
        self.engine = nn.ModuleDict({"memory": nn.Module()})
        self.engine["memory"].register_buffer("h", torch.zeros(3, 4), persistent=False)
        self.register_buffer("memory", torch.zeros(4))

    def forward(self, x):
        self.engine["memory"].h = self.cell(x, self.engine["memory"].h)
        self.memory += x.sum(0)
        return self.engine["memory"].h - self.memory


NAMES = ["engine.memory.h", "memory"]


@pytest.fixture
def nested():
    module = Nested().eval()
    return module, trtconv.convert(module, X, state=NAMES)


def test_state_is_saved_loaded_and_reset_to_what_was_saved(nested):
    module, converted = nested
    check_calls(module, converted, [X, X + 1])
    file = io.BytesIO()
    torch.save(converted.state_dict(), file)
    file.seek(0)
    loaded = trtconv.TRTModule()
    assert not loaded.load_state_dict(torch.load(file)).unexpected_keys
    again = nn.Sequential(trtconv.TRTModule())
    again.load_state_dict(nn.Sequential(copy.deepcopy(converted)).state_dict(), assign=True)
    later = copy.deepcopy(module)
    for each in (converted, loaded, again[0]):
        check_calls(copy.deepcopy(module), each, [X - 1, X])
    loaded.reset_state()
    check_calls(later, loaded, [X])


def test_a_plan_of_other_state_takes_its_place(nested):
    _, converted = nested
    other = trtconv.convert(Writes(replaced).eval(), X, state=["kept"])
    converted.load_state_dict(other.state_dict())
    assert [name for name, _ in converted.named_buffers()] == ["kept"]
    converted.load_state_dict(trtconv.convert(nn.ReLU(), X).state_dict())
    assert not [*converted.buffers()]


def test_a_saved_state_without_its_buffers_is_refused(nested):
    state = {name: value for name, value in nested[1].state_dict().items() if name != "memory"}
    with pytest.raises(RuntimeError, match="memory"):
        trtconv.TRTModule().load_state_dict(state)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), trtconv.TRTModule.rebuild])
def test_copies_have_a_state_of_their_own(nested, way):
    module, converted = nested
    check_calls(module, converted, [X])
    check_calls(copy.deepcopy(module), way(converted), [X + 1, X - 1])
    check_calls(module, converted, [X + 2])


def test_new_weights_leave_the_state(nested):
    module, converted = nested
    check_calls(module, converted, [X])
    nn.init.normal_(module.cell.weight_hh)
    others = copy.deepcopy(module)
    others.memory += 1
    converted.update_weights(others)
    check_calls(module, converted, [X + 1])


def test_static_io_and_compiled_calls_keep_state(nested):
    module, converted = nested
    with converted.static_io(X) as fixed:
        for x in (X, X + 1):
            fixed.inputs[0].copy_(x)
            fixed.run()
            torch.testing.assert_close(fixed.result, module(x))
        compiled = torch.compile(converted, backend="aot_eager", fullgraph=True)
        for x in (X, X - 1):
            torch.testing.assert_close(compiled(x), module(x))
        check_calls(module, converted, [X])
        dict(converted.named_modules())["engine.memory"].h = torch.ones(3, 4)
        with pytest.raises(InputError, match="open static_io again"):
            fixed.run()


def test_the_users_tensor_in_the_place_of_a_buffer_is_the_state(nested):
    module, converted = nested
    for each in (module, converted):
        dict(each.named_modules())["engine.memory"].h = torch.ones(3, 4)
    check_calls(module, converted, [X])
    holder = dict(converted.named_modules())["engine.memory"]
    for other, why in ((torch.ones(4, 4), "is float32"), (torch.ones(4, 3).T, "isn't contiguous")):
        holder.h = other
        with pytest.raises(InputError, match=rf"the buffer 'engine.memory.h' {why}"):
            converted(X)
    holder.h = torch.zeros(3, 4, device="meta")
    with pytest.raises(InputError, match="is on meta, the inputs on cpu"):
        converted(X)


def test_moves_leave_dtypes_and_inference_mode_is_no_matter():
    module = Writes(counted).eval()
    with torch.inference_mode():
        converted = trtconv.convert(module, X, state=["kept", "count"]).half()
        converted(X)
    converted(X)
    assert (converted.kept.dtype, converted.count.dtype, int(converted.count)) == (torch.float32, torch.int64, 2)


def test_calls_on_several_threads_come_one_after_the_other():
    converted = trtconv.convert(Writes(counted).eval(), X, state=["kept", "count"])
    seen = []

    def call():
        for _ in range(20):
            seen.append(int(converted(X).shape[0]))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert int(converted.count) == len(seen) == 80


def test_data_parallel_copies_are_refused(nested):
    with pytest.raises(RuntimeError, match=r"copy\.deepcopy"):
        nested[1]._replicate_for_data_parallel()


def test_a_module_with_state_goes_when_nothing_holds_it():
    module = trtconv.convert(Writes(counted).eval(), X, state=["kept", "count"])
    module(X)
    gone = weakref.ref(module), weakref.ref(module.kept)
    gc.disable()
    try:
        del module
        assert [each() for each in gone] == [None, None]
    finally:
        gc.enable()


def test_lengths_may_vary():
    def append(self, x):
        self.kept.index_copy_(0, (torch.arange(x.shape[0]) + self.count).remainder(3), x)
        self.count += x.shape[0]
        return self.kept.softmax(0)

    module = Writes(append).eval()
    converted = trtconv.convert(module, X, state=["kept", "count"], dynamic_shapes={"x": {0: (1, 2, 3)}})
    check_calls(module, converted, [torch.randn(n, 4) for n in (1, 3, 2, 1, 3)])


class Unnamed(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("a", torch.zeros(3, 4))
        self.register_buffer("b", torch.zeros(3, 4))
        self.register_buffer("view", self.a[1:])
        self.weight = nn.Parameter(torch.zeros(3, 4))
        self.other = [torch.zeros(3, 4)]

    def forward(self, x, what=""):
        with torch.no_grad():
            self.a.add_(x)
            if what == "b":
                self.b = x + 1
            if what == "weight":
                self.weight.add_(x)
            if what == "other":
                self.other[0].add_(x)
            if what == "shape":
                self.b = x[:1]
        return self.a + self.b


@pytest.mark.parametrize(
    ("what", "state", "error", "message"),
    [
        ("", [], CaptureError, r"test_kept_state.py:\d+: the forward pass writes to a: .*state=\['a'\]"),
        ("b", [], CaptureError, r"py:\d+, .*py:\d+: the forward pass writes to a, b: .*state=\['a', 'b'\]"),
        ("b", ["b"], CaptureError, r"writes to a: .*state=\['b', 'a'\]"),
        ("weight", ["b"], CaptureError, r"writes to weight, a: .*Make it a buffer"),
        ("other", ["b"], CaptureError, r"writes to a, a tensor that is no buffer of the module: .*register_buffer"),
        ("shape", ["b"], CaptureError, r"py:\d+: the forward pass puts float32\[1, 4\] in the place of b"),
        ("", ["a"], ConversionError, "'a' shares memory with 'view'"),
        ("", ["c"], ValueError, "no buffer 'c'; it has 'a', 'b', 'view'"),
        ("", ["weight"], ValueError, "a parameter can't be state"),
        ("", ["b", "b"], ValueError, "named twice"),
        ("", "b", TypeError, "a sequence of names"),
    ],
)
def test_errors_say_which_buffer_and_where(what, state, error, message):
    with pytest.raises(error, match=message):
        trtconv.convert(Unnamed().eval(), (X, what), state=state)


def test_names_that_saved_plans_have_are_refused():
    module = Nested().eval()
    module.register_buffer("plan", torch.zeros(3))
    with pytest.raises(ValueError, match="'plan': rename"):
        trtconv.convert(module, X, state=[*NAMES, "plan"])


def test_on_a_gpu_the_engine_reads_the_buffer_itself(monkeypatch):
    """The stand-in computes twice its input and one more, here of the state."""
    engine = stand_in_engine.install(monkeypatch)
    state, out = TensorSpec("x", torch.float32, (1, 2)), TensorSpec("y", torch.float32, (1, 2))
    signature = replace(Signature.of_tensors([], []), outputs=(out,), written_inputs=(0,), state=(state,))
    segment = Segment(("x",), ("y",), torch.empty(7, dtype=torch.uint8), None)
    module = trtconv.TRTModule(Plan(signature, (segment,), {}, {"x": torch.ones(1, 2)}), cuda_graphs=True)
    buffer, expected = module.x, torch.ones(1, 2)
    for stream in (0, 0, 7, 7, 0):
        engine.gpu.stream = stream
        module()
        expected = expected * 2 + 1
        torch.testing.assert_close(buffer, expected)
        assert module.x is buffer
    assert engine.gpu.waits == [(7, 0), (0, 7)]
