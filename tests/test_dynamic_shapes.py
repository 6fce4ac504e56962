import pytest
import torch
from cases import Function
from torch import nn

import trtconv
from trtconv import Dim
from trtconv.inspect import compare


class Net(nn.Module):
    """Sizes in views, in arithmetic, and in a decision that is the same for the whole range."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.linear = nn.Linear(4, 5)

    def forward(self, x):
        if x.shape[2] > 1000:
            x = x * 0
        y = self.conv(x)
        batch, channels, height, width = y.shape
        tokens = y.view(batch, channels, height * width).transpose(1, 2)
        return self.linear(tokens) + torch.arange(height * width)[:, None], y.mean((2, 3))


def convert(**shapes):
    return trtconv.convert(Net().eval(), torch.randn(2, 3, 16, 12), dynamic_shapes={"x": shapes["x"]})


@pytest.mark.parametrize("tf32", [True, False])
def test_sizes_inside_the_range(tf32):
    module = Net().eval()
    sizes = {0: Dim(min=1, max=5, opt=2), 2: (8, 16, 64), 3: torch.export.Dim("width", min=4, max=40)}
    converted = trtconv.convert(module, torch.randn(2, 3, 16, 12), dynamic_shapes={"x": sizes}, tf32=tf32)
    for shape in ((1, 3, 8, 4), (2, 3, 16, 12), (5, 3, 64, 40), (3, 3, 31, 17)):
        result = compare(module, converted, torch.randn(shape))
        assert result.correct, str(result)
    assert str(converted).startswith("TRTModule(input_0: float32[1..5, 3, 8..64, 4..40]")


def test_a_call_outside_the_range_names_input_dimension_value_and_range():
    converted = convert(x={0: Dim(1, 5)})
    with pytest.raises(trtconv.InputError, match=r"'x' is .* size 6 in dimension 0.*1 to 5.*{'x': {0: \(1, 2, 6\)}}"):
        converted(torch.randn(6, 3, 16, 12))
    with pytest.raises(
        trtconv.InputError, match=r"size 17 in dimension 2 has to be 16.*{'x': {0: \(1, 2, 5\), 2: \(16, 16, 17\)}}"
    ):
        converted(torch.randn(2, 3, 17, 12))
    with pytest.raises(trtconv.InputError, match=r"float32\[3, 16, 12\]"):
        converted(torch.randn(3, 16, 12))


def test_saved_modules_keep_their_ranges():
    converted = convert(x={0: Dim(1, 5)})
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(converted.state_dict())
    x = torch.randn(4, 3, 16, 12)
    assert all(map(torch.equal, loaded(x), converted(x)))
    with pytest.raises(trtconv.InputError, match="size 6"):
        loaded(torch.randn(6, 3, 16, 12))


@pytest.mark.parametrize("shared", [Dim(1, 9), "by name"])
def test_equal_sizes(shared):
    sizes = [Dim(1, 9, name="n"), Dim(1, 9, name="n")] if shared == "by name" else [shared, shared]
    module = Function(lambda x, y: x + y)
    converted = trtconv.convert(
        module,
        (torch.randn(4, 2), torch.randn(4, 2)),
        dynamic_shapes={"args": {0: {0: sizes[0]}, 1: {0: sizes[1]}}},
    )
    assert compare(module, converted, (torch.randn(7, 2), torch.randn(7, 2))).correct
    with pytest.raises(
        trtconv.InputError, match=r"'args\[1\]' is .*size 6.*the other inputs have .* = 7, which is the same size"
    ):
        converted(torch.randn(7, 2), torch.randn(6, 2))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"y": {0: Dim(1, 2)}}, r"names 'y'.*inputs are x"),
        ({"x": {4: Dim(1, 2)}}, r"dimension 4.*has 4"),
        ({"x": {0: Dim(3, 5)}}, r"x\.0: the example has size 2, outside of 3\.\.5"),
        ({"x": {0: (5, 3, 1)}}, r"0 <= min <= opt <= max"),
        ({"x": {0: 3}}, r"x\.0: the example has size 2, outside of 3\.\.3"),
        ({"x": {0: 2.5}}, r"2\.5 is no dynamic size"),
        ({"x": {0: torch.export.Dim("batch")}}, r"torch\.export\.Dim with min and max"),
        ({"x": {2: Dim(16, 24, name="n"), 3: Dim(8, 24, name="n")}}, r"'n' is 16\.\.24 elsewhere and 8\.\.24 here"),
        ({"x": 3}, r"dict from dimension to Dim"),
        ({"x": ((1, 3, 16, 12), (2, 3, 16, 12))}, r"the least, the best and the largest shape, each of 4"),
        ([{"x": {0: Dim(1, 2)}}, 3], r"a list of dicts, one a profile"),
        ([], r"a list of dicts"),
    ],
)
def test_options_that_do_not_fit(shapes, words):
    with pytest.raises(ValueError, match=words):
        trtconv.convert(Net().eval(), torch.randn(2, 3, 16, 12), dynamic_shapes=shapes)


def test_a_decision_by_size_names_the_line_and_the_ranges():
    def function(x):
        if x.shape[0] > 3:
            return x * 2
        return x * 3

    with pytest.raises(trtconv.CaptureError, match=r"test_dynamic_shapes\.py:\d+.*= 1\.\.3.*= 4\.\.5") as caught:
        trtconv.convert(Function(function), torch.randn(2, 3), dynamic_shapes={"args": {0: {0: Dim(1, 5)}}})
    assert f":{function.__code__.co_firstlineno + 1}:" in str(caught.value)


@pytest.mark.parametrize("factor", [3, 4])
def test_a_decision_for_one_size_must_make_no_difference(factor):
    def function(x, table):
        if x.shape[0] != table.shape[0]:
            table = table.expand(x.shape[0], -1)
            x = x * 3
        else:
            x = x * factor
        return x + table

    def convert():
        return trtconv.convert(
            Function(function), (torch.randn(2, 3), torch.randn(1, 3)), dynamic_shapes={"args": {0: {0: Dim(1, 5)}}}
        )

    if factor == 3:
        for size in (1, 5):
            assert compare(Function(function), convert(), (torch.randn(size, 3), torch.randn(1, 3))).correct
    else:
        with pytest.raises(trtconv.CaptureError, match=r"test_dynamic_shapes\.py:\d+.*= 2\.\.5 and not for .* = 1"):
            convert()


def test_a_decision_at_the_end_of_the_range_is_seen():
    """torch itself asks whether a size is 1 before the module does."""

    def function(x):
        y = (x @ torch.ones(3, 3)).transpose(0, 1).contiguous()
        return y * 2 if x.shape[0] == 1 else y * 3

    with pytest.raises(trtconv.CaptureError, match=r"test_dynamic_shapes\.py:\d+"):
        trtconv.convert(Function(function), torch.randn(2, 3), dynamic_shapes={"args": {0: {0: Dim(1, 5)}}})


def test_another_way_of_torch_to_the_same_result_is_taken():
    """torch leaves out a transposition and an axis where a size is 1."""

    def function(x, y):
        x = x.clone()
        x[:, torch.tensor([0, 2])] = y
        return x

    sizes = {0: {0: Dim(1, 5)}, 1: {0: Dim(1, 5)}}
    module = Function(function)
    converted = trtconv.convert(module, (torch.randn(2, 3), torch.randn(2, 2)), dynamic_shapes={"args": sizes})
    for batch in (1, 5):
        assert compare(module, converted, (torch.randn(batch, 3), torch.randn(batch, 2))).correct


def test_a_decision_of_torch_between_the_ends_is_seen():
    """torch drops the last window where the height is a multiple of 3."""
    module = nn.AvgPool2d(2, stride=3, ceil_mode=True)
    with pytest.raises(trtconv.CaptureError, match=r"avg_pool2d decides .* not for input\.2 = 6, 9, 12, 15"):
        trtconv.convert(module, torch.randn(1, 2, 11, 11), dynamic_shapes={"input": {2: Dim(4, 16)}})


def test_functions_that_fix_a_size_are_refused():
    module = Function(lambda x: torch.vander(x[0], x.shape[0]))
    with pytest.raises(trtconv.CaptureError, match=r"torch.vander takes numbers only for sizes, not args\[0\]\.0"):
        trtconv.convert(module, torch.randn(2, 3), dynamic_shapes={"args": {0: {0: Dim(1, 5)}}})


def test_static_conversions_have_no_symbols():
    converted = trtconv.convert(Net().eval(), torch.randn(2, 3, 16, 12))
    types = {layer.type for layer in converted.network.layers}
    assert "SHAPE" not in types


def test_a_size_as_a_result_says_what_to_do():
    sizes = {"args": {0: {0: Dim(1, 5)}}}
    with pytest.raises(trtconv.ConversionError, match=r"result holds a number that follows from a dynamic size"):
        trtconv.convert(Function(lambda x: (x, x.shape[0] * 2)), torch.randn(2, 3), dynamic_shapes=sizes)
    converted = trtconv.convert(
        Function(lambda x: torch.tensor(x.shape[0] * 2)), torch.ones(2, 3), dynamic_shapes=sizes
    )
    assert torch.equal(converted(torch.ones(5, 3)), torch.tensor(10))


def test_least_best_and_largest_shape():
    module = Net().eval()
    shapes = ((1, 3, 8, 12), (2, 3, 16, 12), (4, 3, 32, 12))
    converted = trtconv.convert(module, torch.randn(2, 3, 16, 12), dynamic_shapes={"x": shapes})
    assert converted.network.tensors[converted.network.inputs[0]].shape == (-1, 3, -1, 12)
    for shape in (*shapes, (3, 3, 27, 12)):
        assert compare(module, converted, torch.randn(shape)).correct
    with pytest.raises(trtconv.InputError, match="size 13 in dimension 3"):
        converted(torch.randn(1, 3, 8, 13))


class Skips(nn.Module):
    """Halves its maps twice and needs the same size again."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(c, 4, 3, stride=2, padding=1) for c in (3, 4))
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)

    def forward(self, x):
        first = self.down[0](x)
        second = self.up(self.down[1](first))
        return nn.functional.interpolate(torch.cat([first, second], 1), scale_factor=2.0) + x[:, :1]


