"""Engines through TRTModule: shapes, CUDA graphs, streams, threads, devices, torch.compile, engine files."""

import threading
import warnings

import pytest
import torch
from torch import nn

import trtconv
from trtconv.inspect import compare

pytestmark = pytest.mark.gpu

MODES = pytest.mark.parametrize("mode", ["auto", True, False])


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )


def draw(*shape, device="cuda"):
    return torch.randn(shape, device=device)


@pytest.fixture
def module():
    return network().cuda().eval().requires_grad_(False)


@pytest.fixture
def converted(module):
    return trtconv.convert(
        module, draw(2, 3, 16, 16), dynamic_shapes={"input": {0: (1, 2, 8), 2: (8, 16, 40)}}, tf32=False
    )


def check(module, converted, x):
    torch.testing.assert_close(converted(x), module(x), rtol=1e-5, atol=1e-6)


def test_ranges_of_sizes(module):
    sizes = {0: (1, 2, 8), 2: (8, 16, 40)}
    converted = trtconv.convert(module, draw(2, 3, 16, 16), dynamic_shapes={"input": sizes}, tf32=False)
    assert converted.backend("cuda") == "tensorrt"
    for shape in ((1, 3, 8, 16), (2, 3, 16, 16), (8, 3, 40, 16), (5, 3, 23, 16), (2, 3, 16, 16)):
        x = draw(*shape)
        result = compare(module, converted, x)
        assert result.correct, str(result)
    with pytest.raises(trtconv.InputError, match="size 9"):
        converted(draw(9, 3, 16, 16))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_inside(module, dtype):
    class Casts(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            with torch.autocast("cuda", dtype=dtype):
                return self.inner(x)

    casts = Casts()
    x = draw(2, 3, 16, 16)
    expected, result = casts(x), trtconv.convert(casts, draw(2, 3, 16, 16))(x)
    assert result.dtype is expected.dtype is dtype
    torch.testing.assert_close(result, expected, rtol=0, atol=4 * torch.finfo(dtype).eps * float(expected.abs().max()))


def test_saved_modules_and_engine_files(module, tmp_path):
    converted = trtconv.convert(module, draw(2, 3, 16, 16))
    x = draw(2, 3, 16, 16)
    torch.save(converted.state_dict(), tmp_path / "m.pth")
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(torch.load(tmp_path / "m.pth"))
    converted.save_engine(tmp_path / "m.engine")
    from_file = trtconv.load_engine(tmp_path / "m.engine")
    assert torch.equal(loaded(x), converted(x)) and torch.equal(from_file(x), converted(x))
    (tmp_path / "bad.engine").write_bytes(b"no engine")
    with pytest.raises(trtconv.EngineError, match="doesn't load this engine"):
        trtconv.load_engine(tmp_path / "bad.engine")


def test_the_cpu_runs_the_interpreter_and_devices_are_not_mixed(module):
    class Adds(nn.Module):
        def forward(self, x, y):
            return x + y

    converted = trtconv.convert(Adds(), (draw(3), draw(3)))
    x = torch.randn(3)
    assert converted(x, x).device.type == "cpu" and converted.backend("cpu") == "reference"
    assert converted(x.cuda(), x.cuda()).is_cuda
    with pytest.raises(trtconv.InputError, match=r"'y' is on cpu, 'x' on cuda:0"):
        converted(x.cuda(), x)


def test_empty_tensors():
    class Joins(nn.Module):
        def forward(self, x, y):
            return torch.cat([x, y], 0) * 2

    converted = trtconv.convert(Joins(), (draw(0, 3), draw(2, 3)))
    y = draw(2, 3)
    assert torch.equal(converted(draw(0, 3), y), y * 2)


@pytest.mark.parametrize("activation", [nn.GELU, nn.ReLU, nn.Identity])
def test_strided_convolutions_one_after_another(activation):
    """As the audio models of transformers have them: engines got wrong how they are computed with ``tf32=False``."""
    layers = [
        nn.Conv1d(512, 512, 3, 2),
        activation(),
        nn.Conv1d(512, 512, 3, 2),
        activation(),
        nn.Conv1d(512, 512, 2, 2),
    ]
    module = nn.Sequential(*layers).cuda().eval()
    converted = trtconv.convert(module, draw(2, 512, 799), tf32=False)
    result = compare(module, converted, draw(2, 512, 799))
    assert result.correct, str(result)


@MODES
def test_alternating_shapes(module, converted, mode):
    converted.cuda_graphs = mode
    for _ in range(4):
        for shape in ((1, 3, 8, 16), (2, 3, 16, 16), (8, 3, 40, 16), (5, 3, 23, 16)):
            check(module, converted, draw(*shape))


@MODES
def test_several_profiles(module, mode):
    profiles = [{"input": {0: size, 2: (8, 16, 40)}} for size in ((1, 1, 1), (4, 6, 8))]
    converted = trtconv.convert(module, draw(1, 3, 16, 16), dynamic_shapes=profiles, tf32=False, cuda_graphs=mode)
    for _ in range(3):
        for shape in ((1, 3, 16, 16), (6, 3, 40, 16), (1, 3, 8, 16), (8, 3, 9, 16)):
            check(module, converted, draw(*shape))


@MODES
def test_inputs_of_any_layout_and_results_that_last(module, converted, mode):
    converted.cuda_graphs = mode
    kept = []
    for number in range(4):
        x = draw(16, 16, 3, 2).permute(3, 2, 0, 1) if number % 2 else draw(4, 3, 16, 16)[::2]
        kept.append((converted(x), module(x)))
        check(module, converted, x.to(memory_format=torch.channels_last))
    for result, expected in kept:
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)
    check(module, converted, converted(draw(2, 3, 16, 16)).mean().expand(2, 3, 16, 16))


