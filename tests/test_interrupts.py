"""Ctrl-C ends a conversion, and leaves nothing half done."""

import _thread
import contextvars
import gc
import os
import signal
import sys
import threading
import weakref
from unittest import mock

import pytest
import torch
from torch import nn

import trtconv
from trtconv.inspect import compare
from trtconv.tensorrt.interruptible import interruptible

WAYS = {
    "interrupt_main": _thread.interrupt_main,
    "a signal": lambda: os.kill(os.getpid(), signal.SIGINT),
}


@pytest.fixture(autouse=True)
def python_handles_signals():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "trtconv"]


def left():
    """Files that are open or in memory, and threads."""
    for worker in workers():
        worker.join()
    gc.collect()
    if sys.platform != "linux":
        return threading.active_count()
    with open("/proc/self/maps") as maps:
        return sum("(deleted)" in line for line in maps), len(os.listdir("/proc/self/fd")), threading.active_count()


def interrupted(interrupt, function, *args):
    """Call a function, and interrupt it once it has started a worker; whether it is interrupted."""
    ended = threading.Event()

    def watch():
        while not workers() and not ended.wait(0.001):
            pass
        if not ended.is_set():
            interrupt()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        function(*args)
    except KeyboardInterrupt:
        return True
    finally:
        ended.set()
        watcher.join()
    return False


class Doubled(nn.Linear):
    """Has a constant that isn't the module's own, and lies in a file until it is built."""

    def forward(self, x):
        return x @ (self.weight * 2)


@pytest.fixture(scope="module")
def model():
    result = nn.Sequential(*[Doubled(1200, 1200) for _ in range(3)]).eval(), torch.randn(2, 1200)
    trtconv.convert(*result)
    return result


@pytest.mark.parametrize("way", WAYS)
def test_a_build(way, model):
    plans, told = [], threading.Event()

    def noting(work, cancel):
        def run():
            told.wait()  # no build is over before, be it ever so short
            plans.append(work())

        def tell():
            cancel()
            told.set()

        return interruptible(run, tell)

    before = left()
    with mock.patch("trtconv.build.interruptible", noting):
        assert interrupted(WAYS[way], trtconv.convert, *model)
        assert left() == before
    assert plans == [None]  # TensorRT gave up, rather than finish in vain
    assert compare(model[0], trtconv.convert(*model), model[1:]).correct


def test_a_parsed_model():
    onnx = pytest.importorskip("onnx")
    weight = onnx.numpy_helper.from_array(torch.randn(2000, 2000).numpy(), "w")
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (2, 2000)) for name in "xy"]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [weight])
    opset = onnx.helper.make_opsetid("", 17)
    content = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    converted = trtconv.from_onnx(content)
    before = left()
    assert interrupted(WAYS["interrupt_main"], trtconv.from_onnx, content)
    assert left() == before
    x = torch.randn(2, 2000)
    assert torch.equal(trtconv.from_onnx(content)(x), converted(x))


class Interrupted(nn.Module):
    """Is interrupted in its forward pass."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.interrupts = True

    def forward(self, x):
        x = self.first(x)
        if self.interrupts:
            signal.raise_signal(signal.SIGINT)
        return self.second(x)


def test_the_forward_pass():
    """Nothing is computed for what keeps tensors of the capture, but real tensors take their places."""
    module, x, kept = Interrupted().eval(), torch.randn(2, 3), []
    hook = module.first.register_forward_hook(lambda module, args, output: kept.append(output))
    with pytest.raises(KeyboardInterrupt):
        trtconv.convert(module, x)
    assert torch.equal(kept[0], torch.zeros(2, 3))
    hook.remove()
    module.interrupts = False
    assert compare(module, trtconv.convert(module, x), x).correct


def test_what_goes_on_is_freed_at_its_end():
    class Held:
        pass

    held, end = Held(), threading.Event()
    freed = threading.Event()
    weakref.finalize(held, freed.set)

    def work(held):
        end.wait()

    def call(held):
        interruptible(lambda: work(held))

    assert interrupted(WAYS["interrupt_main"], call, held)
    del held
    assert workers() and not freed.is_set()
    end.set()
    freed.wait()
    left()


def test_results_errors_and_the_context_come_through():
    variable = contextvars.ContextVar("variable", default="another")
    variable.set("mine")
    assert interruptible(variable.get) == "mine"
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 / 0)
    assert not workers()
