"""Finding the smallest part of a network that goes wrong, with runners in the place of engines."""

import faults
import pytest
import stand_in_engine
import torch
from faults import PICTURES as X
from faults import Scales, count_of, doubled, line_of, with_fault
from torch import nn

import trtconv
from trtconv.errors import BuildError, EngineError
from trtconv.inspect import Part, bisect, compare
from trtconv.passes.edit import rewritten
from trtconv.reference import Interpreter


def interpreted(graph, feeds):
    return Interpreter(graph).run(feeds)


@pytest.fixture(scope="module")
def scales():
    torch.manual_seed(0)
    return trtconv.convert(Scales().eval(), (X,))


def wrong_where(is_met, kind, change):
    """What runs a graph rightly, unless it meets a condition: then layers of a type are replaced."""

    def run(graph, feeds):
        return interpreted(rewritten(graph, {kind: change}) if is_met(graph) else graph, feeds)

    return run


def test_layers_that_are_wrong_together_are_found(scales, tmp_path):
    """A builder that goes wrong where there are three resizes: from "wrong" to these three in one call."""
    run = wrong_where(lambda graph: count_of(graph, "RESIZE") >= 3, "RESIZE", doubled)
    found = bisect(scales, X, run=run, save=tmp_path / "wrong.py")
    assert found and [layer.type for layer in found.part.layers] == ["RESIZE"] * 3
    assert {layer.origin.line for layer in found.part.layers} == {line_of(Scales, "resize")}
    assert found.units > 25 and found.runs < 80
    text = str(found)
    assert f"{faults.__file__}:{line_of(Scales, 'resize')}" in text and "3 of" in text and "WRONG" in text
    assert "<table" in found._repr_html_()

    part = Part.load(tmp_path / "wrong.py")
    assert [layer.name for layer in part.layers] == [layer.name for layer in found.part.layers]
    assert part.compare(part.run(interpreted)).correct and not part.compare(part.run(run)).correct


@pytest.mark.parametrize(
    ("kind", "function", "module"),
    [("CONVOLUTION", "conv2d", "convs."), ("SOFTMAX", "softmax", ""), ("NORMALIZATION", "group_norm", "norm")],
)
def test_one_layer_that_is_wrong_is_found(scales, kind, function, module):
    kinds = {layer.type for layer in scales.network.layers}
    kind = next(each for each in kinds if each.startswith(kind))
    found = bisect(scales, X, run=wrong_where(lambda graph: True, kind, doubled))
    (layer,) = found.part.layers
    assert layer.type == kind and layer.origin.module.startswith(module) and function in layer.origin.function


def test_a_wrong_layer_after_a_right_module(scales):
    """`compare` and `bisect` name the same line, of the layer that was made wrong on purpose."""
    module = Scales().eval()
    converted = trtconv.convert(module, (X,))
    wrong = with_fault(converted, "SOFTMAX", doubled)
    begins = compare(module, wrong, X, layers=True).begins
    found = bisect(converted, X, run=wrong_where(lambda graph: count_of(graph, "SOFTMAX"), "SOFTMAX", doubled))
    assert found.part.layers[0].origin == begins.origin and found.part.layers[0].name in begins.layers


def test_what_rounding_explains_is_right(scales):
    """The results of convolutions are rounded to as many bits as TensorFloat-32 has, in every part."""

    def rounded(edit, layer):
        return edit.net.cast(edit.net.cast(edit.before(layer.outputs[0]), torch.float16), torch.float32)

    found = bisect(scales, X, run=wrong_where(lambda graph: True, "CONVOLUTION", rounded))
    assert not found and "Nothing goes wrong" in str(found)
    with pytest.raises(ValueError, match="nothing went wrong"):
        found.save("nowhere.py")


class Recurrent(nn.Module):
    """A loop, whose layers can't be taken apart, and the index of the largest."""

    def __init__(self):
        super().__init__()
        self.cells = nn.GRU(6, 6, num_layers=2)

    def forward(self, x):
        y, _ = self.cells(x * 2)
        return torch.tanh(y).argmax(-1), y.exp()  # exp


@pytest.mark.parametrize(("kind", "expected"), [("LOOP_OUTPUT", "gru"), ("UNARY", "exp")])
def test_loops_are_found_as_a_whole(kind, expected):
    torch.manual_seed(0)
    converted = trtconv.convert(Recurrent().eval(), (torch.randn(5, 2, 6),))
    found = bisect(converted, torch.randn(5, 2, 6), run=wrong_where(lambda graph: True, kind, doubled))
    assert {layer.origin.function.rpartition(".")[2] for layer in found.part.layers} == {expected}
    assert (count_of(found.part.graph, "RECURRENCE") > 0) == (expected == "gru")


