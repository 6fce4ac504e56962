"""Layers over many settings, against formulas of the documentation written out element by element."""

import itertools
import math
import random

import numpy
import pytest
import torch

from trtconv.reference import DataType, Graph, Interpreter, Layer, LayerError, TensorType


def apply(kind, attributes, *values, dtype=DataType.FLOAT):
    """One layer by itself; of its result only the type and the rank are checked."""
    feeds = {f"x{i}": value for i, value in enumerate(values)}
    types = {name: TensorType(type_of(value), tuple(value.shape)) for name, value in feeds.items()}
    rank = 2 if kind == "FILL" else values[0].dim()
    tensors = {**types, "y": TensorType(dtype, (-1,) * rank)}
    layer = Layer("layer", kind, attributes, tuple(feeds), ("y",))
    return Interpreter(Graph(tuple(feeds), ("y",), (layer,), tensors)).run(feeds)["y"]


def type_of(value):
    return next(kind for kind in DataType if kind.carrier == value.dtype)


def wrap(i, n):
    return i % n


def clamp(i, n):
    return min(max(i, 0), n - 1)


def reflect(i, n):
    while not 0 <= i < n:
        i = -i if i < 0 else 2 * (n - 1) - i
        if n == 1:
            return 0
    return i


MODES = {"WRAP": wrap, "CLAMP": clamp, "REFLECT": reflect}


@pytest.mark.parametrize("mode", ["STRICT_BOUNDS", "FILL", *MODES])
def test_slices(mode):
    """Every start, size and stride around a short dimension."""
    for n, start, count, stride in itertools.product((1, 2, 4), range(-5, 7), range(5), range(-2, 3)):
        x = torch.arange(10.0, 10.0 + n)
        attributes = {"start": (start,), "shape": (count,), "stride": (stride,), "axes": None, "mode": mode}
        places = [start + stride * i for i in range(count)]
        inside = all(0 <= i < n for i in places)
        if mode == "STRICT_BOUNDS" and not inside:
            with pytest.raises(LayerError, match="leave dimension 0"):
                apply("SLICE", attributes, x)
            continue
        if mode in MODES:
            expected = [float(x[MODES[mode](i, n)]) for i in places]
        else:
            expected = [float(x[i]) if 0 <= i < n else 0.0 for i in places]
        assert apply("SLICE", attributes, x).tolist() == expected, (n, start, count, stride)


def windows(size, window, stride, pre, post, mode):
    """Starts of the windows along a dimension (NvInfer.h, PaddingMode)."""
    if mode.startswith("SAME"):
        count = math.ceil(size / stride)
        total = max((count - 1) * stride + window - size, 0)
        pre = total // 2 if mode == "SAME_UPPER" else total - total // 2
        post = total - pre
    else:
        steps = (size + pre + post - window) / stride
        count = (math.ceil if mode == "EXPLICIT_ROUND_UP" else math.floor)(steps) + 1
    return [i * stride - pre for i in range(max(count, 0))], size + post, -pre


def pool(x, kind, window, stride, pre, post, mode, exclude):
    rows = windows(x.shape[0], window[0], stride[0], pre[0], post[0], mode)
    columns = windows(x.shape[1], window[1], stride[1], pre[1], post[1], mode)
    result = numpy.zeros((len(rows[0]), len(columns[0])))
    for (i, top), (j, left) in itertools.product(enumerate(rows[0]), enumerate(columns[0])):
        part = x[max(top, 0) : top + window[0], max(left, 0) : left + window[1]]
        if kind == "MAX":
            result[i, j] = part.max() if part.size else -math.inf
            continue
        divisor = part.size
        if not exclude:
            height = min(top + window[0], rows[1]) - max(top, rows[2])
            width = min(left + window[1], columns[1]) - max(left, columns[2])
            divisor = max(height, 0) * max(width, 0)
        with numpy.errstate(invalid="ignore"):
            result[i, j] = numpy.float64(part.sum()) / divisor if divisor else math.nan
    return result


def test_pooling():
    """Random windows, strides, paddings and modes."""
    choose = random.Random(5)
    generator = torch.Generator().manual_seed(5)
    for _ in range(400):
        sizes = (choose.randint(3, 8), choose.randint(3, 8))
        window = (choose.randint(1, 3), choose.randint(1, 3))
        stride = (choose.randint(1, 3), choose.randint(1, 3))
        pre, post = ([choose.randint(0, w - 1) for w in window] for _ in range(2))
        mode = choose.choice(["EXPLICIT_ROUND_DOWN", "EXPLICIT_ROUND_UP", "SAME_UPPER", "SAME_LOWER"])
        kind, exclude = choose.choice(["MAX", "AVERAGE"]), choose.random() < 0.5
        x = torch.rand((1, 1, *sizes), generator=generator)
        attributes = {
            "type": kind,
            "window_size_nd": window,
            "stride_nd": stride,
            "pre_padding": tuple(pre),
            "post_padding": tuple(post),
            "padding_mode": mode,
            "blend_factor": 0.0,
            "average_count_excludes_padding": exclude,
        }
        expected = pool(x[0, 0].double().numpy(), kind, window, stride, pre, post, mode, exclude)
        result = apply("POOLING", attributes, x)[0, 0].double().numpy()
        assert result.shape == expected.shape, attributes
        numpy.testing.assert_allclose(result, expected, 1e-6, err_msg=str(attributes))


