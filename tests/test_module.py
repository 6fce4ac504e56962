import collections
import copy
import dataclasses
import pickle
import subprocess
import sys

import pytest
import torch
from cases import Function
from torch import nn

import trtconv
from trtconv.inspect import compare

Pair = collections.namedtuple("Pair", "left right")


def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5)).eval()


def example():
    return torch.randn(2, 3, 5, 5)


def test_args_may_be_a_tensor_a_list_or_a_tuple():
    module = small()
    for args in (example(), [example()], (example(),)):
        assert compare(module, trtconv.convert(module, args), example()).correct


def test_nested_arguments_and_results():
    def function(pair, scale=1.0, extra=None):
        a, b = pair["a"], pair["b"][0]
        return {"sum": a + b, "pair": Pair(a * scale, [b, None, 7]), "extra": extra}

    module = Function(function)

    def arguments():
        return {"a": torch.randn(2, 3), "b": [torch.randn(3)]}, 2.5

    converted = trtconv.convert(module, arguments())
    args = arguments()
    result, expected = converted(*args), module(*args)
    assert list(result) == ["sum", "pair", "extra"]
    assert isinstance(result["pair"], Pair)
    assert result["pair"].right[1:] == [None, 7] and result["extra"] is None
    assert torch.equal(result["sum"], expected["sum"])
    assert torch.equal(result["pair"].left, expected["pair"].left)
    saved = trtconv.TRTModule()
    saved.load_state_dict(converted.state_dict())
    assert isinstance(saved(*args)["pair"], Pair) and torch.equal(saved(*args)["pair"].left, expected["pair"].left)
    with pytest.raises(trtconv.InputError, match=r"3\.5.*converted with 2\.5"):
        converted(args[0], 3.5)


@dataclasses.dataclass
class Scene:
    image: torch.Tensor
    boxes: list
    title: str = ""


def test_dataclasses_go_in_and_come_out():
    def function(scene):
        return Scene(scene.image * 2, [scene.boxes[0] + 1, {"first": scene.boxes[0]}], "out")

    def scene():
        return Scene(torch.randn(2, 3), [torch.randn(4), None])

    module = Function(function)
    converted = trtconv.convert(module, (scene(),))
    x = scene()
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(converted.state_dict())
    for each in (converted, loaded):
        result = each(x)
        assert isinstance(result, Scene) and result.title == "out"
        assert torch.equal(result.image, x.image * 2) and torch.equal(result.boxes[1]["first"], x.boxes[0])
    with pytest.raises(trtconv.InputError, match=r"'other'.*converted with ''"):
        converted(dataclasses.replace(x, title="other"))
    with pytest.raises(
        trtconv.InputError, match=r"\['boxes'\]\" is \[float32\[4\]\];.*converted with \[float32\[4\], None\]"
    ):
        converted(dataclasses.replace(x, boxes=[x.boxes[0]]))


def test_model_outputs_are_kept_without_their_class_too():
    from transformers.modeling_outputs import BaseModelOutput

    module = Function(lambda x: BaseModelOutput(last_hidden_state=x + 1, attentions=(x, x * 2)))
    x = torch.randn(2, 3)
    converted = trtconv.convert(module, x)
    result = converted(x)
    assert type(result) is BaseModelOutput and list(result) == ["last_hidden_state", "attentions"]
    assert torch.equal(result.last_hidden_state, x + 1) and torch.equal(result[1][1], x * 2)
    state = converted.state_dict()
    text = bytes(state["plan"].numpy()).replace(b'"BaseModelOutput"', b'"NotLoadedOutput"')
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(dict(state, plan=torch.frombuffer(bytearray(text), dtype=torch.uint8)))
    result = loaded(x)
    assert type(result).__name__ == "NotLoadedOutput" and torch.equal(result["last_hidden_state"], x + 1)
    assert torch.equal(result.attentions[1], x * 2) and torch.equal(result[0], x + 1)


