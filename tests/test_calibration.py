"""Calibration data of all kinds, as calls of the module, and the run that observers watch."""

import io
import weakref

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

import trtconv
from trtconv.calibration import Observer, observe, pictures, samples
from trtconv.errors import InputError

ITEMS = [torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(6)]


class Pictures(Dataset):
    """As torchvision's data sets: (picture, label), and no end to iterate to."""

    def __len__(self):
        return len(ITEMS)

    def __getitem__(self, index):
        return ITEMS[index % len(ITEMS)], index


class Stream(IterableDataset):
    def __iter__(self):
        return iter(ITEMS)


@pytest.fixture(scope="module")
def converted():
    return trtconv.convert(nn.Conv2d(3, 2, 3), [torch.randn(2, 3, 4, 4)], cache=False)


def calls(data, converted):
    found = list(samples(data, converted.plan.signature))
    for call in found:
        converted(*call)  # so it fits
    return [call[0] for call in found]


DATA = {
    "tensor": lambda: torch.stack(ITEMS),
    "items": lambda: ITEMS,
    "generator": lambda: (x for x in ITEMS),
    "batches": lambda: [torch.stack(ITEMS[:2]), torch.stack(ITEMS[2:4]), torch.stack(ITEMS[4:])],
    "batches of another size": lambda: [torch.stack(ITEMS[:5]), ITEMS[5][None]],
    "batches and items": lambda: [torch.stack(ITEMS[:1]), *ITEMS[1:]],
    "tuples": lambda: [(x,) for x in ITEMS],
    "dicts": lambda: [{"input": x, "label": 3} for x in ITEMS],
    "arrays": lambda: [x.numpy() for x in ITEMS],
    "data set": Pictures,
    "stream": Stream,
    "loader": lambda: DataLoader(Pictures(), batch_size=4),
    "loader of items": lambda: DataLoader(Stream(), batch_size=None),
}


@pytest.mark.parametrize("name", DATA)
def test_every_kind_of_data_gives_the_same_calls(name, converted):
    found = calls(DATA[name](), converted)
    assert torch.equal(torch.cat(found), torch.stack(ITEMS))
    assert all(len(x) == 2 for x in found)


def test_a_batch_that_is_not_full_has_some_items_twice(converted):
    found = calls(ITEMS[:3], converted)
    assert torch.equal(torch.cat(found), torch.stack([*ITEMS[:3], ITEMS[2]]))


