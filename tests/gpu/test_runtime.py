"""Engines through TRTModule: ranges of sizes, streams, engine files, wrong devices."""

import pytest
import torch
from torch import nn

import trtconv
from trtconv.inspect import compare

pytestmark = pytest.mark.gpu


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )


@pytest.fixture
def module():
    return network().cuda().eval()


def draw(*shape):
    return torch.randn(shape, device="cuda")


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


def test_several_profiles(module):
    profiles = [{"input": {0: size, 2: (8, 16, 40)}} for size in ((1, 1, 1), (4, 6, 8))]
    converted = trtconv.convert(module, draw(1, 3, 16, 16), dynamic_shapes=profiles, tf32=False)
    for shape in ((1, 3, 16, 16), (6, 3, 40, 16), (1, 3, 8, 16), (4, 3, 23, 16), (8, 3, 9, 16)):
        result = compare(module, converted, draw(*shape))
        assert result.correct, str(result)
    with pytest.raises(trtconv.InputError, match=r"input\.0 = 2"):
        converted(draw(2, 3, 16, 16))


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


def test_calls_follow_the_current_stream(module):
    converted = trtconv.convert(module, draw(2, 3, 64, 64), tf32=False)
    expected = converted(torch.ones(2, 3, 64, 64, device="cuda"))
    stream = torch.cuda.Stream()
    for _ in range(20):
        x = draw(2, 3, 64, 64)
        on_default = converted(x.fill_(1.0))
        x.fill_(5.0)  # the call has to have read the ones
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            y = draw(2, 3, 64, 64).fill_(1.0)
            on_own = converted(y)
        torch.cuda.current_stream().wait_stream(stream)
        assert torch.equal(on_default, expected) and torch.equal(on_own, expected)


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
    with pytest.raises(trtconv.InputError, match=r"'input_1' is on cpu, the first input on cuda:0"):
        converted(x.cuda(), x)


def test_what_the_caller_changes_later_is_not_seen(module):
    """Results are tensors of their own, call by call."""
    converted = trtconv.convert(module, draw(1, 3, 16, 16))
    first = converted(draw(1, 3, 16, 16))
    kept = first.clone()
    converted(draw(1, 3, 16, 16))
    assert torch.equal(first, kept)


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
