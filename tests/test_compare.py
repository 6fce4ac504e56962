"""The measure of what is correct: that each kind of wrong result is called wrong, and rounding isn't."""

import math

import pytest
import torch

from trtconv.inspect import Comparison, compare, compare_tensors, join

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
X64 = torch.linspace(-3, 3, 2 * 4 * 6 * 5, dtype=torch.float64).cos().reshape(2, 4, 6, 5)
X64[:, 1] *= 1e-3
"""The second channel is small."""


def changed(values, place, value):
    result = values.clone()
    result[place] = value
    return result


def steps(values, place, count):
    """Some numbers of a tensor moved by so many units in the last place of the largest among them."""
    unit = torch.finfo(values.dtype).eps * values[place].abs().max()
    return changed(values, place, values[place] + count * unit)


@pytest.mark.parametrize("dtype", FLOATS)
def test_rounding_is_correct(dtype):
    own = X64.to(dtype)
    assert compare_tensors(X64, own, own).correct
    for place in ((0, 0, 0, 0), (0, 1, 0, 0)):
        assert compare_tensors(X64, own, steps(own, place, 0.5)).correct
    assert compare_tensors(X64, steps(own, (0, 0), 8), steps(own, (0, 0), -8)).correct


WRONG = {
    "infinite": lambda x: torch.full_like(x, math.inf),
    "not numbers": lambda x: torch.full_like(x, math.nan),
    "one infinite": lambda x: changed(x, (1, 1, 2, 3), math.inf),
    "one not a number": lambda x: changed(x, (1, 1, 2, 3), math.nan),
    "zeros": torch.zeros_like,
    "a channel off": lambda x: steps(x, (0, 2), 16),
    "a small channel off": lambda x: steps(x, (0, 1), 16),
    "a small channel zero": lambda x: changed(x, (slice(None), 1), 0),
    "a row off": lambda x: steps(x, (slice(None), slice(None), 3), 16),
    "another dtype": lambda x: x.double(),
    "another rank": lambda x: x[None],
    "broadcast": lambda x: x[:1],
    "empty": lambda x: x[:0],
    "no tensor": lambda x: 1.0,
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_called_wrong(name, dtype):
    own = X64.to(dtype)
    found = compare_tensors(X64, own, WRONG[name](own))
    assert not found.correct
    assert "WRONG" in str(found)


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinities_and_nans_stand_where_torch_has_them(dtype):
    precise = changed(changed(changed(X64, (0, 0, 0, 0), math.inf), (0, 0, 0, 1), -math.inf), (0, 0, 0, 2), math.nan)
    own = precise.to(dtype)
    assert compare_tensors(precise, own, own.clone()).correct
    for place, value in (((0, 0, 0, 0), -math.inf), ((0, 0, 0, 1), math.nan), ((0, 0, 0, 2), 0.0), ((0, 0, 0, 2), 1e4)):
        assert not compare_tensors(precise, own, changed(own, place, value)).correct
    everywhere = torch.full_like(own, math.inf)
    assert not compare_tensors(everywhere.double(), everywhere, -everywhere).correct


def test_the_dtype_decides_what_is_infinite():
    precise = torch.full((4, 8), 1e5, dtype=torch.float64)
    own = precise.half()
    assert compare_tensors(precise, own, own.clone()).correct
    assert not compare_tensors(precise, own, torch.full_like(own, 65504)).correct


@pytest.mark.parametrize("own", [torch.arange(6), torch.tensor([True, False]), torch.arange(200, dtype=torch.uint8)])
def test_integers_and_truths_are_equal(own):
    assert compare_tensors(own, own, own.clone()).correct
    other = own.clone()
    other[-1] = ~other[-1] if own.dtype is torch.bool else other[-1] + 1
    assert not compare_tensors(own, own, other).correct


def test_complex_numbers_are_measured_by_their_parts():
    precise = torch.complex(X64, X64 + 1)
    own = precise.to(torch.complex64)
    assert compare_tensors(precise, own, own.clone()).correct
    assert not compare_tensors(precise, own, own.conj().resolve_conj()).correct


def test_empty_and_single_numbers():
    empty = torch.empty(0, 3)
    assert compare_tensors(empty.double(), empty, empty).correct
    one = torch.tensor(2.0)
    assert compare_tensors(one.double(), one, one).correct
    assert not compare_tensors(one.double(), one, one + 1).correct


def slim(size, count, seed=0):
    """Numbers in `size` slices of `count` along axis 1, of which the third is small."""
    values = torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values[:, 2] = values[:, 2].sign() * 1e-3
    return values


@pytest.mark.parametrize("count", range(1, 8))
def test_slices_of_few_numbers_count(count):
    x64 = slim(64, count)
    own = x64.float()
    for wrong in (changed(own, (slice(None), 2), 0), steps(own, (slice(None), 2), 1e6)):
        assert not compare_tensors(x64, steps(own, (0, 9), 1e4), wrong).correct
    assert compare_tensors(x64, own, steps(own, (slice(None), 2), 0.5)).correct


@pytest.mark.parametrize("dtype", FLOATS)
def test_several_calls_make_a_slice_of_few_numbers_a_slice_of_many(dtype):
    calls = [slim(64, 2, seed) for seed in range(8)]
    found = join([Comparison((compare_tensors(x, x.to(dtype), x.to(dtype)),)) for x in calls])
    assert found.correct
    off = [steps(x.to(dtype), (slice(None), 2), 16) for x in calls]
    found = join([Comparison((compare_tensors(x, x.to(dtype), y),)) for x, y in zip(calls, off, strict=True)])
    assert not found.correct


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_bad_slice_of_pytorchs_excuses_no_other(dtype):
    own = X64.to(dtype)
    bad = steps(own, (slice(None), 0), 100)
    assert compare_tensors(X64, bad, steps(own, (slice(None), 0), 150)).correct
    assert not compare_tensors(X64, bad, steps(own, (slice(None), 2), 100)).correct
    assert not compare_tensors(X64, bad, steps(own, (slice(None), slice(None), 3), 100)).correct


@pytest.mark.parametrize("shape", [(1000,), (2, 500), (3, 5, 200), (6, 300), (8, 250), (40, 40), (3, 3)])
def test_luck_in_slices_is_correct(shape):
    """Both sides have errors of one distribution, which doesn't shrink where numbers happen to be near 0."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        x64, own, ours = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
        x64 = x64.float().double()
        found = compare_tensors(x64, (x64 + 3e-6 * own).float(), (x64 + 3e-6 * ours).float())
        assert all(slices.worst.share <= 1 for slices in found.slices.values()), str(found)


def test_numbers_that_only_float64_lacks_are_measured_by_pytorchs():
    own = X64.float()
    precise = changed(changed(X64, (0, 0, 0, 0), math.nan), (1, 2, 0, 0), math.inf)
    assert compare_tensors(precise, own, own.clone()).correct
    for place in ((0, 0, 0, 0), (1, 2, 0, 0)):
        assert compare_tensors(precise, own, steps(own, place, 0.5)).correct
        assert not compare_tensors(precise, own, changed(own, place, 2.0)).correct
    nowhere = compare_tensors(torch.full_like(X64, math.nan), own, own.clone())
    assert "float64 has no finite number" in nowhere.problem


def test_a_small_channel_is_named_by_its_axis():
    own = X64.float()
    found = compare_tensors(X64, own, steps(own, (slice(None), 1), 1000))
    assert found.whole.share > 0
    assert "of a slice's largest, along axis 1" in str(found)


def test_several_calls_are_judged_by_the_largest_errors_of_each_side():
    own = X64.float()
    good, bad = Comparison((compare_tensors(X64, steps(own, (0, 0), 4), own),)), None
    off = Comparison((compare_tensors(X64, own, steps(own, (0, 0), 6)),))
    assert not off.correct
    assert join([off, good]).correct
    bad = Comparison((compare_tensors(X64, own, steps(own, (0, 0), 60)),))
    assert not join([off, good, bad]).correct
    broken = Comparison((compare_tensors(X64, own, own[:1]),))
    assert not join([good, broken]).correct
    with pytest.raises(ValueError, match="no comparisons"):
        join([])


def test_a_module_that_returns_infinities_is_wrong():
    module = torch.nn.Linear(4, 4).eval()
    assert not compare(module, lambda x: module(x) * math.inf, torch.randn(3, 4)).correct
    assert compare(module, module, torch.randn(3, 4)).correct
