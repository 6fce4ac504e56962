"""Whole ONNX models through `from_onnx`, against onnxruntime and float64."""

import copy
import io

import pytest
import torch

import trtconv
from trtconv.inspect import compare_tensors

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")  # torch.onnx writes with it

from onnx_models import MODELS, exported, inputs_of, made  # noqa: E402  # it needs what was asked for above

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.onnx and transformers warn of much


def several(result):
    return result if isinstance(result, tuple) else (result,)


def in_double(args):
    return tuple(x.double() if x.is_floating_point() else x for x in args)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_models(model):
    module = made(model)
    content = exported(model, module)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # its other threads would wait for work by spinning, at torch's cost
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    shapes = {name: tuple(x.shape) for name, x in zip(names, inputs_of(model), strict=True)}
    converted = trtconv.from_onnx(content, shapes=shapes if model.dynamic else None)
    assert [spec.name for spec in converted.plan.signature.inputs] == names
    precise_module = copy.deepcopy(module).double()
    errors, own_errors, units, drawn = [], [], [], []
    for _ in range(4):
        args = inputs_of(model)
        answers = session.run(None, {name: x.numpy() for name, x in zip(names, args, strict=True)})
        with torch.no_grad():
            precise, own = several(precise_module(*in_double(args))), several(module(*args))
        results = several(converted(*args))
        for x64, torchs, answer, result in zip(precise, own, answers, results, strict=True):
            against = compare_tensors(x64, torch.from_numpy(answer), result)
            assert not against.problem, str(against)
            errors.append(against.error)
            own_errors += [against.torch_error, compare_tensors(x64, torchs, result).torch_error]
            units.append(against.whole.unit)
        drawn.append(results)
    for first, *_, last in zip(*drawn, strict=True):
        assert (first - last).abs().max() > 1000 * max(errors), "a result that hardly depends on the inputs"
    assert max(errors) <= 2 * max(own_errors) + max(units), (max(errors), max(own_errors), max(units))


def by_name(name):
    return next(model for model in MODELS if model.name == name)


def test_dynamic_dimensions_take_any_sizes():
    model = by_name("unet")
    module = made(model)
    content = exported(model, module)
    for shape in ((1, 3, 16, 48), (3, 3, 32, 32)):
        x = torch.randn(shape)
        with torch.no_grad():
            expected = module(x)
        converted = trtconv.from_onnx(content, shapes={"x": shape})
        torch.testing.assert_close(converted(x), expected)


def test_state_dict():
    model = by_name("bert")
    converted = trtconv.from_onnx(exported(model, made(model)), shapes={"args_0": (2, 8), "args_1": (2, 8)})
    file = io.BytesIO()
    torch.save(converted.state_dict(), file)
    file.seek(0)
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(torch.load(file))
    assert loaded.plan.signature == converted.plan.signature
    words, mask = inputs_of(model)
    for result, expected in zip(loaded(args_1=mask, args_0=words), converted(words, mask), strict=True):
        assert torch.equal(result, expected)


# -- calling, shapes and errors, on models of a few nodes -----------------------------------------


def value(name, *shape, type="FLOAT"):
    """An input or output; a dimension is a size or a name."""
    return onnx.helper.make_tensor_value_info(name, getattr(onnx.TensorProto, type), shape)


def node(op, inputs, outputs, name="", domain=""):
    return onnx.helper.make_node(op, inputs.split(), outputs.split(), name=name, domain=domain)


def proto(nodes, inputs, outputs, constants=None):
    initializers = [onnx.numpy_helper.from_array(x.numpy(), name) for name, x in (constants or {}).items()]
    graph = onnx.helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("mine", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)


def subtraction(first, second, *shape):
    """first - second"""
    inputs = [value(first, *shape), value(second, *shape)]
    return proto([node("Sub", f"{first} {second}", "y")], inputs, [value("y", *shape)]).SerializeToString()


def test_inputs_by_name_and_place():
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    converted = trtconv.from_onnx(subtraction("a", "b", 2, 3))
    for result in (converted(a, b), converted(b=b, a=a), converted(a, b=b)):
        assert torch.equal(result, a - b)
    with pytest.raises(TypeError, match="'b'"):
        converted(a)
    with pytest.raises(trtconv.InputError, match=r"'b' is float32\[3\]"):
        converted(a, b[0])


@pytest.mark.parametrize("name", ["input.1", "lambda", "self", "0"])
def test_names_that_are_no_parameters(name):
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(trtconv.from_onnx(subtraction(name, "b", 2, 3))(a, b), a - b)


def test_outputs_keep_their_order_and_names():
    x = torch.randn(2, 5)
    nodes = [node("TopK", "x k", "largest places"), node("Neg", "x", "negated")]
    outputs = [value("places", 2, 2, type="INT64"), value("negated", 2, 5), value("largest", 2, 2)]
    model = proto(nodes, [value("x", 2, 5)], outputs, {"k": torch.tensor([2])})
    converted = trtconv.from_onnx(model.SerializeToString())
    assert [spec.name for spec in converted.plan.signature.outputs] == ["places", "negated", "largest"]
    places, negated, largest = converted(x)
    assert torch.equal(negated, -x)
    assert torch.equal(largest, x.topk(2).values)
    assert torch.equal(places, x.topk(2).indices)


def test_a_model_without_inputs():
    constant = torch.randn(2, 3)
    model = proto([node("Neg", "c", "y")], [], [value("y", 2, 3)], {"c": constant})
    assert torch.equal(trtconv.from_onnx(model.SerializeToString())(), -constant)


