"""ONNX models whose sizes vary, through `from_onnx`, against PyTorch."""

import pytest
import torch

import trtconv
from trtconv import Dim

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")  # torch.onnx writes with it

from onnx_models import MODELS, exported, made  # noqa: E402  # it needs what was asked for above

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.onnx and transformers warn of much


def model_of(nodes, inputs, output):
    """A model's content; `inputs` and `output` are names and shapes, in which texts are names of open dimensions."""
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n, shape in (*inputs, output)]
    parts = [onnx.helper.make_node(op, ins.split(), outs.split(), **options) for op, ins, outs, options in nodes]
    graph = onnx.helper.make_graph(parts, "graph", values[:-1], values[-1:])
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    ).SerializeToString()


def sum_of(first, second):
    return model_of([("Add", "a b", "y", {})], [("a", first), ("b", second)], ("y", first))


def masked(mask):
    nodes = [("Concat", "past new", "all", {"axis": 0}), ("Mul", "all mask", "y", {})]
    inputs = [("past", ("past_length", 2)), ("new", ("length", 2)), ("mask", (mask, 1))]
    return model_of(nodes, inputs, ("y", ("total", 2)))


@pytest.mark.parametrize("tf32", [True, False])
def test_a_model_with_varying_batch_height_and_width(tf32):
    model = next(each for each in MODELS if each.name == "unet")
    module = made(model)
    ranges = {"x": {0: (1, 2, 4), 2: Dim(16, 32, 64, multiple_of=4), 3: Dim(16, 64, multiple_of=4)}}
    converted = trtconv.from_onnx(exported(model, module), dynamic_shapes=ranges, tf32=tf32)
    for batch, height, width in ((1, 16, 16), (2, 32, 32), (4, 64, 64), (3, 44, 28), (2, 20, 60)):
        x = torch.randn(batch, 3, height, width)
        with torch.no_grad():
            torch.testing.assert_close(converted(x), module(x))
    with pytest.raises(trtconv.InputError, match="size 9 in dimension 0 has to be 1 to 4"):
        converted(torch.randn(9, 3, 16, 16))
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(converted.state_dict())
    assert loaded.signature == converted.signature


@pytest.mark.parametrize("size", [(1, 4, 8), Dim(1, 8), Dim(1, 8, name="n")])
def test_a_name_is_one_size(size):
    converted = trtconv.from_onnx(sum_of(["batch", 3], ["batch", 3]), dynamic_shapes={"a": {0: size}})
    for batch in (1, 4, 8, 3, 7):
        a, b = torch.randn(2, batch, 3)
        assert torch.equal(converted(a, b), a + b)
    with pytest.raises(trtconv.InputError, match=r"'b' is float32\[3, 3\].* the other inputs have .* = 2"):
        converted(torch.randn(2, 3), torch.randn(3, 3))


@pytest.mark.parametrize("mask", ["past_length + length", "total"])
def test_sizes_that_follow_from_one_another(mask):
    past, length = Dim(1, 9, name="past_length"), Dim(1, 5, name="length")
    shapes = {"past": {0: past}, "new": {0: length}}
    if mask == "total":
        shapes["mask"] = {0: past + length}
    converted = trtconv.from_onnx(masked(mask), dynamic_shapes=shapes)
    assert "  mask: float32[past_length + length, 1]" in str(converted.signature)
    for n, m in ((1, 1), (4, 1), (9, 5), (3, 2), (7, 4)):
        x, y, mask = torch.randn(n, 2), torch.randn(m, 2), torch.randn(n + m, 1)
        assert torch.equal(converted(x, y, mask), torch.cat([x, y]) * mask)
    with pytest.raises(trtconv.InputError, match="has to be past_length \\+ length, which is 4"):
        converted(torch.randn(3, 2), torch.randn(1, 2), torch.randn(5, 1))


def test_profiles_and_numbers():
    profiles = [{"a": {0: 1, 1: (1, 8, 16)}}, {"a": ((1, 4), (2, 4), (8, 4))}]
    converted = trtconv.from_onnx(sum_of(["n", "m"], ["n", "m"]), dynamic_shapes=profiles)
    for shape in ((1, 1), (1, 16), (8, 4), (3, 4)):
        a, b = torch.randn(2, *shape)
        assert torch.equal(converted(a, b), a + b)
    with pytest.raises(trtconv.InputError, match="no optimization profile"):
        converted(torch.randn(2, 5), torch.randn(2, 5))
    half = trtconv.from_onnx(sum_of(["n", "m"], ["n", "m"]), dynamic_shapes={"a": {0: (1, 2, 8)}}, shapes={"b": (3, 4)})
    assert half.signature.inputs[0].shape[1] == 4


@pytest.mark.parametrize(
    ("ranges", "error", "words"),
    [
        ({"a": {1: (1, 3, 4)}}, trtconv.ConversionError, r"lets dimension 1 vary, which the file fixes: .*batch, 3"),
        ({"a": {1: (1, 3, 4)}}, trtconv.ConversionError, r"torch\.onnx\.export\(.*{'a': {1: .*update_model_dims"),
        ({}, trtconv.ConversionError, r"shapes={'a': \[batch, 3\].*dynamic_shapes={'a': {0: \(min, opt, max\)}}"),
        ({"c": {0: (1, 2, 3)}}, ValueError, r"dynamic_shapes: the model has no input \['c'\]"),
        ({"a": {2: (1, 2, 3)}}, ValueError, r"names dimension 2; the model takes 'a': float32\[batch, 3\]"),
        ({"a": (1, 2)}, ValueError, r"it has to be a dict from dimension to Dim"),
        ({"a": {0: (1, 2, 3)}, "b": {0: (1, 2, 4)}}, ValueError, r"'batch' is 1\.\.3 .* elsewhere and 1\.\.4"),
        ({"a": {0: (3, 2, 1)}}, ValueError, r"0 <= min <= opt <= max|whole numbers"),
    ],
)
def test_ranges_that_do_not_fit(ranges, error, words):
    with pytest.raises(error, match=words):
        trtconv.from_onnx(sum_of(["batch", 3], ["batch", 3]), dynamic_shapes=ranges)
