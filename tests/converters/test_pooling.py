import pytest
import torch
import torch.nn.functional as F
from cases import B, Ints, case, cases, check, check_sizes
from torch import nn

from trtconv import CaptureError, UnsupportedCallsError

FLOAT = (torch.float32,)  # where torch has no kernel for half precision on the CPU, or the case has no floats
X1, X2, X3 = (B, 3, 11), (B, 3, 11, 10), (B, 3, 5, 7, 6)


@cases(
    case(nn.MaxPool1d(3), X1),
    case(nn.MaxPool1d(3, stride=2, padding=1, ceil_mode=True), X1, id="max1d-ceil"),
    case(nn.MaxPool1d(3, stride=1, dilation=2), X1, id="max1d-dilation"),
    case(lambda x: torch.max_pool1d(x, 2), X1, id="torch.max_pool1d"),
    case(nn.MaxPool2d(2), X2),
    case(nn.MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0)), X2, id="max2d-pairs"),
    case(nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), X2, id="max2d-ceil"),
    case(nn.MaxPool2d(2, stride=2, padding=1, ceil_mode=True), (B, 3, 5, 5), id="max2d-last-window-dropped"),
    case(nn.MaxPool2d(2, stride=3, ceil_mode=True), (B, 3, 6, 7), id="max2d-last-window-inside"),
    case(nn.MaxPool2d(1, stride=2), X2, id="max2d-1"),
    case(nn.MaxPool2d(3, stride=2, padding=1, dilation=2), X2, id="max2d-dilation"),
    case(nn.MaxPool2d(3, stride=2, padding=1, dilation=(1, 3), ceil_mode=True), X2, id="max2d-dilation-ceil"),
    case(lambda x: F.max_pool2d(x, 2, stride=None), X2, id="stride-None"),
    case(lambda x: F.max_pool2d(x, 2), Ints((B, 3, 6, 7)), id="max2d-int64", dtypes=FLOAT),
    case(lambda x: F.max_pool2d(x, 3, 2, 1), Ints((B, 3, 6, 7), dtype=torch.int32), id="max2d-int32", dtypes=FLOAT),
    case(nn.MaxPool3d(2), X3),
    case(nn.MaxPool3d((2, 3, 2), stride=2, padding=(1, 1, 0), ceil_mode=True), X3, id="max3d-all"),
    case(nn.MaxPool3d(2, stride=1, dilation=2), X3, id="max3d-dilation"),
    case(nn.MaxPool1d(3), (3, 11), id="max1d-unbatched"),
    case(nn.MaxPool2d(3, ceil_mode=True), (3, 11, 10), id="max2d-unbatched"),
    case(nn.MaxPool3d(2), (3, 5, 7, 6), id="max3d-unbatched"),
    case(nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(2)), X2, id="max2d-padded-by-zeros"),
)
def test_max_pool(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(nn.AvgPool1d(3), X1),
    case(nn.AvgPool1d(3, stride=2, padding=1, ceil_mode=True), X1, id="avg1d-ceil"),
    case(nn.AvgPool1d(3, stride=2, padding=1, count_include_pad=False), X1, id="avg1d-exclude"),
    case(lambda x: torch.avg_pool1d(x, 2), X1, id="torch.avg_pool1d"),
    case(nn.AvgPool2d(2), X2),
    case(nn.AvgPool2d((3, 2), stride=(2, 1), padding=(1, 0)), X2, id="avg2d-pairs"),
    case(nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), X2, id="avg2d-exclude"),
    case(nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True), X2, id="avg2d-ceil"),
    case(nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), X2, id="avg2d-ceil-exclude"),
    case(nn.AvgPool2d(2, stride=2, padding=1, ceil_mode=True), (B, 3, 5, 5), id="avg2d-last-window-dropped"),
    case(nn.AvgPool2d(2, stride=3, ceil_mode=True), (B, 3, 6, 7), id="avg2d-last-window-inside"),
    case(nn.AvgPool2d(3, divisor_override=2), X2, id="avg2d-divisor"),
    case(nn.AvgPool2d(3, 2, 1, True, False, divisor_override=5), X2, id="avg2d-divisor-all"),
    case(nn.AvgPool2d(2, divisor_override=-4), X2, id="avg2d-divisor-negative"),
    case(lambda x: F.avg_pool2d(x, 2, stride=None), X2, id="stride-None"),
    case(nn.AvgPool3d(2), X3, dtypes=FLOAT),
    case(nn.AvgPool3d((2, 3, 2), 2, (1, 1, 0), ceil_mode=True), X3, id="avg3d-ceil", dtypes=FLOAT),
    case(nn.AvgPool2d((1280, 9), (1280, 3), (0, 1), ceil_mode=True), (B, 3, 5, 6), id="avg2d-window-over-the-end"),
    case(nn.MaxPool2d((1280, 9), (1280, 3), (0, 1), ceil_mode=True), (B, 3, 5, 6), id="max2d-window-over-the-end"),
    case(nn.AvgPool3d(3, 2, 1, count_include_pad=False), X3, id="avg3d-exclude", dtypes=FLOAT),
    case(nn.AvgPool3d(2, divisor_override=3), X3, id="avg3d-divisor", dtypes=FLOAT),
    case(nn.AvgPool1d(3), (3, 11), id="avg1d-unbatched"),
    case(nn.AvgPool2d(3, ceil_mode=True), (3, 11, 10), id="avg2d-unbatched"),
    case(nn.AvgPool3d(2), (3, 5, 7, 6), id="avg3d-unbatched", dtypes=FLOAT),
)
def test_avg_pool(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(nn.AdaptiveAvgPool1d(1), X1),
    case(nn.AdaptiveAvgPool1d(4), X1, id="1d"),
    case(nn.AdaptiveAvgPool1d(4), (3, 12), id="1d-unbatched"),
    case(nn.AdaptiveAvgPool2d(1), X2),
    case(nn.AdaptiveAvgPool2d((11, 10)), X2, id="2d-same"),
    case(nn.AdaptiveAvgPool2d((11, 5)), X2, id="2d-dividing"),
    case(nn.AdaptiveAvgPool2d((4, 7)), X2, id="2d-not-dividing"),
    case(nn.AdaptiveAvgPool2d((4, 3)), (3, 11, 10), id="2d-unbatched"),
    case(nn.AdaptiveAvgPool2d((13, 20)), X2, id="2d-larger"),
    case(nn.AdaptiveAvgPool2d((None, 4)), X2, id="2d-None"),
    case(nn.AdaptiveAvgPool2d((1, None)), X2, id="2d-one-None"),
    case(nn.AdaptiveAvgPool2d((1, 4)), X2, id="2d-one-axis"),
    case(nn.AdaptiveAvgPool3d(1), X3),
    case(nn.AdaptiveAvgPool3d((5, 7, 3)), X3, id="3d-dividing"),
    case(nn.AdaptiveAvgPool3d((2, None, 4)), X3, id="3d"),
    case(nn.AdaptiveAvgPool3d((2, 3, 4)), (3, 5, 7, 6), id="3d-unbatched"),
    case(lambda x: F.adaptive_avg_pool2d(x, (7, 7)), (B, 3, 7, 7), id="2d-identity"),
    case(lambda x: F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 1), (B, 4, 5, 3), id="2d-channels-last", dtypes=FLOAT),
)
def test_adaptive_avg_pool(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(nn.AdaptiveMaxPool1d(1), X1),
    case(nn.AdaptiveMaxPool1d(4), X1, id="1d"),
    case(nn.AdaptiveMaxPool2d(1), X2),
    case(nn.AdaptiveMaxPool2d((11, 5)), X2, id="2d-dividing"),
    case(nn.AdaptiveMaxPool2d((4, 7)), X2, id="2d-not-dividing"),
    case(nn.AdaptiveMaxPool2d((4, 3)), (3, 11, 10), id="2d-unbatched"),
    case(nn.AdaptiveMaxPool2d((13, 20)), X2, id="2d-larger"),
    case(nn.AdaptiveMaxPool2d((None, 4)), X2, id="2d-None"),
    case(nn.AdaptiveMaxPool2d((1, None)), X2, id="2d-one-None"),
    case(nn.AdaptiveMaxPool3d((2, None, 4)), X3, id="3d"),
    case(nn.AdaptiveMaxPool3d(1), (3, 5, 7, 6), id="3d-unbatched"),
)
def test_adaptive_max_pool(function, inputs, dtype):
    check(function, inputs, dtype)


