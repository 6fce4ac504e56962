"""The search for the fastest precision: it keeps the part that is bad, and goes on where it was broken off."""

import itertools
import json
import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import trtconv
from trtconv.calibration import observe
from trtconv.calibration.observing import Observer
from trtconv.calibration.work import products_of, work
from trtconv.passes.precision import use_precision
from trtconv.passes.precision_choice import Choice
from trtconv.search import relative_error

SIZE = 256
"""Large enough that half precision is less work than float32 with its casts."""


class Bad(nn.Module):
    """Overflows in fp16, and its terms cancel in bf16: the rules can tell neither."""

    def __init__(self, precision):
        super().__init__()
        self.up = nn.Sequential(nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE))
        self.down = nn.Sequential(nn.Linear(SIZE, SIZE, bias=False), nn.Linear(SIZE, SIZE))
        with torch.no_grad():
            if precision == "fp16":
                self.up[0].weight.mul_(1000)
                self.up[1].weight.mul_(1000)
                self.down[0].weight.mul_(1e-3)
                self.down[1].weight.mul_(1e-3)
            else:
                self.up[1].bias.fill_(300)
                self.down[0].weight.sub_(self.down[0].weight.mean(1, keepdim=True))

    def forward(self, x):
        return self.down(self.up(x))


class Model(nn.Module):
    def __init__(self, bad):
        super().__init__()
        self.first = nn.Sequential(*(nn.Linear(SIZE, SIZE) for _ in range(3)))
        self.middle = nn.ModuleDict({"good": nn.Linear(SIZE, SIZE), "bad": Bad(bad) if bad else nn.Identity()})
        self.last = nn.Linear(SIZE, SIZE)

    def forward(self, x, flag=None):
        x = torch.relu(self.first(x))
        return self.last(self.middle["bad"](self.middle["good"](x)) + x)


def make(bad="fp16"):
    torch.manual_seed(0)
    return Model(bad).eval(), [torch.randn(256, SIZE) for _ in range(3)]


class Counted:
    def __init__(self, most=math.inf):
        self.calls, self.most = 0, most

    def __call__(self, result, expected):
        self.calls += 1
        if self.calls > self.most:
            raise KeyboardInterrupt
        return relative_error(result, expected)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_bad_part_is_kept(precision):
    module, data = make(precision)
    found = trtconv.search_precision(module, data, budget=0.02, precision=precision, cache=False)
    assert found["default"] == precision
    kept = [key for key, name in found.items() if name == "fp32"]
    assert kept and all(key.startswith("middle.bad") for key in kept)
    converted = trtconv.convert(module, data[0], precision=found, cache=False)
    with torch.no_grad():
        assert relative_error(converted(data[0]), module(data[0])) <= 0.02


def test_nothing_is_kept_where_all_is_well_and_everything_where_nothing_is():
    module, data = make(None)
    assert trtconv.search_precision(module, data, cache=False) == {"default": "fp16"}
    assert trtconv.search_precision(module, iter(data), budget=0.0, cache=False) == {"default": "fp32"}


def test_a_metric_of_the_user_s_and_a_converted_module():
    module, data = make()
    converted = trtconv.convert(module, data[0], cache=False)

    def ignoring(result, expected):
        assert result.shape == expected.shape
        return 0.0

    assert trtconv.search_precision(converted, data, ignoring) == {"default": "fp16"}


def test_a_search_goes_on_where_it_was_broken_off(tmp_path):
    module, data = make()
    converted = trtconv.convert(module, data[0], cache=False)
    whole = Counted()
    expected = trtconv.search_precision(converted, data, whole, 0.02)
    state = tmp_path / "search.json"
    first, second, third = Counted(most=whole.calls // 2), Counted(), Counted()
    with pytest.raises(KeyboardInterrupt):
        trtconv.search_precision(converted, data, first, 0.02, state=state)
    assert trtconv.search_precision(converted, data, second, 0.02, state=state) == expected
    assert second.calls <= whole.calls - whole.calls // 2 + len(data)
    assert trtconv.search_precision(converted, data, third, 0.02, state=state) == expected
    assert third.calls == 0
    with pytest.raises(ValueError, match="another search"):
        trtconv.search_precision(converted, data[:2], Counted(), state=state)
    with pytest.raises(ValueError, match="another search"):
        trtconv.search_precision(converted, data, state=state)
    state.write_text(json.dumps({"numbers": 3}))
    with pytest.raises(ValueError, match="damaged"):
        trtconv.search_precision(converted, data, Counted(), state=state)
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": -1}, "budget"),
        ({"budget": math.nan}, "budget"),
        ({"precision": "fp32"}, "precision"),
        ({"calibration": []}, "calibration"),
    ],
)
def test_options_are_checked(options, words):
    module, data = make(None)
    with pytest.raises(ValueError, match=words):
        trtconv.search_precision(module, data, **options)


class Products(Observer):
    def __init__(self):
        self.count = 0.0

    def see_layer(self, layer, inputs, outputs):
        self.count += products_of(layer, inputs, outputs)


COUNTED = {
    "linear": lambda: (nn.Linear(8, 6), torch.randn(5, 8)),
    "convolution": lambda: (nn.Conv2d(4, 6, 3, stride=2, groups=2), torch.randn(2, 4, 9, 9)),
    "transposed": lambda: (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), torch.randn(2, 4, 5, 5)),
    "attention": lambda: (nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(2, 5, 8)),
}


@pytest.mark.parametrize("name", COUNTED)
def test_products_are_counted_as_pytorch_counts_them(name):
    module, x = COUNTED[name]()
    args = (x, x, x) if name == "attention" else (x,)
    module.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(*args)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    converted = trtconv.convert(module, args, cache=False)
    seen = Products()
    observe(converted.plan.segments[0].graph, [args], [seen], device=torch.device("cpu"))
    assert 2 * seen.count == counter.get_total_flops()


def test_half_precision_is_less_work_for_large_layers_only():
    seconds = {}
    for size, precision in itertools.product((8, 1024), ("fp32", "fp16")):
        module = nn.Sequential(nn.Linear(size, size), nn.Linear(size, size))
        graph = trtconv.convert(module, torch.randn(size, size), cache=False).plan.segments[0].graph
        graph = use_precision(graph, Choice.of(precision))
        seconds[size, precision] = sum(work(graph, [torch.randn(size, size)]).values())
    assert 0.45 < seconds[1024, "fp16"] / seconds[1024, "fp32"] < 0.8
