"""State on GPUs: the engine reads the buffers where they are, on any stream and through CUDA graphs."""

import copy

import pytest
import torch
from torch import nn

import trtconv

pytestmark = pytest.mark.gpu


class Cache(nn.Module):
    """Writes a row at a position that it counts, and keeps a running mean besides."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("rows", torch.zeros(16, 8))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        self.rows.index_copy_(0, self.count.remainder(16)[None], self.linear(x))
        self.count += 1
        self.mean = self.mean * 0.9 + x.mean(0)
        return self.rows.softmax(0) @ x.T + self.mean.sum()


NAMES = ["rows", "count", "mean"]


@pytest.fixture
def module():
    return Cache().cuda().eval().requires_grad_(False)


def converted_as(module, mode):
    return trtconv.convert(module, torch.randn(1, 8, device="cuda"), state=NAMES, tf32=False, cuda_graphs=mode)


def check(module, converted, count=5):
    for _ in range(count):
        x = torch.randn(1, 8, device="cuda")
        torch.testing.assert_close(converted(x), module(x), rtol=1e-5, atol=1e-5)
        for name in NAMES:
            torch.testing.assert_close(converted.get_buffer(name), module.get_buffer(name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["auto", True, False])
def test_the_buffers_stay_where_they_are(module, mode):
    converted = converted_as(module, mode)
    assert converted.backend("cuda") == "tensorrt"
    before = [converted.get_buffer(name).data_ptr() for name in NAMES]
    check(module, converted, 20)
    assert [converted.get_buffer(name).data_ptr() for name in NAMES] == before
    converted.reset_state()
    assert int(converted.count) == 0 and not converted.rows.any()


def test_calls_on_several_streams_come_one_after_the_other(module):
    converted = converted_as(module, True)
    x = torch.randn(1, 8, device="cuda")
    streams = [torch.cuda.Stream() for _ in range(3)]
    for _ in range(10):
        for stream in streams:
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                converted(x)
    torch.cuda.synchronize()
    for _ in range(30):
        module(x)
    for name in NAMES:
        torch.testing.assert_close(converted.get_buffer(name), module.get_buffer(name), rtol=1e-5, atol=1e-5)


def test_state_moves_and_others_take_its_place(module):
    converted = converted_as(module, True)
    check(module, converted)
    again = copy.deepcopy(converted)
    converted.cpu()
    with pytest.raises(trtconv.InputError, match="the buffer 'rows' is on cpu"):
        converted(torch.randn(1, 8, device="cuda"))
    check(copy.deepcopy(module), converted.cuda())
    for each in (module, again):
        each.rows = torch.ones(16, 8, device="cuda")
    check(module, again)


def test_static_io_and_graphs_of_the_caller(module):
    converted = converted_as(module, True)
    x = torch.randn(1, 8, device="cuda")
    with converted.static_io(x) as fixed:
        for _ in range(3):
            fixed.run()
            torch.testing.assert_close(fixed.result, module(x), rtol=1e-5, atol=1e-5)
    converted(x), module(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = converted(x)
    for _ in range(3):
        graph.replay()
        torch.testing.assert_close(result, module(x), rtol=1e-5, atol=1e-5)
    assert int(converted.count) == int(module.count) == 7