@pytest.mark.parametrize("height", [Dim(8, 40, multiple_of=4), 4 * torch.export.Dim("h", min=2, max=10)])
def test_multiples(height):
    module = Skips().eval()
    width = Dim(16, 64, opt=32, multiple_of=4)
    converted = trtconv.convert(module, torch.randn(1, 3, 16, 32), dynamic_shapes={"x": {2: height, 3: width}})
    for shape in ((1, 3, 8, 16), (1, 3, 40, 64), (1, 3, 12, 44)):
        assert compare(module, converted, torch.randn(shape)).correct
    with pytest.raises(trtconv.InputError, match=r"size 10 in dimension 2.*8 to 40 in steps of 4"):
        converted(torch.randn(1, 3, 10, 16))
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(converted.state_dict())
    assert str(loaded) == str(converted) and "8..40 by 4" in str(loaded)


def test_profiles():
    module = Net().eval()
    profiles = [
        {"x": {0: Dim(1, 2, opt=1), 2: (8, 16, 40)}},
        {"x": {0: Dim(4, 16)}},
    ]
    converted = trtconv.convert(module, torch.randn(1, 3, 16, 12), dynamic_shapes=profiles)
    for shape in ((1, 3, 8, 12), (2, 3, 40, 12), (4, 3, 16, 12), (16, 3, 16, 12)):
        assert compare(module, converted, torch.randn(shape)).correct
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(converted.state_dict())
    for each in (converted, loaded):
        with pytest.raises(
            trtconv.InputError, match=r"no optimization profile.*x\.0 = 3.*x\.0 1 to 2, x\.2 8 to 40; x\.0 4"
        ):
            each(torch.randn(3, 3, 16, 12))
        with pytest.raises(trtconv.InputError, match="no optimization profile"):
            each(torch.randn(4, 3, 17, 12))