def test_pool_that_is_used_twice_keeps_its_values():
    check(lambda x: F.max_pool2d(x, 2).sum() + F.avg_pool2d(x, 2).sum(), ((2, 3, 4, 4),), torch.float32)


@cases(
    case(nn.LPPool1d(2, 3, stride=2), X1, id="1d"),
    case(nn.LPPool2d(2, (2, 3)), X2, id="2d"),
    case(nn.LPPool2d(1, 2, ceil_mode=True), X2, id="2d-ceil"),
    case(nn.LPPool3d(2, 2), X3, id="3d", dtypes=FLOAT),
)
def test_lp_pool(function, inputs, dtype):
    check(function, inputs, dtype)


def rounded(pool):
    """With numbers among which are equal ones."""
    return lambda x: pool((x * 2).round())


def with_infinities(pool):
    return lambda x: pool(torch.where(x > -1, -torch.inf, x))


@cases(
    case(rounded(lambda x: F.max_pool1d(x, 3, 2, 1, return_indices=True)), X1, id="1d"),
    case(lambda x: F.max_pool1d(x, 3, 2, ceil_mode=True, return_indices=True), (3, 11), id="1d-ceil", dtypes=FLOAT),
    case(lambda x: torch.max_pool1d_with_indices(x, 2), X1, id="torch.1d", dtypes=FLOAT),
    case(rounded(nn.MaxPool2d(2, return_indices=True)), X2, id="2d"),
    case(rounded(nn.MaxPool2d((3, 2), 2, (1, 0), return_indices=True)), X2, id="2d-pairs", dtypes=FLOAT),
    case(rounded(nn.MaxPool2d(3, 2, 1, (2, 3), True, True)), X2, id="2d-dilation-ceil", dtypes=FLOAT),
    case(with_infinities(nn.MaxPool2d(3, 2, 1, 2, True)), X2, id="2d-infinities", dtypes=FLOAT),
    case(lambda x: F.max_pool2d(x.log(), 3, 2, 1, return_indices=True)[1], X2, id="2d-nan", dtypes=FLOAT),
    case(lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True), Ints(X2), id="2d-int64", dtypes=FLOAT),
    case(rounded(nn.MaxPool3d(2, 2, (1, 0, 1), return_indices=True)), X3, id="3d", dtypes=FLOAT),
    case(rounded(lambda x: F.adaptive_max_pool1d(x, 4, return_indices=True)), X1, id="adaptive1d", dtypes=FLOAT),
    case(lambda x: torch.adaptive_max_pool1d(x, 4)[1], X1, id="torch.adaptive1d", dtypes=FLOAT),
    case(rounded(nn.AdaptiveMaxPool2d((4, 3), return_indices=True)), X2, id="adaptive2d"),
    case(rounded(nn.AdaptiveMaxPool2d((None, 1), return_indices=True)), X2, id="adaptive2d-None", dtypes=FLOAT),
    case(rounded(nn.AdaptiveMaxPool2d((3, None), return_indices=True)), X2, id="adaptive2d-None-last", dtypes=FLOAT),
    case(rounded(nn.AdaptiveMaxPool2d((None, None), return_indices=True)), X2, id="adaptive2d-Nones", dtypes=FLOAT),
    case(rounded(nn.AdaptiveMaxPool3d((2, None, 4), return_indices=True)), (3, 5, 7, 6), id="3d-None", dtypes=FLOAT),
    case(rounded(nn.MaxPool2d((3, 1), 2, return_indices=True)), X2, id="2d-column", dtypes=FLOAT),
    case(rounded(nn.MaxPool2d(1, 2, return_indices=True)), X2, id="2d-one", dtypes=FLOAT),
    case(rounded(nn.AdaptiveMaxPool3d((2, 3, 4), return_indices=True)), (3, 5, 7, 6), id="adaptive3d", dtypes=FLOAT),
)
def test_max_pool_with_indices(function, inputs, dtype):
    check(function, inputs, dtype)