WRONG = {
    "nothing": ([], ValueError, "at least one sample"),
    "a path": ("pictures", TypeError, "trtconv.calibration.pictures"),
    "one sample": ({"input": ITEMS[0]}, TypeError, "a list of them"),
    "a number": (3, TypeError, "DataLoader"),
    "a shape": ([ITEMS[0], torch.randn(3, 5, 4)], InputError, "sample 1.*size 5 in dimension 2 has to be 4"),
    "a batch's shape": ([torch.randn(7, 3, 5, 4)], InputError, "sample 0.*size 5 in dimension 2 has to be 4"),
    "dimensions": ([torch.randn(4, 4)], InputError, "sample 0.*number of dimensions"),
    "a dtype": ([*ITEMS, ITEMS[0].double()], InputError, r"sample 6.*to\(torch.float32\)"),
    "no tensor": ([("picture", 1)], InputError, "sample 0.*transform"),
    "a name": ([{"picture": ITEMS[0]}], InputError, "sample 0.*'picture'.*'input'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_said_with_its_index(name, converted):
    data, error, words = WRONG[name]
    with pytest.raises(error, match=words):
        calls(data, converted)


class Masked(nn.Module):
    def forward(self, x, scale=2.0, *, mask=None):
        return x * scale if mask is None else x * scale * mask["weights"]


@pytest.mark.parametrize("size", [(1, 4), 4])
def test_several_arguments(size):
    """Those that held tensors at the conversion are taken, the others stay; sizes that vary are kept."""
    shapes = {"x": {0: (1, 4, 8), 1: (1, 4, 9)}, "mask": {"weights": {0: (1, 4, 8), 1: (1, 4, 9)}}}
    example = torch.randn(4, 4)
    converted = trtconv.convert(
        Masked(), [example, 3.0], {"mask": {"weights": example}}, dynamic_shapes=shapes, cache=False
    )
    x, weights = torch.randn(size), torch.randn(size)
    found = list(samples([{"x": x, "mask": {"weights": weights}, "label": "cat"}], converted.plan.signature))
    assert [len(call) for call in found] == [2]
    assert torch.equal(found[0][0], x.reshape(1, 4)) and torch.equal(found[0][1], weights.reshape(1, 4))
    with pytest.raises(InputError, match=r"sample 0.*'x', 'mask'.*dict"):
        list(samples([(x, 3.0)], converted.plan.signature))
    with pytest.raises(InputError, match=r"sample 0.*'mask' is missing"):
        list(samples([{"x": x}], converted.plan.signature))


def test_items_of_other_shapes_begin_a_new_batch():
    converted = trtconv.convert(
        nn.ReLU(), [torch.randn(2, 4)], dynamic_shapes={"input": {0: (2, 2, 2), 1: (1, 4, 9)}}, cache=False
    )
    data = [torch.randn(length) for length in (4, 4, 7, 5, 5)]
    found = calls(data, converted)
    assert [tuple(x.shape) for x in found] == [(2, 4), (2, 7), (2, 5)]
    assert torch.equal(found[1], torch.stack([data[2], data[2]]))


def test_a_folder_of_pictures(tmp_path, converted):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "inside").mkdir()
    for place in ("b.png", "inside/a.jpg"):
        image.new("RGB", (4, 4), "red").save(tmp_path / place)
    (tmp_path / "notes.txt").write_text("no picture")

    def transform(picture):
        return torch.from_numpy(numpy.array(picture)).permute(2, 0, 1) / 255

    found = pictures(tmp_path, transform)
    assert len(found) == 2
    assert len(calls(found, converted)) == 1
    with pytest.raises(ValueError, match="no pictures"):
        pictures(tmp_path / "nowhere", transform)
    with pytest.raises(TypeError, match="transform"):
        pictures(tmp_path, None)


class Seen(Observer):
    def __init__(self):
        self.tensors, self.layers, self.alive = [], [], []

    def see_tensor(self, name, value):
        self.tensors.append(name)
        self.alive.append(weakref.ref(value))

    def see_layer(self, layer, inputs, outputs):
        self.layers.append(layer.type)
        assert len(inputs) == len(layer.inputs)
        self.most = max(getattr(self, "most", 0), sum(each() is not None for each in self.alive))


def test_observers_see_every_tensor_once_a_sample_and_none_is_kept():
    module = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(8)))
    graph = trtconv.convert(module, [torch.randn(2, 4)], cache=False).plan.segments[0].graph
    made = [name for layer in graph.layers for name in layer.outputs]
    fixed = {layer.outputs[0] for layer in graph.layers if layer.type == "CONSTANT"}
    seen = Seen()
    assert observe(graph, [[torch.randn(2, 4)]] * 3, [seen], device=torch.device("cpu")) == 3
    assert set(seen.tensors) == {*made, *graph.inputs}
    assert all(seen.tensors.count(name) == (1 if name in fixed else 3) for name in fixed | set(graph.inputs))
    assert seen.layers.count("MATRIX_MULTIPLY") == 24
    assert seen.most <= len(fixed) * 2 + 4


def test_a_bar_shows_progress_in_a_terminal_only(converted, monkeypatch):
    pytest.importorskip("tqdm")

    class Terminal(io.StringIO):
        def isatty(self):
            return self.is_one

    for is_one in (True, False):
        Terminal.is_one = is_one
        screen = Terminal()
        monkeypatch.setattr("sys.stderr", screen)
        calls(ITEMS, converted)
        assert ("Calibrating" in screen.getvalue()) is is_one