def test_convolution_windows():
    """An all-ones kernel over random strides, paddings, dilations and modes: sums of the input under it."""
    choose = random.Random(6)
    generator = torch.Generator().manual_seed(6)
    for _ in range(200):
        sizes = (choose.randint(4, 8), choose.randint(4, 8))
        kernel, dilation, stride = (tuple(choose.randint(1, 2) for _ in range(2)) for _ in range(3))
        pre, post = (tuple(choose.randint(0, 2) for _ in range(2)) for _ in range(2))
        mode = choose.choice(["EXPLICIT_ROUND_DOWN", "EXPLICIT_ROUND_UP", "SAME_UPPER", "SAME_LOWER"])
        x = torch.rand((1, 1, *sizes), generator=generator)
        attributes = {
            "kernel_size_nd": kernel,
            "dilation_nd": dilation,
            "stride_nd": stride,
            "pre_padding": pre,
            "post_padding": post,
            "padding_mode": mode,
            "num_output_maps": 1,
            "num_groups": 1,
            "kernel": torch.ones(1, 1, *kernel),
            "bias": None,
        }
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        starts = [windows(sizes[i], spans[i], stride[i], pre[i], post[i], mode)[0] for i in range(2)]
        expected = numpy.zeros([len(places) for places in starts])
        for (i, top), (j, left) in itertools.product(enumerate(starts[0]), enumerate(starts[1])):
            for a, b in itertools.product(range(kernel[0]), range(kernel[1])):
                row, column = top + a * dilation[0], left + b * dilation[1]
                if 0 <= row < sizes[0] and 0 <= column < sizes[1]:
                    expected[i, j] += float(x[0, 0, row, column])
        result = apply("CONVOLUTION", attributes, x)[0, 0].double().numpy()
        assert result.shape == expected.shape, attributes
        numpy.testing.assert_allclose(result, expected, 1e-5, 1e-6, err_msg=str(attributes))


def cast(values, source, target):
    x = torch.tensor(values, dtype=source)
    return apply("CAST", {"to_type": target.name}, x, dtype=target).tolist()


def test_casts_at_the_ends_of_types():
    """What TensorRT-RTX 1.6.1 gave on an H200; integers keep their low bits."""
    big = [3e38, -3e38, math.inf, -math.inf, math.nan, 300.0]
    assert cast(big, torch.float32, DataType.INT32) == [2**31 - 1, -(2**31), 2**31 - 1, -(2**31), 0, 300]
    assert cast(big, torch.float32, DataType.INT64) == [2**63 - 1, -(2**63), 2**63 - 1, -(2**63), -(2**63), 300]
    assert cast(big, torch.float32, DataType.INT8) == [-1, 0, -1, 0, 0, 44]
    assert cast([2.0**31 - 128, -(2.0**31)], torch.float32, DataType.INT32) == [2**31 - 128, -(2**31)]
    assert cast([2.0**63], torch.float32, DataType.INT64) == [2**63 - 1]
    assert cast([2**40 + 7], torch.int64, DataType.INT32) == [7]
    assert cast([65519.0, 65520.0], torch.float32, DataType.HALF) == [65504, math.inf]
    assert cast([500.0, -500.0, 0.1], torch.float32, DataType.FP8) == [448.0, -448.0, 0.1015625]


def test_the_sign_of_nan():
    result = apply("UNARY", {"op": "SIGN"}, torch.tensor([math.nan, -2.0, 0.0, 3.0]))
    assert result[0].isnan() and result[1:].tolist() == [-1.0, 0.0, 1.0]


def test_random_fills():
    """Only their distribution is said: the interval, or mean and deviation."""
    torch.manual_seed(0)

    def fill(operation, dtype):
        shape = torch.tensor([200, 200])
        attributes = {"operation": operation, "shape": None, "alpha": 2.0, "beta": 5.0, "to_type": dtype.name}
        return apply("FILL", attributes, shape, dtype=dtype)

    for dtype in (DataType.FLOAT, DataType.HALF):
        uniform, normal = (fill(f"RANDOM_{name}", dtype) for name in ("UNIFORM", "NORMAL"))
        assert uniform.dtype == normal.dtype == dtype.carrier
        assert uniform.min() >= 2 and uniform.max() <= 5
        assert uniform.float().mean().item() == pytest.approx(3.5, abs=0.05)
        assert normal.float().mean().item() == pytest.approx(2.0, abs=0.1)
        assert normal.float().std().item() == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("LRN", {"window_size": 3, "alpha": 1.0, "beta": 1.0, "k": 1.0}),
        (
            "POOLING",
            {
                "type": "AVERAGE",
                "window_size_nd": (2, 2),
                "stride_nd": (1, 1),
                "padding_mode": "EXPLICIT_ROUND_DOWN",
                "pre_padding": (0, 0),
                "post_padding": (0, 0),
                "blend_factor": 0.0,
                "average_count_excludes_padding": True,
            },
        ),
    ],
)
def test_undocumented_integer_arithmetic_is_refused(kind, attributes):
    with pytest.raises(NotImplementedError, match=rf"layer 'layer' \({kind}\): INT8 input"):
        apply(kind, attributes, torch.ones(1, 3, 4, 4, dtype=torch.int8), dtype=DataType.INT8)