class Unpooled(nn.Module):
    """A pool and its inverse."""

    def __init__(self, pool, unpool, sized=True):
        super().__init__()
        self.pool, self.unpool, self.sized = pool, unpool, sized

    def forward(self, x):
        return self.unpool(*self.pool(x), output_size=x.shape if self.sized else None)


@cases(
    case(Unpooled(nn.MaxPool1d(2, return_indices=True), nn.MaxUnpool1d(2)), X1, id="1d"),
    case(Unpooled(nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)), X2, id="2d"),
    case(Unpooled(nn.MaxPool2d(3, 2, 1, 1, True), nn.MaxUnpool2d(3, 2, 1)), X2, id="2d-all", dtypes=FLOAT),
    case(Unpooled(nn.MaxPool2d(2, None, 0, 1, True), nn.MaxUnpool2d(2), False), (3, 8, 6), id="2d-unbatched"),
    case(Unpooled(nn.MaxPool3d(2, return_indices=True), nn.MaxUnpool3d(2)), X3, id="3d", dtypes=FLOAT),
    case(lambda x, i: F.max_unpool2d(x, i, 2), (B, 3, 1, 1), Ints((B, 3, 1, 1), 0, 4), id="2d-given", dtypes=FLOAT),
)
def test_max_unpool(function, inputs, dtype):
    check(function, inputs, dtype)


