"""Calls on a GPU, as far as they can be followed without one: on a stand-in that records what is asked of it."""

import gc
import threading
import warnings
import weakref

import pytest
import stand_in_engine
import torch

import trtconv
from trtconv.calling.signature import Signature, TensorSpec
from trtconv.plan import Plan, Segment


@pytest.fixture
def engine(monkeypatch):
    return stand_in_engine.install(monkeypatch)


@pytest.fixture
def module(engine):
    specs = [TensorSpec(name, torch.float32, ("?", "?")) for name in "xy"]
    signature = Signature.of_tensors(specs[:1], specs[1:])
    return trtconv.TRTModule(Plan(signature, (Segment(("x",), ("y",), torch.empty(7, dtype=torch.uint8), None),), {}))


def check(module, *shape):
    x = torch.randn(*shape)
    assert torch.equal(module(x), x * 2 + 1)


def runs(log):
    return sum(what == "run" for what, *_ in log)


def test_a_second_call_is_captured_and_later_ones_ask_the_engine_nothing(engine, module):
    check(module, 2, 3)
    assert [what for what, *_ in engine.taken_log()] == ["shape", "memory", "address", "address", "run"]
    check(module, 2, 3)
    assert runs(engine.taken_log()) == 2  # the run before the capture, and the one that is captured
    results = [module(torch.full((2, 3), float(i))) for i in range(5)]
    assert engine.taken_log() == [] and engine.contexts == 2
    assert [float(y[0, 0]) for y in results] == [1, 3, 5, 7, 9]  # a later call never changes an earlier result


class Many(torch.nn.Module):
    def forward(self, x, scale=2.0, *, pair, flag=None):
        return x * scale + pair["a"] - pair["b"][0]


def test_forms_of_calls_are_known_after_the_first(monkeypatch):
    """By position or by name, nested, with plain values: looked into once, and mixed up never."""
    x, a, b = torch.randn(2), torch.randn(2), torch.randn(2)
    module = trtconv.convert(Many(), (x,), {"pair": {"a": a, "b": [b]}})
    expected = x * 2 + a - b
    binds = []
    bind = module.plan.signature.bind
    monkeypatch.setattr(Signature, "bind", lambda self, *given: binds.append(1) or bind(*given))
    forms = [
        lambda: module(x, pair={"a": a, "b": [b]}),
        lambda: module(pair={"a": a, "b": [b]}, x=x),
        lambda: module(x, 2.0, pair={"b": [b], "a": a}),
        lambda: module(x, pair={"a": a, "b": [b]}, flag=None),
    ]
    for _ in range(3):
        for form in forms:
            torch.testing.assert_close(form(), expected)
    assert len(binds) == len(forms)
    for wrong in ((x, 3.0), (x, 2), (x, -2.0), (x, float("nan")), (x, True)):
        with pytest.raises(trtconv.InputError):
            module(*wrong, pair={"a": a, "b": [b]})
    with pytest.raises(trtconv.InputError):
        module(x, pair={"a": a, "b": (b,)})
    with pytest.raises(trtconv.InputError):
        module(x, pair={"a": a, "b": [torch.randn(3)]})


def test_graphs_at_once_or_never(engine, module):
    module.cuda_graphs = False
    for shapes in ((2, 3), (2, 3), (4, 1), (4, 1)):
        check(module, *shapes)
    log = engine.taken_log()
    assert runs(log) == 4 and [what for what, *_ in log].count("shape") == 2 and engine.contexts == 1
    module.cuda_graphs = True
    check(module, 2, 3)
    engine.taken_log()
    check(module, 2, 3)
    assert engine.taken_log() == []
    with pytest.raises(ValueError, match="cuda_graphs='on': it takes"):
        module.cuda_graphs = "on"
    assert module.cuda_graphs is True


def test_kinds_of_calls_are_bounded(engine, module):
    module.max_prepared_calls = 4
    for _ in range(2):
        for size in range(1, 30):
            check(module, size, 2)
            check(module, size, 2)
    assert len(module._calls._prepared) == 4
    contexts = [each for each in gc.get_objects() if type(each) is stand_in_engine.Context]
    assert len(contexts) <= 5  # one a graph, and that of the stream
    with pytest.raises(ValueError, match="max_prepared_calls=0"):
        module.max_prepared_calls = 0


def test_many_shapes_cost_no_captures(engine, module):
    """In "auto" a graph is for what comes again soon: beyond the limit it has to come often."""
    module.max_prepared_calls = 4
    for _ in range(3):
        for size in range(1, 9):
            check(module, size, 2)
    assert engine.contexts == 1


def test_what_cannot_be_captured_runs_without_and_says_so_once(engine, module):
    engine.capturable = False
    check(module, 2, 3)
    with pytest.warns(UserWarning, match="calls run without a CUDA graph: .*depend on the values") as told:
        for _ in range(3):
            check(module, 2, 3)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(module, 4, 3)
        check(module, 4, 3)


