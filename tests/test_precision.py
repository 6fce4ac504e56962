"""`precision=`: which layers compute in half precision, what they compute, and what stays in float32."""

import copy

import pytest
import torch
import torch.nn.functional as F
from cases import Function
from torch import nn

import trtconv
from trtconv import tensorrt as trt
from trtconv.graph import check
from trtconv.inspect import compare_tensors

pytestmark = pytest.mark.usefixtures("without_engines")

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def converted(module, *inputs, precision="fp16", **options):
    return trtconv.convert(module.eval(), inputs, precision=precision, cache=False, **options)


def graph_of(module, *inputs, **options):
    graph = converted(module, *inputs, **options).network
    check(graph)
    return graph


def types(graph, kind):
    """In what type the layers of a type compute."""
    layers = [layer for layer in graph.layers if layer.type == kind]
    return [graph.tensors[layer.outputs[0]].dtype.name for layer in layers]


def casts(graph):
    return len(types(graph, "CAST"))


def kinds_but_casts(graph):
    return [layer.type for layer in graph.layers if layer.type not in ("CAST", "CONSTANT")]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.attention = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        x = self.attention(x.flatten(2).mT)
        return self.head(x.mean(1)), x


def test_engines_are_built_of_it(monkeypatch):
    monkeypatch.undo()
    module, x = Block(), torch.randn(2, 3, 8, 8)
    assert len(converted(module, x).plan.segments[0].engine) > 1000


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_layers_have_the_types_that_the_module_in_half_precision_has_by_hand(precision):
    torch.manual_seed(0)
    module, x = Block(), torch.randn(2, 3, 8, 8)
    ours = graph_of(module, x, precision=precision)
    by_hand = graph_of(module.to(HALVES[precision]), x.to(HALVES[precision]), precision=None)
    half = {"fp16": "HALF", "bf16": "BF16"}[precision]
    for kind in ("CONVOLUTION", "MATRIX_MULTIPLY", "POOLING"):
        assert set(types(ours, kind)) == {half}
    for kind in ("NORMALIZATION", "SOFTMAX"):
        assert set(types(ours, kind)) == {"FLOAT"}
    assert kinds_but_casts(ours) == kinds_but_casts(by_hand)
    made = [layer for layer in ours.layers if layer.type == "CAST"]
    constants = {name for layer in ours.layers if layer.type in ("CONSTANT", "CAST") for name in layer.outputs}
    assert not constants.intersection(name for cast in made for name in cast.inputs)
    pairs = [(cast.inputs[0], cast.attributes["to_type"]) for cast in made]
    assert len(set(pairs)) == len(pairs)
    assert ours.tensors[ours.inputs[0]].dtype.name == "FLOAT"
    assert {ours.tensors[name].dtype.name for name in ours.outputs} == {"FLOAT"}


@torch.no_grad()
def is_right(module, inputs, result, dtype):
    """Whether a result is as right as the module's own in `dtype`, on the CPU."""
    precise = copy.deepcopy(module).double()(*(each.double() for each in inputs))
    own = copy.deepcopy(module).to(dtype)(*(each.to(dtype) for each in inputs))
    return compare_tensors(precise, own, result.to(dtype))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_answers_are_as_right_as_those_of_the_module_in_half_precision(precision):
    torch.manual_seed(0)
    module, x = Block().eval(), torch.randn(2, 3, 8, 8)
    result = converted(module, x, precision=precision)(x)
    assert all(each.dtype is torch.float32 for each in result)
    for place in (0, 1):
        comparison = is_right(Output(module, place), [x], result[place], HALVES[precision])
        assert comparison.correct, comparison
        assert comparison.error > 1e-6  # it isn't float32


class Output(nn.Module):
    def __init__(self, module, place):
        super().__init__()
        self.module, self.place = module, place

    def forward(self, x):
        return self.module(x)[self.place]


def test_float32_and_the_default_change_nothing():
    module, x = Block(), torch.randn(2, 3, 8, 8)
    graphs = [graph_of(module, x, precision=precision) for precision in (None, "fp32")]
    assert all(not casts(graph) for graph in graphs)
    assert torch.equal(*(converted(module, x, precision=precision)(x)[0] for precision in (None, "fp32")))