@pytest.mark.parametrize("dims", [2, 3])
def test_random_windows_are_refused(dims):
    pool = nn.FractionalMaxPool2d(2, output_size=3) if dims == 2 else nn.FractionalMaxPool3d(2, output_size=2)
    with pytest.raises(UnsupportedCallsError, match="Its windows lie at random"):
        check(pool, ((2, 3, 5, 5, 5)[: dims + 2],), torch.float32)


SIZES = [(2, 3, 11, 10), (1, 3, 7, 13), (3, 3, 16, 16), (2, 3, 4, 5)]


@pytest.mark.parametrize(
    "function",
    [
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.MaxPool2d(2, 3, dilation=2, ceil_mode=True),
        nn.AvgPool2d(2, 3, 1, ceil_mode=False),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, divisor_override=4),
        nn.LPPool2d(2, 3, 2, ceil_mode=True),
        nn.AdaptiveAvgPool2d((3, None)),
        nn.AdaptiveAvgPool2d(7),
        nn.AdaptiveMaxPool2d((3, 1)),
        nn.AdaptiveMaxPool2d(7, return_indices=True),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True, return_indices=True),
        Unpooled(nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)),
        lambda x: F.interpolate(x, (7, 9), mode="area"),
    ],
    ids=lambda function: getattr(function, "__name__", None) or repr(function),
)
def test_dynamic_sizes(function):
    check_sizes(function, *SIZES)


def test_windows_that_are_dropped_at_some_sizes_only_are_refused():
    with pytest.raises(CaptureError, match=r"decides by a dynamic size: .* and not for input.2 = 6, 9, 12, 15"):
        check_sizes(nn.MaxPool2d(2, 3, ceil_mode=True), *SIZES)
    check_sizes(nn.MaxPool2d(1, 3, ceil_mode=True), (2, 3, 11, 10), (2, 3, 12, 10))