def test_sizes_that_are_equal_in_one_profile_only_are_two():
    shared = Dim(1, 9, name="n")
    profiles = [{"args": {0: {0: shared}, 1: {0: shared}}}, {"args": {0: {0: Dim(1, 9, name="n")}, 1: {0: Dim(1, 1)}}}]
    module = Function(lambda x, y: x.sum() + y.sum())
    converted = trtconv.convert(module, (torch.randn(1, 2), torch.randn(1, 2)), dynamic_shapes=profiles)
    assert compare(module, converted, (torch.randn(7, 2), torch.randn(1, 2))).correct


def test_ranges_from_a_data_set():
    def batches():
        for batch, length in ((2, 5), (3, 9), (2, 7)):
            yield {"x": {"ids": torch.randn(batch, length, 4), "mask": torch.ones(batch, length)}}

    shapes = trtconv.infer_dynamic_shapes(batches())
    assert shapes["x"]["ids"] == {0: Dim(2, 2, 3, name="x.ids.0"), 1: Dim(5, 7, 9, name="x.ids.1")}
    assert shapes["x"]["mask"][0] is shapes["x"]["ids"][0]
    module = Function(lambda x: (x["ids"] * x["mask"][..., None]).sum(1) / x["mask"].sum(1, keepdim=True))
    example = next(batches())
    converted = trtconv.convert(module, (example["x"],), dynamic_shapes={"args": {0: shapes["x"]}})
    for each in batches():
        assert compare(module, converted, (each["x"],)).correct
    assert trtconv.infer_dynamic_shapes([{"x": torch.ones(2)}] * 2) == {}
    with pytest.raises(ValueError, match="no examples"):
        trtconv.infer_dynamic_shapes([])
    with pytest.raises(ValueError, match=r"x \[2\], another x \[2, 1\]"):
        trtconv.infer_dynamic_shapes([{"x": torch.ones(2)}, {"x": torch.ones(2, 1)}])