@MODES
def test_inputs_that_are_one_tensor_and_inputs_that_are_written_to(mode):
    class Writes(nn.Module):
        def forward(self, x, y, out):
            out.add_(x - 2 * y)
            return x * y, {"out": out.double(), "whole": x.long()}

    converted = trtconv.convert(Writes(), (draw(3), draw(3), draw(3)), cuda_graphs=mode)
    for _ in range(4):
        x, out = draw(3), draw(3)
        before = out.clone()
        product, rest = converted(x, x, out)
        assert torch.equal(product, x * x) and torch.equal(out, before + (x - 2 * x))
        assert torch.equal(rest["out"], out.double()) and torch.equal(rest["whole"], x.long())


@MODES
def test_streams(module, mode):
    converted = trtconv.convert(module, draw(2, 3, 64, 64), tf32=False, cuda_graphs=mode)
    expected = converted(torch.ones(2, 3, 64, 64, device="cuda"))
    streams = [torch.cuda.Stream() for _ in range(3)]
    for number in range(24):
        x = draw(2, 3, 64, 64)
        on_default = converted(x.fill_(1.0))
        x.fill_(5.0)  # the call has to have read the ones
        stream = streams[number % 3]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            y = draw(2, 3, 64, 64).fill_(1.0)
            on_own = converted(y)
            y.fill_(5.0)
        torch.cuda.current_stream().wait_stream(stream)
        assert torch.equal(on_default, expected) and torch.equal(on_own, expected)


@MODES
@pytest.mark.parametrize("own_streams", [True, False])
def test_threads(module, mode, own_streams):
    converted = trtconv.convert(module, draw(2, 3, 32, 32), tf32=False, cuda_graphs=mode)
    failures = []

    def work(number):
        torch.set_grad_enabled(False)
        x = torch.full((2, 3, 32, 32), float(number), device="cuda")
        expected = module(x)
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream() if own_streams else None):
            for _ in range(50):
                if not torch.allclose(converted(x), expected, rtol=1e-5, atol=1e-6):
                    failures.append(number)
                torch.rand(3, device="cuda")  # torch's own graphs don't let other threads draw while they record

    for _ in range(5):  # torch hands out 32 streams and begins anew
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