def test_named_results_of_torch_and_dicts_in_any_order():
    module = Function(lambda xs: torch.max(xs["a"] + xs["b"], 1))
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    converted = trtconv.convert(module, ({"a": a, "b": b * 0},))
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(converted.state_dict())
    for each in (converted, loaded):
        result = each({"b": b, "a": a})
        assert type(result) is torch.return_types.max
        assert torch.equal(result.values, (a + b).max(1).values) and torch.equal(result.indices, (a + b).max(1).indices)


def test_containers_that_nobody_knows_are_refused():
    class Bag(set):
        pass

    bag = Bag([torch.ones(2)])
    with pytest.raises(trtconv.ConversionError, match=r"example input holds a .*Bag; allowed are tensors"):
        trtconv.convert(Function(lambda bag: sum(bag, 1)), (bag,))


def test_keyword_arguments_in_any_form():
    class Adds(nn.Module):
        def forward(self, x, y, *, z):
            return x + 2 * y + 3 * z

    module = Adds()
    x, y, z = torch.randn(3), torch.randn(3), torch.randn(3)
    converted = trtconv.convert(module, (x,), {"z": z, "y": y})
    for call in (lambda m: m(x, y, z=z), lambda m: m(x, z=z, y=y), lambda m: m(z=z, y=y, x=x)):
        assert torch.equal(call(converted), call(module))
    with pytest.raises(TypeError, match="missing a required"):
        converted(x, y)
    with pytest.raises(TypeError, match="unexpected keyword"):
        converted(x, y, z=z, w=z)


def test_results_that_are_inputs_constants_or_twice_the_same():
    constant = torch.arange(3.0)

    def function(x):
        y = x + 1
        return x, y, y, constant, x

    converted = trtconv.convert(Function(function), torch.randn(3))
    x = torch.randn(3)
    for result, expected in zip(converted(x), function(x), strict=True):
        assert torch.equal(result, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.bool])
def test_dtypes_are_kept(dtype):
    module = Function(lambda x: x.reshape(3, 2))
    x = torch.ones(2, 3).to(dtype)
    result = trtconv.convert(module, x)(x)
    assert result.dtype is dtype and torch.equal(result, x.reshape(3, 2))


@pytest.mark.parametrize("dynamic_shapes", [None, {"args": {0: {0: trtconv.Dim(1, 5)}}}])
def test_float64_is_computed_as_float32_after_one_warning(dynamic_shapes):
    module = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU()).double().eval()
    function = Function(lambda x: (module(x), x.double().sum(1).clamp(min=0.1), x.to(torch.float64).float()))
    example = torch.randn(2, 3, 8, dtype=torch.float64)
    with pytest.warns(trtconv.PrecisionWarning, match=r"an input is float64.*float32") as warned:
        converted = trtconv.convert(function, example, dynamic_shapes=dynamic_shapes)
    assert len(warned) == 1 and warned[0].filename == __file__
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    for result, expected in zip(converted(x), function(x), strict=True):
        assert result.dtype is expected.dtype
        assert torch.allclose(result, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(trtconv.InputError, match=r"float32.*converted for float64"):
        converted(x.float())


def test_float64_inside_is_named_with_its_line():
    with pytest.warns(trtconv.PrecisionWarning, match=r"test_module\.py:\d+: .*float64"):
        converted = trtconv.convert(Function(lambda x: (x.double() * 3).float()), torch.ones(2))
    assert torch.equal(converted(torch.ones(2)), torch.full((2,), 3.0))


def test_save_and_load(tmp_path):
    module = small()
    converted = trtconv.convert(module, example())
    torch.save(converted.state_dict(), tmp_path / "m.pth")
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(torch.load(tmp_path / "m.pth"))
    x = example()
    assert torch.equal(loaded(x), converted(x))
    assert loaded.engine.serialize() == converted.engine.serialize()
    assert len(loaded.network.layers) == len(converted.network.layers) > 0
    assert str(loaded).startswith("TRTModule(input_0: float32[2, 3, 5, 5] -> output_0: float32[2, 5]")


def test_engine_file(tmp_path):
    converted = trtconv.convert(small(), example())
    converted.save_engine(tmp_path / "m.engine")
    assert (tmp_path / "m.engine").read_bytes() == converted.engine.serialize()
    assert [path.name for path in tmp_path.iterdir()] == ["m.engine"]
    if not torch.cuda.is_available():
        with pytest.raises(trtconv.EngineError, match=r"m\.engine: .*GPU"):
            trtconv.load_engine(tmp_path / "m.engine")


def test_inside_a_parent():
    class Parent(nn.Module):
        def __init__(self, backbone):
            super().__init__()
            self.backbone, self.head = backbone, nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.backbone(x))

    parent = Parent(small()).eval()
    x = example()
    expected = parent(x)
    parent.backbone = trtconv.convert(parent.backbone, example())
    assert torch.allclose(parent(x), expected, atol=1e-5)
    fresh = Parent(trtconv.TRTModule())
    result = fresh.load_state_dict(parent.state_dict())
    assert not result.missing_keys and not result.unexpected_keys
    assert torch.equal(fresh(x), parent(x))