def test_one_tensor_at_two_places_is_two_inputs():
    module = Function(lambda x, y, z: x.sum(0) + y["a"].sum(0) + z[0].sum(0))
    x = torch.randn(4, 2)
    shapes = {"args": {0: {0: (2, 4, 5)}, 1: {"a": {0: (4, 4, 9)}}}}
    converted = trtconv.convert(module, (x, {"a": x}, [x]), dynamic_shapes=shapes)
    assert compare(module, converted, (torch.randn(2, 2), {"a": torch.randn(9, 2)}, [torch.randn(4, 2)])).correct
    for args in ((torch.randn(9, 2), {"a": x}, [x]), (x, {"a": torch.randn(2, 2)}, [x]), (x, {"a": x}, [x[:3]])):
        with pytest.raises(trtconv.InputError):
            converted(*args)


def test_one_order_of_sizes():
    dim = Dim(1, 4, 8, name="n", multiple_of=1)
    assert (dim.min, dim.opt, dim.max) == (1, 4, 8) and dim == Dim(min=1, opt=4, max=8, name="n")
    assert (Dim(2, 32).min, Dim(2, 32).opt, Dim(2, 32).max) == (2, None, 32)
    for each in (dim, Dim(2, 32), Dim(8, 16, 64, multiple_of=8), Dim(3, max=5)):
        assert eval(repr(each)) == each
    assert repr(Dim(2, 32)) == "Dim(min=2, max=32)"


@pytest.mark.parametrize(
    ("sizes", "named", "error"),
    [
        ((5, 1), {}, ValueError),
        ((1, 8, 4), {}, ValueError),
        ((-1, 4), {}, ValueError),
        ((1, 2.5), {}, ValueError),
        ((True, 4), {}, ValueError),
        (("batch", 4), {}, ValueError),
        ((16, 60), {"multiple_of": 8}, ValueError),
        ((16, 64), {"multiple_of": 0}, ValueError),
        ((4,), {}, ValueError),
        ((1, 2, 3, 4), {}, TypeError),
        ((1, 4), {"min": 1}, TypeError),
    ],
)
def test_sizes_are_checked_when_they_are_made(sizes, named, error):
    with pytest.raises(error):
        Dim(*sizes, **named)


@pytest.mark.parametrize("labels", [True, False])
def test_ranges_from_a_data_loader(labels):
    images, numbers = torch.randn(10, 3, 16, 12), torch.arange(10)
    data = torch.utils.data.TensorDataset(images, numbers) if labels else images
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    module = Net().eval()
    shapes = trtconv.infer_dynamic_shapes(loader, module)
    assert shapes == {"x": {0: Dim(2, 4, 4, name="x.0")}}
    converted = trtconv.convert(module, [images[:4]], dynamic_shapes=shapes)
    for batch in loader:
        assert compare(module, converted, batch[0] if labels else batch).correct
    with pytest.raises(ValueError, match=r"infer_dynamic_shapes\(loader, module\)"):
        trtconv.infer_dynamic_shapes(loader)


def test_what_is_the_same_for_all_sizes_can_be_read():
    """A mask of ones that has the batch's size says that nothing is masked."""

    class Computed(nn.Module):
        def forward(self, x):
            mask = torch.ones(x.shape[:2]) * 2
            return x if mask.to(torch.bool).all() else -x

    class Filled(nn.Module):
        def forward(self, x):
            return x * 3 if torch.ones(x.shape[:2]).bool().all() else x

    x = torch.randn(3, 5)
    converted = trtconv.convert(Filled(), torch.randn(2, 5), dynamic_shapes={"x": {0: Dim(1, 4)}})
    assert torch.equal(converted(x), x * 3)
    with pytest.raises(trtconv.DataDependentError, match="Python reads"):
        trtconv.convert(Computed(), torch.randn(2, 5), dynamic_shapes={"x": {0: Dim(1, 4)}})
