"""Conversions in several threads, calls beside them, and torch code in yet another don't disturb one another."""

import itertools
import random
import sys
import threading
import traceback
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import torch
import torch.backends.opt_einsum  # which torch 2.8 imports only when it is used
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import trtconv
from trtconv import tensorrt as trt
from trtconv.inspect import compare
from trtconv.tensorrt import exclusion


@pytest.fixture
def often():
    """Threads take turns often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def elsewhere(function, *args):
    """What a function gives on another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


def of_the_process():
    """What is set for all threads."""
    backends = torch.backends
    return (
        *(backends.opt_einsum.enabled, backends.opt_einsum.strategy, backends.mkldnn.enabled),
        *(backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic),
        *(torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()),
        *(backends.mha.get_fastpath_enabled(), backends.cuda.math_sdp_enabled(), torch.get_default_dtype()),
        *(torch.get_num_threads(), list(warnings.filters), warnings.showwarning),
    )


def of_the_thread():
    """What is set for one thread."""
    return (
        *(torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_autocast_cache_enabled()),
        *(torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.empty(0).device),
        *(torch.compiler.is_compiling(), torch.compiler.is_exporting()),
        torch._C._len_torch_dispatch_stack(),
    )


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.rnn = nn.LSTM(8, 8)

    def forward(self, x):
        y, _ = self.rnn(self.layer(x))
        with torch.autocast("cpu", torch.bfloat16):
            z, _ = self.rnn(x)
        return torch.einsum("bij,bkj,bkl->bil", x, y, z.to(x.dtype))


class Packed(nn.LSTM):
    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(pack_padded_sequence(x, torch.tensor([3, 2])))[0].data


class Convolutions(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def tripled(x):
    return x * 3


class Asks(nn.Module):
    """Calls a function, and has another thread call it and look around."""

    def __init__(self, asked):
        super().__init__()
        self.asked = asked

    def forward(self, x):
        self.asked()
        return tripled(x)


def work_of_the_users(seed):
    """Torch code of all kinds: its results depend on the seed only."""
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed)
    module, x = Attention(), torch.randn(2, 3, 8, requires_grad=True)
    module.eval()
    y = module(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    with torch.no_grad():
        image = Convolutions().eval()(torch.randn(1, 3, 8, 8))
    numbers = torch.rand(3).tolist(), random.random(), numpy.random.rand()
    return [y.detach(), gradient, image], numbers


def same(given, expected):
    (tensors, numbers), (others, also) = given, expected
    return numbers == also and all(map(torch.equal, tensors, others))


def jobs():
    """Models with inputs, each static and dynamic: made before, since that takes random numbers."""
    for make, shape, name in ((Convolutions, (2, 3, 8, 8), "input"), (Attention, (2, 3, 8), "x")):
        for dynamic in (None, {name: {0: (1, 2, 4)}}):
            yield make().eval(), torch.randn(shape), dynamic


def convert(module, x, dynamic):
    """Convert a model, and judge the result."""
    result = compare(module, trtconv.convert(module, x, dynamic_shapes=dynamic), x)
    return "" if result.correct else str(result)


def test_all_at_once(often):
    shared, x = nn.Sequential(Convolutions(), nn.Linear(4, 4)).eval(), torch.randn(6, 2, 3, 8, 8)
    converted = trtconv.convert(shared, x[0])
    expected = [shared(each) for each in x]
    before, users = (of_the_process(), of_the_thread()), [work_of_the_users(seed) for seed in range(2)]
    models, ended = [*jobs()], threading.Event()

    def call(first):
        for number in itertools.takewhile(lambda _: not ended.is_set(), itertools.count(first)):
            assert torch.allclose(converted(x[number % 6]), expected[number % 6], atol=1e-5)

    def use():
        for number in itertools.takewhile(lambda _: not ended.is_set(), itertools.count()):
            assert (of_the_process(), of_the_thread()) == before
            assert same(work_of_the_users(number % 2), users[number % 2])

    with ThreadPoolExecutor(6) as pool:
        beside = [pool.submit(call, 0), pool.submit(call, 3), pool.submit(use)]
        try:
            assert not any(pool.map(convert, *zip(*models, strict=True)))
        finally:
            ended.set()
        for each in beside:
            each.result()
    assert (of_the_process(), of_the_thread()) == before


@pytest.mark.parametrize(
    "make, shape", [(Convolutions, (2, 3, 8, 8)), (Attention, (2, 3, 8)), (lambda: Packed(8, 8), (3, 2, 8))]
)
def test_nothing_is_set_for_all_threads(make, shape, monkeypatch):
    """Looked at every few calls of Python's, by the converting thread itself."""
    monkeypatch.setattr(torch.backends.opt_einsum, "enabled", True)  # as if it was installed
    module, x = make().eval(), torch.randn(shape)
    trtconv.convert(module, x)  # imports what sets filters of warnings at its import
    before = of_the_process()
    number, seen = itertools.count(), []

    def look(frame, event, arg):
        if next(number) % 50 == 0 and not seen and of_the_process() != before:
            seen.append((of_the_process(), "".join(traceback.format_stack(frame))))

    sys.setprofile(look)
    try:
        trtconv.convert(module, x)(x)
    finally:
        sys.setprofile(None)
    assert not seen, seen[0]


def test_other_threads_are_not_captured(clean):
    found, x = [], torch.ones(2)

    def asked():
        found.append(elsewhere(lambda: (tripled(x).tolist(), torch.relu(x).tolist(), of_the_thread())))

    @trtconv.tensorrt_converter(f"{__name__}.tripled")
    def convert_tripled(ctx):
        asked()
        x = ctx.method_args[0]._trt
        ctx.method_return._trt = ctx.network.add_elementwise(x, x, trt.ElementWiseOperation.SUM).get_output(0)

    before = of_the_thread()
    converted = trtconv.convert(Asks(asked), x)
    assert found == [([3.0, 3.0], [1.0, 1.0], before)] * 2
    assert torch.equal(converted(x), 2 * x)
    assert of_the_thread() == before


def test_objects_are_freed_when_nothing_is_built():
    """What goes while another thread builds waits until that is done: two locks would wait for one another."""

    class Holder:
        pass

    def free_one():
        holder = Holder()
        gone = weakref.ref(holder)
        exclusion.free(holder)
        return gone

    assert free_one()() is None
    with exclusion.alone():
        kept = [free_one()]
        thread = threading.Thread(target=lambda: kept.append(free_one()))
        thread.start()
        thread.join()
        assert all(each() is not None for each in kept)
    assert all(each() is None for each in kept)


def test_the_next_one_waits_for_a_build_that_was_left_behind():
    go_on, order = threading.Event(), []

    def build():
        go_on.wait()
        order.append("build")

    with exclusion.alone():
        left = threading.Thread(target=build)
        left.start()
        exclusion.leave_behind(left)
    threading.Timer(0.1, go_on.set).start()
    with exclusion.alone():
        order.append("next")
    assert order == ["build", "next"]