def test_streams_have_contexts_of_their_own(engine, module):
    for stream in (0, 5, 6, 0, 5, 6):
        engine.gpu.stream = stream
        check(module, 2, 3)
    assert engine.contexts == 6  # one a stream, and one a graph
    streams = [what[1] for what in engine.log if what[0] == "run"]
    assert streams[:3] == [1000, 5, 6]  # what the default stream gets is run beside it


def test_streams_take_turns_where_tensorrt_is_not_made_for_the_gpu(engine, module):
    engine.gpu.compute_capability = "9.0"
    for mode in ("auto", False):
        module.cuda_graphs = mode
        engine.gpu.waits.clear()
        for stream in (5, 5, 6, 5, 5, 7):
            engine.gpu.stream = stream
            check(module, 2, 3)
        assert engine.gpu.waits[-3:] == [(6, 5), (5, 6), (7, 5)]
    engine.gpu.stream = 8
    with module.static_io(torch.ones(2, 3)) as io:
        engine.gpu.waits.clear()
        engine.gpu.stream = 9
        io.run()
        assert engine.gpu.waits == [(9, 8)]
        engine.gpu.waits.clear()
        engine.gpu.stream = 10
        engine.gpu.capturing = True
        check(module, 2, 3)
        assert engine.gpu.waits == []  # a wait would break the caller's capture


def test_streams_do_not_wait_where_it_is(engine, module):
    for stream in (5, 6, 5, 6):
        engine.gpu.stream = stream
        check(module, 2, 3)
    assert engine.gpu.waits == []


def test_threads_on_streams_of_their_own_and_on_one(engine, module):
    engine.seconds = 0.001
    failures = []

    def work(stream, mode):
        engine.gpu.stream = stream
        for size in (1, 2, 2, 3, 1, 2):
            try:
                check(module, size, 2)
            except BaseException as error:
                failures.append(error)

    for mode in ("auto", False, True):
        module.cuda_graphs = mode
        threads = [threading.Thread(target=work, args=(number % 3, mode)) for number in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_the_callers_own_capture_gets_a_context_for_itself(engine, module):
    check(module, 2, 3)
    engine.gpu.capturing, engine.gpu.stream = True, 7
    engine.taken_log()
    x = torch.randn(2, 3)
    assert torch.equal(module(x), x * 2 + 1)
    log = engine.taken_log()
    assert [what for what in log if what[0] == "run"] == [("run", 7)] and engine.contexts == 1  # the one that was warm
    engine.gpu.capturing, engine.gpu.stream = False, 0
    check(module, 2, 3)
    engine.gpu.capturing = True
    engine.capturable = False
    with pytest.raises(trtconv.EngineError, match="Call the converted module outside of the capture"):
        module(x)


def test_sizes_that_depend_on_values(engine, module):
    engine.data_dependent = True
    for _ in range(2):
        x = torch.randn(3, 4)
        assert torch.equal(module(x), x[x > 0] * 2 + 1)
        module.cuda_graphs = False


def test_fixed_tensors(engine, module):
    with module.static_io(torch.ones(2, 3)) as io:
        assert torch.equal(io.result, torch.full((2, 3), 3.0))
        engine.taken_log()
        for number in range(3):
            io.inputs[0].fill_(number)
            io.run()
            assert torch.equal(io.result, torch.full((2, 3), number * 2.0 + 1))
        check(module, 2, 3)
        assert torch.equal(io.result, torch.full((2, 3), 5.0))
    engine.taken_log()
    module.cuda_graphs = False
    with module.static_io(torch.ones(2, 3)) as io:
        engine.taken_log()
        io.run()
        assert [what for what, *_ in engine.taken_log()] == ["run"]


def test_what_is_deleted_is_gone_at_once(engine, module):
    """Without the garbage collector: on a GPU it is memory that the next model needs."""
    gc.collect()
    gc.disable()
    try:
        for mode in ("auto", False):
            copy = trtconv.TRTModule(module.plan, cuda_graphs=mode)
            for _ in range(3):
                check(copy, 2, 3)
            with copy.static_io(torch.ones(2, 3)) as io:
                io.run()
            gone = weakref.ref(copy)
            del copy, io
            assert gone() is None
            assert not [each for each in gc.get_objects() if type(each) is stand_in_engine.Context]
    finally:
        gc.enable()


def test_a_failure_says_so_and_the_next_call_works(engine, module):
    engine.fails = True
    with pytest.raises(trtconv.EngineError, match="the engine failed"):
        module(torch.ones(2, 3))
    with pytest.raises(trtconv.EngineError, match="TensorRT refuses shape"):
        module(torch.ones(2, 300))
    engine.fails = False
    check(module, 2, 3)


def test_memory_and_moves(engine, module):
    for _ in range(2):
        check(module, 5, 2)
    memory = module.memory()
    assert (memory.engine, memory.weights, memory.kernels) == (7, 10, 12)
    assert memory.graphs == 2 * 5 * 2 * 4 and memory.activations == 40
    assert memory.host == 19 and memory.device == 10 + 80 + 40
    torch.nn.Sequential(module).half()
    engine.taken_log()
    check(module, 5, 2)
    assert engine.taken_log() == []  # nothing was let go
