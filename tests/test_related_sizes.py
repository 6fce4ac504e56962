"""Sizes of inputs that follow from one another: given as such, or found."""

import pytest
import torch
from cases import Function

import trtconv
from trtconv import Dim
from trtconv.inspect import compare

h = Dim(2, 4, 9, name="h")
past, new = Dim("past", 1, 4, 9), Dim("new", 1, 2, 5)
root = torch.export.Dim("n", min=2, max=9)


def mask_of_past_and_one(x, mask):
    return torch.cat([x, x[:1]]) * mask[:, None]


def mask_of_past_and_new(x, y, mask):
    return torch.cat([x, y]) * mask[:, None]


def twice(x, skip):
    return torch.cat([x, x]) + skip


def upsampled(x, skip):
    return torch.nn.functional.interpolate(x, scale_factor=2.0) + skip


def table_of_positions(x, table):
    return torch.nn.functional.avg_pool2d(x, 16).flatten(2) + table


CASES = {
    "past + 1": (mask_of_past_and_one, lambda n: ((n, 3), (n + 1,)), [past, past + 1], (1, 4, 9)),
    "by name": (mask_of_past_and_one, lambda n: ((n, 3), (n + 1,)), [past, Dim("past") + 1], (1, 4, 9)),
    "past + new": (
        *(mask_of_past_and_new, lambda n, m: ((n, 3), (m, 3), (n + m,))),
        *([past, new, past + new], (1, 4, 9), (1, 2, 5)),
    ),
    "the other way": (twice, lambda n: ((n, 3), (2 * n, 3)), [2 * h - h, h * 2], (2, 4, 9)),
    "a multiple alone": (lambda x, y: x * 2 + y, lambda n: ((2 * n, 3), (2 * n, 3)), [2 * h, 2 * h], (2, 4, 9)),
    "a multiple and one": (twice, lambda n: ((2 * n + 1, 3), (4 * n + 2, 3)), [2 * h + 1, 4 * h + 2], (2, 4, 9)),
    "torch's and one": (mask_of_past_and_one, lambda n: ((n, 3), (n + 1,)), [root, root + 1], (2, 4, 9)),
    "a half": (lambda x, y: x[::2] + y, lambda n: ((n, 3), ((n + 1) // 2, 3)), [h, (h + 1) // 2], (2, 4, 9)),
    "equal": (lambda x, y: x + y, lambda n: ((n, 3), (n, 3)), [past, past], (1, 4, 9)),
}
"""Per form the function, the shapes of its arguments, their first sizes as given, and least, best and most."""


def of_shapes(shapes):
    return tuple(torch.randn(shape) for shape in shapes)


def some_of(*spans):
    """Sizes at the ends, those to optimize for, and two odd ones."""
    low, best, high = zip(*spans, strict=True)
    odd = [tuple(min(b + k, c) - (k == 2) for a, b, c in spans) for k in (1, 3)]
    return [low, best, high, *odd]


def check(function, converted, shapes, spans):
    for sizes in some_of(*spans):
        result = compare(Function(function), converted, of_shapes(shapes(*sizes)))
        assert result.correct, (sizes, str(result))


def given(sizes):
    return {"args": {index: {0: size} for index, size in enumerate(sizes)}}


@pytest.mark.parametrize("case", CASES)
def test_relations_that_are_given(case):
    function, shapes, sizes, *spans = CASES[case]
    example = of_shapes(shapes(*(best for _, best, _ in spans)))
    converted = trtconv.convert(Function(function), example, dynamic_shapes=given(sizes))
    check(function, converted, shapes, spans)
    wrong = [list(shape) for shape in shapes(*(high for *_, high in spans))]
    wrong[-1][0] -= 1
    with pytest.raises(trtconv.InputError, match=rf"size {wrong[-1][0]} in dimension 0|with size"):
        converted(*of_shapes(wrong))
    loaded = trtconv.TRTModule()
    loaded.load_state_dict(converted.state_dict())
    assert loaded.signature == converted.signature


FOUND = {
    "equal, from 1": (lambda x, y: x + y, lambda n: ((n, 3), (n, 3)), (1, 4, 9)),
    "equal, in a product": (lambda x, y: x @ y, lambda n: ((n, 2, 3), (n, 3, 2)), (1, 4, 9)),
    "past + 1": (mask_of_past_and_one, lambda n: ((n, 3), (n + 1,)), (1, 4, 9)),
    "past + new": (mask_of_past_and_new, lambda n, m: ((n, 3), (m, 3), (n + m,)), (1, 4, 9), (1, 2, 5)),
    "as many new as past": (mask_of_past_and_new, lambda n, m: ((n, 3), (m, 3), (n + m,)), (1, 4, 9), (1, 4, 9)),
    "a multiple": (twice, lambda n: ((n, 3), (2 * n, 3)), (1, 4, 9)),
    "a map of twice the size": (
        *(upsampled, lambda n, m: ((1, 2, n, m), (1, 2, 2 * n, 2 * m))),
        *((2, 4, 9), (2, 4, 9)),
    ),
    "a stride": (
        *(table_of_positions, lambda n, m: ((1, 3, 16 * n, 16 * m), (n * m,))),
        *((1, 2, 5), (1, 3, 5)),
    ),
}
"""Per relation the function, the shapes of its arguments by sizes, and the least, best and most of those."""


@pytest.mark.parametrize("case", FOUND)
def test_relations_that_are_found(case):
    function, shapes, *spans = FOUND[case]
    low, best, high = (shapes(*sizes) for sizes in zip(*spans, strict=True))
    varying = {
        index: {dim: sizes for dim, sizes in enumerate(zip(*each, strict=True)) if sizes[0] < sizes[2]}
        for index, each in enumerate(zip(low, best, high, strict=True))
    }
    converted = trtconv.convert(Function(function), of_shapes(best), dynamic_shapes={"args": varying})
    check(function, converted, shapes, spans)
    wrong = [list(shape) for shape in best]
    dim = max(varying[len(best) - 1])
    wrong[-1][dim] += 1
    with pytest.raises(trtconv.InputError, match=r"it has to be|the other inputs have"):
        converted(*of_shapes(wrong))


def test_a_message_says_the_relation():
    converted = trtconv.convert(
        Function(mask_of_past_and_new), of_shapes(((4, 3), (2, 3), (6,))), dynamic_shapes=given([past, new, past + new])
    )
    with pytest.raises(
        trtconv.InputError,
        match=r"'args\[2\]' is float32\[5\], with size 5 in dimension 0; it has to be past \+ new, which is 4 for "
        r"past = 3, new = 1",
    ):
        converted(*of_shapes(((3, 3), (1, 3), (5,))))
    with pytest.raises(trtconv.InputError, match=r"size 10 in dimension 0 has to be 1 to 9"):
        converted(*of_shapes(((10, 3), (1, 3), (11,))))
    only_odd = trtconv.convert(
        Function(torch.add), of_shapes(((9, 3), (9, 3))), dynamic_shapes=given([2 * h + 1, 2 * h + 1])
    )
    for size in (8, 21):
        with pytest.raises(trtconv.InputError, match=rf"size {size}.* it has to be 2 \* h \+ 1, with h 2 to 9"):
            only_odd(*of_shapes(((size, 3), (size, 3))))


def test_ranges_of_one_size_are_narrowed():
    both = of_shapes(((4, 3), (4, 3)))
    converted = trtconv.convert(Function(torch.add), both, dynamic_shapes=given([(2, 4, 8), (3, 4, 9)]))
    assert converted.signature.ranges["args[0].0"].profiles == ((3, 4, 8),)
    longer = of_shapes(((4, 3), (8, 3)))
    converted = trtconv.convert(Function(twice), longer, dynamic_shapes=given([(1, 4, 9), (5, 8, 9)]))
    assert converted.signature.inputs[0].shape[0].profiles == ((3, 4, 4),)
    with pytest.raises(trtconv.InputError, match="size 2 in dimension 0 has to be 3 to 4"):
        converted(*of_shapes(((2, 3), (4, 3))))
    profiles = [given([(2, 4, 8), (2, 4, 8)]), given([(9, 9, 9), (10, 10, 12)])]
    with pytest.raises(trtconv.CaptureError, match=r"args\[1\]\.0 \(2\.\.12\) .* has to be args\[0\]\.0; no two sizes"):
        trtconv.convert(Function(torch.add), both, dynamic_shapes=profiles)


def test_what_python_asks_for_is_a_relation():
    def checked(x, y):
        if x.shape[0] != y.shape[0]:
            raise ValueError("unequal")
        return x.sum(0) + y.sum(0)

    converted = trtconv.convert(
        Function(checked), of_shapes(((4, 3), (4, 3))), dynamic_shapes=given([(2, 4, 8), (2, 4, 8)])
    )
    check(checked, converted, lambda n: ((n, 3), (n, 3)), [(2, 4, 8)])


def test_a_decision_between_sizes_says_how_to_make_them_one():
    def decides(x, y):
        return x.sum(0) + y.sum(0) if x.shape[0] == y.shape[0] else x.sum(0) - y.sum(0)

    with pytest.raises(
        trtconv.CaptureError,
        match=r"test_related_sizes\.py:\d+: .* Where args\[0\]\.0 is always args\[1\]\.0, give both .*Dim",
    ):
        trtconv.convert(Function(decides), of_shapes(((4, 3), (4, 3))), dynamic_shapes=given([(2, 4, 8), (2, 4, 8)]))


def test_sizes_that_have_to_be_equal_and_are_not():
    shapes = given([(2, 4, 8), (2, 5, 8)])
    words = r"args\[1\]\.0 \(2\.\.8\) and args\[0\]\.0 .* has to be args\[0\]\.0; in the example input it is 5, not 4"
    with pytest.raises(trtconv.CaptureError, match=words):
        trtconv.convert(Function(torch.add), of_shapes(((4, 3), (5, 3))), dynamic_shapes=shapes)
    with pytest.raises(trtconv.CaptureError, match=r"args\[0\]\.0.* let it vary too, by the same Dim"):
        trtconv.convert(Function(torch.add), of_shapes(((4, 3), (4, 3))), dynamic_shapes=given([(2, 4, 8), 4]))


def test_sizes_that_are_equal_by_chance_stay_two():
    """The module takes multiples of 4 only, so that no unusual sizes can be tried, and the example is square."""

    def blurred(x):
        y = torch.nn.functional.avg_pool2d(x, 4)
        return torch.nn.functional.interpolate(y, scale_factor=4.0) + x + torch.zeros(x.shape[2:])

    sizes = {"args": {0: {2: (8, 16, 32), 3: (8, 16, 32)}}}
    converted = trtconv.convert(Function(blurred), torch.randn(1, 1, 16, 16), dynamic_shapes=sizes)
    for shape in ((8, 32), (16, 16), (32, 12)):
        assert compare(Function(blurred), converted, torch.randn(1, 1, *shape)).correct


PROFILES = {
    "by numbers": [given([0, new, new]), given([past, 1, past + 1])],
    "by one name": [
        given([Dim("p", 0, 0), Dim("n", 1, 5), Dim("p") + Dim("n")]),
        given([Dim("p", 1, 9), Dim("n", 1, 1), Dim("p") + Dim("n")]),
    ],
    "found": [given([0, (1, 2, 5), (1, 2, 5)]), given([(1, 4, 9), 1, (2, 5, 10)])],
}


@pytest.mark.parametrize("form", PROFILES)
def test_profiles_that_fix_a_size_each(form):
    example = of_shapes(((0, 3), (2, 3), (2,))) if form != "by one name" else of_shapes(((0, 3), (1, 3), (1,)))
    converted = trtconv.convert(Function(mask_of_past_and_new), example, dynamic_shapes=PROFILES[form])
    for n, m in ((0, 1), (0, 2), (0, 5), (1, 1), (4, 1), (7, 1), (9, 1)):
        inputs = of_shapes(((n, 3), (m, 3), (n + m,)))
        assert compare(Function(mask_of_past_and_new), converted, inputs).correct
    with pytest.raises(trtconv.InputError, match="no optimization profile"):
        converted(*of_shapes(((2, 3), (2, 3), (4,))))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([past, Dim("future") + 1], r"args\[1\]\.0: Dim\('future'\) has no limits"),
        ([past, past + 2], r"args\[1\]\.0: the example has size 5, and past \+ 2 is 6 there"),
        ([past, past + new], r"args\[1\]\.0: 'new' can't be told from the sizes of the inputs"),
        ([4, 3 * new], r"args\[1\]\.0: the example has size 5, which no 3 \* new is"),
        ([past, past], r"args\[1\]\.0: the example has size 5; args\[0\]\.0, which is the same size, has 4"),
    ],
)
def test_relations_that_do_not_fit(sizes, words):
    with pytest.raises(ValueError, match=words):
        trtconv.convert(Function(mask_of_past_and_one), of_shapes(((4, 3), (5,))), dynamic_shapes=given(sizes))


def test_arithmetic_on_dims():
    a, b = Dim("a", 1, 8), Dim("b", 1, 8)
    assert repr((a + 1) * 2 - b // 2 + a) == (
        "(Dim(min=1, max=8, name='a') + 1) * 2 - Dim(min=1, max=8, name='b') // 2 + Dim(min=1, max=8, name='a')"
    )
    for wrong in (lambda: a // 0, lambda: a // b):
        with pytest.raises(ValueError, match="divided by whole numbers from 1"):
            wrong()
    for wrong in (lambda: a + 1.5, lambda: a * "2", lambda: True + a):
        with pytest.raises(TypeError):
            wrong()


def test_a_signature_says_what_sizes_are_allowed():
    pairs = Dim("new", 2, 6, multiple_of=2)
    converted = trtconv.convert(
        Function(mask_of_past_and_new),
        of_shapes(((4, 3), (2, 3), (6,))),
        dynamic_shapes=given([past, pairs, past + pairs]),
    )
    text = str(converted.signature)
    for line in (
        "  args[0]: float32[past, 3]",
        "  args[2]: float32[past + new]",
        "  output_0: float32[new + past, 3]",
        "  past: 1 to 9, optimized for 4",
        "  new: 2 to 6 in steps of 2, optimized for 2",
    ):
        assert line in text.splitlines(), text
    profiles = trtconv.convert(
        Function(mask_of_past_and_new), of_shapes(((0, 3), (2, 3), (2,))), dynamic_shapes=PROFILES["by numbers"]
    )
    assert "  profile 1: past: 1 to 9, optimized for 4, new: 1" in str(profiles.signature).splitlines()


def test_relations_in_compiled_code():
    converted = trtconv.convert(
        Function(mask_of_past_and_one), of_shapes(((4, 3), (5,))), dynamic_shapes=given([past, past + 1])
    )

    def called(x, mask):
        return converted(x, mask) * 2

    x, mask = of_shapes(((7, 3), (8,)))
    assert torch.equal(torch.compile(called, backend="eager", dynamic=True)(x, mask), called(x, mask))


def test_numbers_beside_sizes_that_follow_from_one_another():
    function = lambda scale, x, mask: torch.cat([x, x[:1]]) * mask[:, None] * scale  # noqa: E731
    converted = trtconv.convert(
        Function(function),
        (torch.tensor(2.0), *of_shapes(((4, 3), (5,)))),
        dynamic_shapes={"args": {1: {0: (1, 4, 9)}, 2: {0: (2, 5, 10)}}},
    )
    inputs = (torch.tensor(3.0), *of_shapes(((7, 3), (8,))))
    assert compare(Function(function), converted, inputs).correct