def test_copies_and_pickles_run():
    converted = trtconv.convert(small(), example())
    x = example()
    expected = converted(x)
    for other in (copy.deepcopy(converted), pickle.loads(pickle.dumps(converted))):
        assert torch.equal(other(x), expected)


def test_damaged_and_foreign_state(tmp_path):
    state = trtconv.convert(small(), example()).state_dict()
    module = trtconv.TRTModule()
    with pytest.raises(RuntimeError, match=r"Missing key.*plan"):
        module.load_state_dict({})
    damaged = dict(state, plan=state["plan"][: len(state["plan"]) // 2])
    with pytest.raises(RuntimeError, match="damaged"):
        module.load_state_dict(damaged)
    text = bytes(state["plan"].numpy()).replace(b'"format": 2', b'"format": 9')
    other = dict(state, plan=torch.frombuffer(bytearray(text), dtype=torch.uint8))
    with pytest.raises(RuntimeError, match="format 9"):
        module.load_state_dict(other)
    with pytest.raises(RuntimeError, match="empty"):
        module(example())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            (torch.randn(2, 3, 5, 6),),
            r"'input' \(input 'image' of the engine\) is float32\[2, 3, 5, 6\]; .*{'input': {3: \(5, 5, 6\)}}",
        ),
        ((torch.randn(2, 3, 5, 5).half(),), r"'input' .*is float16.*converted for float32"),
        ((torch.randn(2, 3, 5, 5), torch.randn(1)), r"too many .*takes \(input\), and there came 2 by position$"),
        ((), r"missing .*'input'; the forward takes \(input\), and there came 0 by position$"),
        (([1.0],), r"'input' is \[1.0\]; .*it takes a tensor there"),
        ((3.0,), r"'input' is 3.0; .*it takes a tensor there"),
    ],
)
def test_wrong_inputs(args, words):
    converted = trtconv.convert(small(), example(), input_names=["image"], output_names=["logits"])
    with pytest.raises((trtconv.InputError, TypeError), match=words):
        converted(*args)


def test_names():
    converted = trtconv.convert(small(), example(), input_names=["image"], output_names=["logits"])
    assert converted.network.inputs == ("image",)
    assert converted.network.outputs == ("logits",)
    with pytest.raises(ValueError, match=r"input_names.*2 names for 1 input tensor"):
        trtconv.convert(small(), example(), input_names=["a", "b"])
    with pytest.raises(ValueError, match="distinct"):
        trtconv.convert(small(), example(), input_names=["a"], output_names=["a"])