def test_a_module_in_half_precision_stays_as_it_is():
    module, x = Block().half(), torch.randn(2, 3, 8, 8).half()
    plain, asked = (graph_of(module, x, precision=precision) for precision in (None, "bf16"))
    assert [(layer.type, layer.inputs) for layer in plain.layers] == [
        (layer.type, layer.inputs) for layer in asked.layers
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"default": "fp16", "conv": "fp32"}, {"CONVOLUTION": {"FLOAT"}, "MATRIX_MULTIPLY": {"HALF"}}),
        ({"default": "fp16", "conv": "bf16"}, {"CONVOLUTION": {"BF16"}, "MATRIX_MULTIPLY": {"HALF"}}),
        ({"attention": "fp16"}, {"CONVOLUTION": {"FLOAT"}, "MATRIX_MULTIPLY": {"FLOAT", "HALF"}}),
        ({"default": "fp16", "attention.lin*": "fp32"}, {"MATRIX_MULTIPLY": {"FLOAT", "HALF"}}),
        ({"default": "bf16", "torch.conv2d": "fp32"}, {"CONVOLUTION": {"FLOAT"}, "MATRIX_MULTIPLY": {"BF16"}}),
        ({"default": "fp16", "*": "fp32", "head": "fp16"}, {"CONVOLUTION": {"FLOAT"}, "POOLING": {"FLOAT"}}),
    ],
)
def test_types_may_be_given_by_module_and_function(choice, expected):
    module, x = Block(), torch.randn(2, 3, 8, 8)
    graph = graph_of(module, x, precision=choice)
    for kind, found in expected.items():
        assert set(types(graph, kind)) == found
    converted(module, x, precision=choice)(x)


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ("half", r"precision='half': it takes \"fp32\", \"fp16\", \"bf16\""),
        (torch.float16, "precision=torch.float16: it takes"),
        ({"default": "fp17"}, r"precision\['default'\]='fp17'"),
        ({"default": "fp16", 3: "fp32"}, "the key 3"),
        ({"default": "fp16", "haed": "fp32"}, r"precision\['haed'\] matches no .*did you mean 'head'"),
    ],
)
def test_wrong_choices_are_refused(precision, message):
    with pytest.raises(ValueError, match=message):
        converted(Block(), torch.randn(2, 3, 8, 8), precision=precision)


def test_weights_that_the_type_does_not_hold_keep_their_layer():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        module[0].weight.mul_(1e6)
        module[1].weight.mul_(1e-8)
    graph = graph_of(module, torch.randn(2, 4))
    assert types(graph, "MATRIX_MULTIPLY") == ["FLOAT", "FLOAT", "HALF"]


def test_what_the_module_casts_stays():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.low, self.high, self.other = nn.Linear(8, 8).half(), nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.high(self.low(self.other(x).half()).float())

    graph = graph_of(Mixed(), torch.randn(2, 8), precision="bf16")
    assert types(graph, "MATRIX_MULTIPLY") == ["BF16", "HALF", "FLOAT"]


def test_autocast_in_the_module_is_honoured():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside, self.outside = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            x = self.outside(x)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return F.softmax(self.inside(x), -1)

    plain, lower = (graph_of(Mixed(), torch.randn(2, 8), precision=precision) for precision in (None, "fp16"))
    assert types(plain, "MATRIX_MULTIPLY") == ["FLOAT", "BF16"]
    assert types(lower, "MATRIX_MULTIPLY") == ["HALF", "BF16"]
    assert types(lower, "SOFTMAX") == types(plain, "SOFTMAX")


def test_a_module_is_rebuilt_in_another_precision_and_saved_with_its_reasons():
    module, x = Block().eval(), torch.randn(2, 3, 8, 8)
    plain = converted(module, x, precision=None)
    lower = plain.rebuild(precision="fp16")
    direct = converted(module, x, precision="fp16")
    assert torch.equal(lower(x)[0], direct(x)[0]) and not casts(plain.network)
    assert lower.plan.provenance["precision"] == "fp16"
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(lower.state_dict())
    assert loaded.network.notes == lower.network.notes != {}
    assert lower.rebuild().plan.provenance["precision"] == "fp16"
    with pytest.raises(ValueError, match="was converted with precision='fp16'"):
        lower.rebuild(precision="bf16")


def test_new_weights_are_rounded_likewise():
    module, x = nn.Linear(4, 4).eval(), torch.randn(2, 4)
    lower = converted(module, x)
    other = nn.Linear(4, 4).eval()
    lower.update_weights(other)
    assert torch.equal(lower(x), converted(other, x)(x))
    with torch.no_grad():
        other.weight.fill_(1e5)
    with pytest.raises(trtconv.errors.WeightsError, match="leave the range of torch"):
        lower.update_weights(other)


def test_every_layer_type_has_a_rule():
    from trtconv.passes.precision_rules import RULES
    from trtconv.reference.layers.registry import supported_layers

    known = {name.partition(".")[0] for name in RULES} | {"CAST", "CONSTANT"}
    without = {"ASSERTION", "CONDITION", "PLUGIN", "TRIP_LIMIT"}  # they compute nothing, or aren't in networks
    assert set(supported_layers()) - known - without == set()