def test_an_input_that_nothing_uses():
    x, unused = torch.randn(2), torch.randn(3)
    model = proto([node("Neg", "x", "y")], [value("unused", 3), value("x", 2)], [value("y", 2)])
    assert torch.equal(trtconv.from_onnx(model.SerializeToString())(unused, x), -x)


def test_files_and_their_external_data(tmp_path):
    weight, x = torch.randn(300, 5), torch.randn(2, 300)
    model = proto([node("MatMul", "x w", "y")], [value("x", 2, 300)], [value("y", 2, 5)], {"w": weight})
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    for given in (path, str(path)):
        converted = trtconv.from_onnx(given)
        torch.testing.assert_close(converted(x), x @ weight)
        assert converted.plan.provenance["onnx"] == "model.onnx"
    content = path.read_bytes()
    with pytest.raises(trtconv.BuildError, match="pass its path"):
        trtconv.from_onnx(content)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(trtconv.BuildError, match=r"open file: .*weights\.bin"):
        trtconv.from_onnx(path)


def test_what_is_no_model(tmp_path):
    with pytest.raises(FileNotFoundError):
        trtconv.from_onnx(tmp_path / "nothing.onnx")
    with pytest.raises(IsADirectoryError):
        trtconv.from_onnx(tmp_path)
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    model = subtraction("a", "b", 2, 3)
    for given in (text, b"", b"\0 no model", bytes(range(256)), model[:-9]):
        with pytest.raises(trtconv.BuildError, match=r"is no ONNX model|Failed to parse"):
            trtconv.from_onnx(given)
    for wrong in (None, 3, onnx.load_from_string(model)):
        with pytest.raises(TypeError, match="a path or the bytes"):
            trtconv.from_onnx(wrong)


def test_every_error_of_the_parser_is_told():
    nodes = [
        node("Foo", "x", "a", "first", "mine"),
        node("Relu", "a", "b", "fine"),
        node("Det", "b", "c", "second"),
        node("Bar", "c", "y", domain="mine"),
    ]
    with pytest.raises(trtconv.BuildError) as caught:
        trtconv.from_onnx(proto(nodes, [value("x", 2, 2)], [value("y")]).SerializeToString())
    message = str(caught.value)
    for words in ("node 0, Foo 'first'", "node 2, Det 'second'", "node 3, Bar (no name)", "Plugin not found"):
        assert words in message
    assert "Relu" not in message


def test_the_words_of_tensorrt_are_told():
    model = proto([node("MatMul", "x w", "y", "product")], [value("x", 2, 3)], [value("y")], {"w": torch.ones(4, 5)})
    with pytest.raises(trtconv.BuildError, match=r"MatMul 'product'(.|\n)*last dimension of input0 = 3"):
        trtconv.from_onnx(model.SerializeToString())


def test_dynamic_dimensions_need_sizes():
    model = proto([node("Sub", "a b", "y")], [value("a", "n", 3), value("b", "m", 3)], [value("y", "k", 3)])
    with pytest.raises(trtconv.ConversionError) as caught:
        trtconv.from_onnx(model.SerializeToString(), shapes={"a": (2, 3)})
    message = str(caught.value)
    assert "'b': float32[m, 3]" in message
    assert "shapes={'b': [m, 3]}" in message
    assert "'a'" not in message


def test_a_size_of_one_name_is_given_once():
    from_file = trtconv.from_onnx(subtraction("a", "b", "batch", 3), shapes={"a": (2, 3)})
    assert [spec.shape for spec in from_file.signature.inputs] == [(2, 3), (2, 3)]


@pytest.mark.parametrize(
    "shapes, words",
    [
        ({"c": (2, 3)}, r"no input \['c'\]; it has 'a': float32\[batch, 3\], 'b'"),
        ({"a": (2, 3), "b": (3, 3)}, "batch is 3 here and 2"),
        ({"a": (2, 4), "b": (2, 4)}, "doesn't fit"),
        ({"a": (2, 3, 1), "b": (2, 3)}, "doesn't fit"),
        ({"a": (-1, 3), "b": (2, 3)}, "doesn't fit"),
        ({"a": 2, "b": (2, 3)}, "a sequence of sizes"),
        ({"a": "23", "b": (2, 3)}, "a sequence of sizes"),
    ],
)
def test_shapes_that_do_not_fit(shapes, words):
    with pytest.raises(ValueError, match=words):
        trtconv.from_onnx(subtraction("a", "b", "batch", 3), shapes=shapes)


def test_shapes_that_do_not_fit_each_other():
    model = proto([node("Sub", "a b", "y")], [value("a", "n"), value("b", "m")], [value("y", "k")])
    with pytest.raises(trtconv.BuildError, match=r"'a': float32\[2\], 'b': float32\[3\](.|\n)*broadcast"):
        trtconv.from_onnx(model.SerializeToString(), shapes={"a": (2,), "b": (3,)})


def test_shapes_that_depend_on_values():
    inputs = [value("x", 2, 3), value("shape", 2, type="INT64")]
    model = proto([node("Reshape", "x shape", "y")], inputs, [value("y", "n", "m")])
    with pytest.raises(trtconv.ConversionError, match=r"values of \['shape'\]"):
        trtconv.from_onnx(model.SerializeToString())


def test_options():
    model = subtraction("a", "b", 2, 3)
    converted = trtconv.from_onnx(model, tf32=False, keep_network=False)
    assert converted.plan.provenance["tf32"] is False
    assert converted.plan.segments[0].graph is None
    with pytest.raises(ValueError, match="compute_capabilities"):
        trtconv.from_onnx(model, compute_capabilities=["1.0"])
