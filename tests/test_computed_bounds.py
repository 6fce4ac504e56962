"""Slices, splits and windows whose bounds follow from a size: torch's results at every size of the range."""

import pytest
import torch
from cases import Function

import trtconv

LARGEST = 13


def check(function, least, largest=LARGEST, opt=7):
    """Convert for a range of the height; compare with torch at each of its sizes."""
    module = Function(function)
    converted = trtconv.convert(
        module, torch.randn(3, opt, 2), dynamic_shapes={"args": {0: {1: (least, opt, largest)}}}
    )
    for height in range(least, largest + 1):
        x = torch.randn(3, height, 2)
        given, expected = (
            result if isinstance(result, (tuple, list)) else (result,) for result in (converted(x), module(x))
        )
        assert len(given) == len(expected)
        for mine, theirs in zip(given, expected, strict=True):
            torch.testing.assert_close(mine, theirs, msg=lambda text, height=height: f"height {height}: {text}")


READS = {
    # of the height h: where the least height is that torch takes
    "from the middle": (0, lambda x, h: x[:, h // 2 :]),
    "to the middle": (0, lambda x, h: x[:, : h // 2]),
    "without a last half": (0, lambda x, h: x[:, : -(h // 2)]),
    "the last half": (0, lambda x, h: x[:, -(h // 2) :]),
    "all but the first, from the end": (0, lambda x, h: x[:, -h + 1 :]),
    "between quarters": (0, lambda x, h: x[:, h // 4 : -(h // 4)]),
    "three in the middle": (0, lambda x, h: x[:, (h - 3) // 2 : (h - 3) // 2 + 3]),
    "the last one": (1, lambda x, h: x[:, h - 1]),
    "the middle one": (1, lambda x, h: x[:, h // 2]),
    "one from the end": (1, lambda x, h: x[:, -(h // 2) - 1]),
    "by a number": (3, lambda x, h: (x[:, 2], x[:, -3], x[..., -1:, 0])),
    "every quarter": (4, lambda x, h: x[:, :: h // 4]),
    "every third": (0, lambda x, h: (x[:, 1::3], x[:, : h - 2 : 2])),
    "the first five": (0, lambda x, h: x[:, :5]),
    "the last five": (0, lambda x, h: x[:, -5:]),
    "without the last nine": (0, lambda x, h: x[:, :-9]),
    "from the ninth": (0, lambda x, h: x[:, 9:]),
    "some": (0, lambda x, h: (x[:, 2:9], x[:, -7:-2], x[:, 5:-5])),
    "to beyond the end": (0, lambda x, h: x[:, : h + 3]),
    "to the smaller": (0, lambda x, h: x[:, : torch.sym_min(h, 5)]),
    "five less": (0, lambda x, h: (x[:, h - 5 :], x[:, torch.sym_max(h - 5, 0) :])),
    "with other indices": (1, lambda x, h: (x[1, h // 2 :, None], x[:, h // 2, torch.tensor([1, 0, 1])])),
    "masks": (0, lambda x, h: x[torch.tensor([True, False, True]), : h // 2]),
    "turned round": (0, lambda x, h: torch.cat([x[:, h // 2 :], x[:, : h // 2]], 1)),
    "a table": (1, lambda x, h: (torch.arange(40.0)[:h] * x[..., 0], torch.arange(40.0)[-h:] * x[..., 0])),
    "split by sizes": (0, lambda x, h: x.split([h // 2, h - h // 2], 1)),
    "split": (2, lambda x, h: x.split((h + 1) // 2, 1)),
    "chunks": (5, lambda x, h: (*x.chunk(2, 1), *x.chunk(3, 1))),
    "tensor_split": (0, lambda x, h: (*x.tensor_split(3, 1), *x.tensor_split([h // 2], 1), *x.hsplit([h // 2, 4]))),
    "narrow": (2, lambda x, h: (x.narrow(1, h // 2, h - h // 2), x.narrow(1, h // 4, h // 2), x.narrow(1, -2, 2))),
    "roll": (1, lambda x, h: (x.roll(h // 2, 1), x.roll(-(h // 2), 1), x.roll(3, 1), x.roll(h // 2))),
    "windows of half the height": (2, lambda x, h: (x.unfold(1, h // 2, 1), x.unfold(1, h // 2, h // 2))),
    "windows half the height apart": (4, lambda x, h: x.unfold(1, 2, h // 2)),
    "windows": (3, lambda x, h: (x.unfold(1, 3, 2), x.unfold(1, 2, 3), x.unfold(1, 3, 3))),
    "diagonals": (0, lambda x, h: (x.diagonal(h // 2), torch.diagonal(x, -(h // 2), 1, 0), x[0].diagonal())),
    "triangles": (0, lambda x, h: (x.tril(h // 2 - 1), torch.triu(x, -(h // 3)))),
    "every place": (0, lambda x, h: (x[:, torch.arange(h // 2)], x.index_select(1, torch.arange(h - 1, -1, -1)))),
    "neighbours": (0, lambda x, h: x[:, 1:] - x[:, :-1]),
    "pairs": (2, lambda x, h: x[:, : h // 2 * 2].reshape(3, -1, 2, 2)),
}


@pytest.mark.parametrize("name", READS)
def test_reading(name):
    least, function = READS[name]
    check(lambda x: function(x, x.shape[1]), least)


def swap(y, h):
    y[:, : h // 2] = y[:, h - h // 2 :].clone()


WRITES = {
    "from the middle": (0, lambda y, h: y[:, h // 2 :].fill_(7)),
    "the last half": (0, lambda y, h: y.__setitem__((slice(None), slice(-(h // 2), None)), 7)),
    "without a last half": (0, lambda y, h: y.__setitem__((slice(None), slice(None, -(h // 2))), 7)),
    "all but the first": (1, lambda y, h: y.__setitem__((slice(None), slice(-h + 1, None)), y[:1, :1] * 2)),
    "the last one": (1, lambda y, h: y.__setitem__((slice(None), h - 1), 7)),
    "the middle one": (1, lambda y, h: y.select(1, h // 2).mul_(5)),
    "the first five": (0, lambda y, h: y.__setitem__((slice(None), slice(None, 5)), 7)),
    "the last five": (0, lambda y, h: y.__setitem__((slice(None), slice(-5, None)), 7)),
    "every second": (0, lambda y, h: (y[:, ::2].fill_(1), y[:, 1::2].mul_(3))),
    "every second to an end": (0, lambda y, h: y.__setitem__((slice(None), slice(1, h // 2, 2)), 7)),
    "every quarter": (4, lambda y, h: y.__setitem__((slice(None), slice(None, None, h // 4)), 7)),
    "one further": (0, lambda y, h: y.__setitem__((slice(None), slice(1, None)), y[:, :-1].clone())),
    "halves swapped": (0, swap),
    "parts": (0, lambda y, h: (y.split([h // 2, h - h // 2], 1)[1].add_(3), y.narrow(1, h // 4, h // 2).mul_(3))),
    "chunks": (2, lambda y, h: y.chunk(2, 1)[1].add_(3)),
    "at indices": (0, lambda y, h: y.__setitem__((slice(None), torch.arange(h // 2)), 7)),
    "with other indices": (1, lambda y, h: y.__setitem__((slice(None), slice(h // 2, None), torch.tensor([1])), 7)),
    "diagonals": (0, lambda y, h: (y[:, :3, 0].diagonal().fill_(5), y.diagonal(h // 2).mul_(2))),
    "masked": (0, lambda y, h: y[:, 2:].masked_fill_(y[:, 2:] > 0, 0)),
    "transposed": (0, lambda y, h: y.transpose(0, 1)[h // 2 :].fill_(1)),
    "flat": (0, lambda y, h: y.view(-1)[h:].fill_(1)),
    "windows": (2, lambda y, h: y.unfold(1, h // 2, h // 2).mul_(2)),
    "windows with gaps": (3, lambda y, h: (y.unfold(1, 2, 3).mul_(2), y.unfold(1, 3, 3).add_(1))),
}


@pytest.mark.parametrize("name", WRITES)
def test_writing(name):
    least, write = WRITES[name]

    def function(x):
        y = x * 2
        write(y, x.shape[1])
        return y

    check(function, least)


def test_writing_to_a_part_of_zeros():
    def function(x):
        h = x.shape[1]
        wide, fixed = x.new_zeros(3, 2 * h, 2), torch.zeros(3, 20, 2)
        wide[:, h // 2 : h // 2 + h] = x
        fixed[:, :h] = x
        return wide, fixed

    check(function, 0)


def test_long_ranges():
    """What is too long to be tried at each size follows from what divisions lie between."""
    module = Function(lambda x: (x[:, x.shape[1] // 2 :], x[:, : -(x.shape[1] // 3)], x[:, -5:]))
    converted = trtconv.convert(module, torch.randn(1, 99999), dynamic_shapes={"args": {0: {1: (3, 99999, 500000)}}})
    for length in (3, 4, 7, 99999, 500000):
        x = torch.randn(1, length)
        assert all(map(torch.equal, converted(x), module(x)))


@pytest.mark.parametrize(
    ("function", "least", "words"),
    [
        (lambda x: x[:, 2], 1, r"args\[0\]\.1 = 1 itself \(IndexError.*takes args\[0\]\.1 = 3\.\.13"),
        (lambda x: x[:, :: x.shape[1] // 4], 2, r"zero.*takes args\[0\]\.1 = 4\.\.13"),
        (lambda x: x.unfold(1, 4, 1), 2, r"takes args\[0\]\.1 = 4\.\.13"),
        (lambda x: x.chunk(3, 1), 3, r"torch.chunk gives 3 tensors for args\[0\]\.1 = 3, 5\.\.13 and another .* = 4\."),
        (lambda x: torch.stack([row * 2 for row in x[0]]), 3, r"torch.unbind gives 7 tensors for args\[0\]\.1 = 7 and"),
        (lambda x: x.squeeze(1), 1, r"squeeze decides by a dynamic size: .* not for args\[0\]\.1 = 1\."),
    ],
)
def test_sizes_that_do_not_work_are_named(function, least, words):
    with pytest.raises(trtconv.CaptureError, match=r"test_computed_bounds\.py:\d+: .*" + words) as caught:
        check(function, least)
    assert f":{function.__code__.co_firstlineno}:" in str(caught.value)