def test_the_report_names_layers_types_reasons_casts_and_bytes():
    module, x = Block().eval(), torch.randn(2, 3, 8, 8)
    lower = converted(module, x)
    report = lower.precision_report()
    by_name = {layer.name: layer for layer in report.layers}
    assert by_name["conv.conv2d"].precision == "fp16" and "tensor cores" in by_name["conv.conv2d"].reason
    softmax = next(layer for layer in report.layers if layer.type == "SOFTMAX")
    assert softmax.precision == "fp32" and "exponentials" in softmax.reason and "attention" in softmax.place
    assert len(report.casts) == casts(lower.network) > 0
    assert set(report.casts.values()) == {("fp32", "fp16"), ("fp16", "fp32")}
    stored = {"float16": 2 * sum(weights.numel() for weights in lower.network.weights() if weights.dtype is torch.half)}
    assert report.weights["float16"] == stored["float16"] > 10 * report.weights["float32"]
    text, page = str(report), report._repr_html_()
    assert "precision='fp16'" in text and all(name in text and name in page for name in by_name)
    assert page.count("<rect") == len(report.layers)
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(lower.state_dict())
    again = loaded.precision_report()
    assert [layer[:4] for layer in again.layers] == [layer[:4] for layer in report.layers]
    assert (again.asked, again.casts, again.weights) == (report.asked, report.casts, report.weights)
    plain = converted(module, x, precision=None).precision_report()
    assert {layer.precision for layer in plain.layers} == {"fp32"} and not plain.casts and plain.asked is None


def test_a_report_needs_the_network():
    with pytest.raises(trtconv.errors.EngineError, match="keep_network=True"):
        converted(Block(), torch.randn(2, 3, 8, 8), keep_network=False).precision_report()


def test_converters_of_users_get_it_with_no_change():
    @trtconv.tensorrt_converter(scores_of)
    def convert_it(ctx):
        x, weight = (
            ctx.method_args[0]._trt,
            ctx.network.add_constant((4, 16), trt.Weights(WEIGHT.numpy())).get_output(0),
        )
        product = ctx.network.add_matrix_multiply(x, trt.MatrixOperation.NONE, weight, trt.MatrixOperation.TRANSPOSE)
        norm = ctx.network.add_softmax(product.get_output(0))
        norm.axes = 2
        ctx.method_return._trt = norm.get_output(0)

    module, x = Function(attended), torch.randn(2, 16)
    try:
        lower = converted(module, x)
    finally:
        trtconv.unregister(scores_of)
    assert types(lower.network, "MATRIX_MULTIPLY") == ["HALF"] and types(lower.network, "SOFTMAX") == ["FLOAT"]
    torch.testing.assert_close(lower(x), module(x), rtol=2e-3, atol=1e-3)


WEIGHT = torch.randn(4, 16)


def attended(x):
    return scores_of(x) * 2


def scores_of(x):
    return torch.softmax(x @ WEIGHT.T, -1)


@pytest.mark.parametrize("precision", ["fp16", {"default": "fp16", "*conv1*": "fp32"}])
def test_onnx_files_get_it_with_no_change(precision):
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    kernels = {f"{name}.weight": torch.randn(4, 4, 3, 3) / 6 for name in ("conv1", "conv2")}
    nodes = [
        helper.make_node("Conv", ["x", "conv1.weight"], ["a"], name="/conv1/Conv", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="/relu/Relu"),
        helper.make_node("Conv", ["b", "conv2.weight"], ["c"], name="/conv2/Conv", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], name="/pool/GlobalAveragePool"),
        helper.make_node("Softmax", ["d"], ["y"], name="/softmax/Softmax", axis=1),
    ]
    values = [numpy_helper.from_array(value.numpy(), name) for name, value in kernels.items()]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [2, 4, 8, 8]), ("y", [2, 4, 1, 1]))
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], values), opset_imports=[helper.make_opsetid("", 17)]
    )
    lower = trtconv.from_onnx(model.SerializeToString(), precision=precision, cache=False)
    first = "HALF" if precision == "fp16" else "FLOAT"
    assert types(lower.network, "CONVOLUTION") == [first, "HALF"] and types(lower.network, "SOFTMAX") == ["FLOAT"]
    x = torch.randn(2, 4, 8, 8)
    a = F.relu(F.conv2d(x, kernels["conv1.weight"], padding=1))
    y = F.conv2d(a, kernels["conv2.weight"], padding=1).mean((2, 3), True).softmax(1)
    torch.testing.assert_close(lower(x), y, rtol=2e-3, atol=1e-3)
    new = {name: value + 0.01 for name, value in kernels.items()}
    lower.update_weights(new)
    assert types(lower.network, "CONVOLUTION") == [first, "HALF"]