@pytest.mark.parametrize("warm", [0, 1, 3])
@MODES
def test_inside_the_users_own_graph(module, converted, mode, warm):
    converted.cuda_graphs = mode
    x = draw(2, 3, 16, 16)
    assert converted.backend("cuda") == "tensorrt"  # the engine is loaded before a capture
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(warm):
            converted(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = converted(x) * 2 + converted(x)
    for _ in range(3):
        new = draw(2, 3, 16, 16)
        x.copy_(new)
        graph.replay()
        check(module, converted, draw(2, 3, 16, 16))
        check(module, converted, draw(4, 3, 8, 16))
        torch.testing.assert_close(result, module(new) * 3, rtol=1e-5, atol=1e-5)


def test_fixed_tensors(module, converted):
    for mode in (True, False):
        converted.cuda_graphs = mode
        with converted.static_io(draw(2, 3, 16, 16)) as io:
            for _ in range(3):
                x = draw(2, 3, 16, 16)
                io.inputs[0].copy_(x)
                io.run()
                torch.testing.assert_close(io.result, module(x), rtol=1e-5, atol=1e-6)
                check(module, converted, draw(2, 3, 16, 16))


def test_modes_of_torch(module, converted):
    x = draw(2, 3, 16, 16)
    expected = module(x)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        results = [converted(x.clone().requires_grad_()) for _ in range(3)]
    assert len(told) == 1 and "gradient" in str(told[0].message) and not results[0].requires_grad
    with torch.inference_mode():
        results += [converted(x), converted(x)]
    results += [converted(x)]
    with torch.autocast("cuda"):
        results += [converted(x)]
        torch.testing.assert_close(converted(x.half()), expected, rtol=1e-2, atol=1e-2)
    for result in results:
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


def test_under_compile(module, converted):
    compiled = torch.compile(lambda x: converted(x * 2) + 1, fullgraph=True)
    for size in (2, 3, 5):
        x = draw(size, 3, 16, 16)
        torch.testing.assert_close(compiled(x), module(x * 2) + 1, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@MODES
def test_another_device(module, mode):
    converted = trtconv.convert(module, draw(2, 3, 16, 16), tf32=False, cuda_graphs=mode)
    other = network().to("cuda:1").eval()
    for _ in range(3):
        x = draw(2, 3, 16, 16, device="cuda:1")
        result = converted(x)
        assert result.device == x.device and torch.cuda.current_device() == 0
        torch.testing.assert_close(result, other(x), rtol=1e-5, atol=1e-6)
        check(module, converted, draw(2, 3, 16, 16))
    nn.Sequential(converted).to("cuda:1")
    assert [device.index for device in converted._sessions] == [1]
    check(module, converted, draw(2, 3, 16, 16))


def test_engines_take_new_weights(module, recwarn):
    try:
        converted = trtconv.convert(module, draw(2, 3, 16, 16), tf32=False, refittable=True)
    except trtconv.BuildError as error:
        pytest.skip(f"no such engine is built here: {error}")
    check(module, converted, draw(2, 3, 16, 16))
    engine = converted.plan.segments[0].engine
    for _ in range(2):
        with torch.no_grad():
            for weight in module.parameters():
                weight.copy_(torch.rand_like(weight))
        converted.update_weights(module)
        for _ in range(3):  # without a graph, and with one
            check(module, converted, draw(2, 3, 16, 16))
        assert converted.plan.segments[0].engine is engine
    assert converted.backend("cuda") == "tensorrt"
    assert not [each for each in recwarn if "built again" in str(each.message)]


def test_changing_shapes_take_no_more_and_more_memory(module, converted):
    def call(count):
        for number in range(count):
            converted(draw(1 + number % 8, 3, 8 + number % 32, 16))
        torch.cuda.synchronize()

    call(600)
    free, _ = torch.cuda.mem_get_info()
    call(600)
    assert free - torch.cuda.mem_get_info()[0] < 4 << 20
    held = converted.memory()
    assert held.weights > 0 and held.activations > 0 and held.host > 0


def test_a_profile_is_of_the_engine_and_knows_the_lines(module):
    x = draw(2, 3, 16, 16)
    converted = trtconv.convert(module, x, tf32=False)
    expected = converted(x)
    profile = converted.profile(x, n=5)
    assert profile.backend == "tensorrt" and profile.milliseconds > 0
    named = {origin.module for layer in profile.layers for origin in layer.origins}
    assert {"0", "4"} <= named <= {"0", "1", "2", "3", "4"}, "convolution and product are known by their modules"
    assert any(layer.dtype == "float32" for layer in profile.layers)
    assert sum(profile.by_module(1).values()) == pytest.approx(profile.milliseconds)
    assert torch.equal(converted(x), expected)


def test_profiling_and_ranges_change_no_result(module, capsys):
    x = draw(2, 3, 16, 16)
    converted = trtconv.convert(module, x, tf32=False)
    expected = converted(x)
    converted.enable_profiling()
    assert torch.equal(converted(x), expected) and "ms" in capsys.readouterr().out
    converted.disable_profiling()
    with converted.nvtx_ranges():
        assert torch.equal(converted(x), expected)
    assert torch.equal(converted(x), expected)