def test_unknown_options_and_bad_values():
    with pytest.raises(TypeError, match="fp61_mode"):
        trtconv.convert(small(), example(), fp61_mode=True)
    with pytest.raises(ValueError, match=r"9\.9.*builds for"):
        trtconv.convert(small(), example(), compute_capabilities=["9.9"])
    with pytest.raises(trtconv.ConversionError, match="returns no tensor"):
        trtconv.convert(Function(lambda x: 3), torch.randn(2))


def test_the_network_can_be_left_out():
    converted = trtconv.convert(small(), example(), keep_network=False)
    whole = trtconv.convert(small(), example())
    size = sum(value.nbytes for value in converted.state_dict().values())
    assert size < sum(value.nbytes for value in whole.state_dict().values())
    if not torch.cuda.is_available():
        with pytest.raises(trtconv.EngineError, match="network wasn't kept"):
            converted(example())


def test_compute_capabilities():
    assert len(trtconv.convert(small(), example(), compute_capabilities=["8.6"]).engine) > 0


def test_a_build_that_tensorrt_refuses_is_told_with_its_words_and_origins():
    """Turing has no fp32 product of matrices in TensorRT-RTX."""
    with pytest.raises(trtconv.BuildError) as caught:
        trtconv.convert(nn.Sequential(nn.Linear(8, 8)), torch.randn(4, 8), compute_capabilities=["7.5"])
    text = str(caught.value)
    for words in ("FP32 GEMM is not supported", "0.linear", "torch.nn.functional.linear", "test_module.py:"):
        assert words in text, text


def run_python(code, **environment):
    import os

    env = os.environ | environment
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)


class TakesManyKindsOfLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.norm, self.pool = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AvgPool2d(3, ceil_mode=True)
        self.lstm, self.attention = nn.LSTM(4, 4, batch_first=True), nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        x = self.pool(self.norm(self.convolution(x))).flatten(2).transpose(1, 2)
        x = self.lstm(x)[0] + torch.arange(4, device=x.device) / 4
        x = self.attention(x, x, x)[0].cumsum(1).roll(1, 1)
        order = x.sort(-1)
        return (
            order.values,
            order.indices,
            nn.functional.interpolate(x[None], scale_factor=2.0),
            torch.fft.rfft(x).abs(),
        )


@pytest.mark.parametrize("dynamic_shapes", [None, {"x": {0: (1, 2, 5), 2: (9, 16, 30)}}], ids=["static", "dynamic"])
def test_the_default_device_makes_no_difference(dynamic_shapes):
    module = TakesManyKindsOfLayers().eval()
    x, given = torch.randn(2, 3, 16, 14), torch.randn(2, 3, 16, 14)
    with torch.device("meta"):  # nothing can be computed there
        result = trtconv.convert(module, [given], dynamic_shapes=dynamic_shapes)(x)
    for value, expected in zip(result, module(x), strict=True):
        torch.testing.assert_close(value, expected)


def test_import_loads_no_tensorrt_and_takes_no_cuda_context():
    code = (
        "import sys, torch, trtconv\n"
        "assert not any('tensorrt_rtx_bindings' in name or name == 'tensorrt' for name in sys.modules)\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_without_tensorrt_the_extra_is_named_and_saved_modules_run(tmp_path):
    converted = trtconv.convert(small(), example())
    x = example()
    torch.save((converted.state_dict(), x, converted(x)), tmp_path / "m.pth")
    code = (
        "import sys, torch, trtconv\n"
        "state, x, expected = torch.load(sys.argv[1] if len(sys.argv) > 1 else PATH)\n"
        "m = trtconv.TRTModule(); m.load_state_dict(state)\n"
        "assert torch.equal(m(x), expected)\n"
        "trtconv.convert(torch.nn.ReLU(), x)\n"
    ).replace("sys.argv[1] if len(sys.argv) > 1 else PATH", repr(str(tmp_path / "m.pth")))
    result = run_python(code, TRTCONV_TENSORRT="not_installed")
    assert "TensorRTNotFoundError" in result.stderr and "trtconv[rtx]" in result.stderr, result.stderr
    assert "AssertionError" not in result.stderr