class Overflowing(nn.Module):
    def forward(self, x):
        y = torch.relu(x)
        z = torch.exp(y * 100)  # overflow
        return z / (1 + z) + y


def test_a_check_of_the_users_finds_where_infinities_begin():
    x = torch.randn(3, 4)

    def finite(expected, got):
        assert expected.keys() == got.keys()
        return all(bool(each.isfinite().all()) for each in got.values())

    found = bisect(Overflowing(), x, finite)
    (layer,) = found.part.layers
    assert (layer.type, layer.origin.line) == ("UNARY", line_of(Overflowing, "overflow"))
    assert not bisect(Overflowing(), -x.abs(), finite)


def test_sizes_that_vary():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Flatten(1, 2), nn.Softmax(-1))
    converted = trtconv.convert(module.eval(), (X,), dynamic_shapes={"input": {0: (1, 2, 4), 3: (8, 16, 32)}})
    found = bisect(converted, X[:, :, :, :11], run=wrong_where(lambda graph: True, "RESIZE", doubled))
    assert count_of(found.part.graph, "RESIZE") == 1 and count_of(found.part.graph, "SOFTMAX") == 0


def test_parts_that_cannot_be_built_are_named(scales):
    right = wrong_where(lambda graph: True, "SOFTMAX", doubled)

    def run(graph, feeds):
        if len(graph.inputs) > 2:
            raise BuildError("TensorRT doesn't build this network.\nIt says nothing.")
        return right(graph, feeds)

    found = bisect(scales, X, run=run)
    assert [layer.type for layer in found.part.layers] == ["SOFTMAX"]
    assert "parts couldn't be built: TensorRT doesn't build this network." in str(found)

    def refuse(graph, feeds):
        raise BuildError("never")

    with pytest.raises(BuildError, match="never"):
        bisect(scales, X, run=refuse)


def test_what_cannot_go_wrong_is_refused(scales):
    with pytest.raises(ValueError, match="no engine here that could go wrong"):
        bisect(scales, X)
    with pytest.raises(ValueError, match="network wasn't kept"):
        bisect(trtconv.convert(nn.ReLU(), X, keep_network=False), X, run=interpreted)


def test_a_written_part_runs_without_the_models_code(scales, tmp_path):
    found = bisect(scales, X, run=wrong_where(lambda graph: True, "SOFTMAX", doubled), save=tmp_path / "wrong.py")
    text = (tmp_path / "wrong.py").read_text()
    assert found.part.layers[0].name in text and (tmp_path / "wrong.pt").stat().st_size < 20_000
    here = {"__file__": str(tmp_path / "wrong.py")}
    try:
        exec(compile(text, "wrong.py", "exec"), here)
    except EngineError:
        assert not torch.cuda.is_available()
    assert [layer.name for layer in here["part"].layers] == [layer.name for layer in found.part.layers]
    torch.save({"part": torch.zeros(3, dtype=torch.uint8)}, tmp_path / "wrong.pt")
    with pytest.raises(ValueError, match="no saved part"):
        Part.load(tmp_path / "wrong.pt")


class Negative(nn.Module):
    def forward(self, x):
        return torch.neg(x)  # neg


def test_engines_are_built_of_parts_and_of_networks_with_more_outputs(monkeypatch):
    """The stand-in for an engine gives 2 x + 1, whatever it was built of: what should be negative is wrong."""
    x = torch.randn(3, 4)
    options = {"input_names": ["x"], "output_names": ["y"]}
    wrong = trtconv.convert(Negative(), (x,), **options)
    right = trtconv.convert(TwicePlusOne(), (x,), **options)
    stand_in_engine.install(monkeypatch)
    found = bisect(wrong, x)
    (layer,) = found.part.layers
    assert (layer.type, layer.origin.line) == ("UNARY", line_of(Negative, "neg")) and found.runs == 1
    assert not bisect(right, x)
    assert compare(Negative(), wrong, x, layers=True).begins.origin.line == line_of(Negative, "neg")
    assert compare(TwicePlusOne(), right, x, layers=True).begins is None


class TwicePlusOne(nn.Module):
    def forward(self, x):
        return torch.add(torch.ones(4), x, alpha=2)
