"""ACTIVATION, CAST, ELEMENTWISE, IDENTITY, PARAMETRIC_RELU, SCALE, SELECT and UNARY."""

import math

import torch
import torch.nn.functional as F

from trtconv import tensorrt as trt

from ..case import ALL, FLOATS, INTS, Case, uniform

BOOL = (torch.bool,)
RESULTS = {"INT32": torch.int32, "INT64": torch.int64, "INT8": torch.int8, "UINT8": torch.uint8}
RESULTS |= {"BOOL": torch.bool, "FLOAT": torch.float32, "HALF": torch.float16}


def activation(kind, expected, alpha=None, beta=None, dtypes=FLOATS, name=None):
    def build(net, x):
        layer = net.add_activation(x, getattr(trt.ActivationType, kind))
        if alpha is not None:
            layer.alpha = alpha
        if beta is not None:
            layer.beta = beta
        return layer

    return Case(f"activation-{name or kind}", build, expected, (uniform(2, 3, 4, 5),), dtypes)


def unary(kind, expected, low=-3.0, high=3.0, dtypes=FLOATS, shape=(2, 3, 5)):
    def build(net, x):
        return net.add_unary(x, getattr(trt.UnaryOperation, kind))

    return Case(f"unary-{kind}", build, expected, (uniform(*shape, low=low, high=high),), dtypes)


def elementwise(kind, expected, left=(2, 3, 4), right=(2, 3, 4), low=-9, high=9, dtypes=ALL, name=""):
    def build(net, a, b):
        return net.add_elementwise(a, b, getattr(trt.ElementWiseOperation, kind))

    inputs = (uniform(*left, low=low, high=high), uniform(*right, low=low, high=high))
    return Case(f"elementwise-{kind}{name}", build, expected, inputs, dtypes)


def with_special_values(kind, expected):
    x = torch.tensor([0.0, 1.0, -2.0, math.inf, -math.inf, math.nan])
    return Case(f"unary-{kind}", lambda net, x: net.add_unary(x, getattr(trt.UnaryOperation, kind)), expected, (x,))


def cast(source, target, values, expected):
    def build(net, x):
        return net.add_cast(x, getattr(trt.DataType, target))

    x = torch.tensor(values, dtype=source)
    y = torch.tensor(expected, dtype=RESULTS[target])
    return Case(f"cast-{str(source)[6:]}-{target}", build, lambda x: y, (x,), (y.dtype,))


def scale(mode, shape, weights, power=None, channel=1, name="", dtypes=FLOATS):
    torch.manual_seed(3)
    factor, shift = torch.rand(weights) + 0.5, torch.rand(weights) + 0.5
    exponent = None if power is None else torch.full(weights, float(power))

    def build(net, x):
        return net.add_scale_nd(
            x,
            getattr(trt.ScaleMode, mode),
            net.weights(shift),
            net.weights(factor),
            net.empty() if exponent is None else net.weights(exponent),
            channel,
        )

    def expected(x):
        trailing = [1] * (len(shape) - channel - 1) if mode == "CHANNEL" else []
        a, b = (w.to(dtype_of(x)).to(x.dtype).reshape(*w.shape, *trailing) for w in (factor, shift))
        y = x * a + b
        return y if power is None else y**power

    def dtype_of(x):
        return torch.float32 if x.dtype == torch.float64 else x.dtype

    low = 0.1 if power is not None else -3.0
    return Case(f"scale-{mode}{name}", build, expected, (uniform(*shape, low=low),), dtypes, steps=2.0)


def round_to_zero(x, y):
    return torch.div(x, y, rounding_mode="trunc") if not x.is_floating_point() else x / y


def floor_of_quotient(x, y):
    return torch.floor(x / y) if x.is_floating_point() else torch.div(x, y, rounding_mode="floor")


def select_build(net, condition, a, b):
    return net.add_select(condition, a, b)


MASK = torch.tensor([[True, False, True], [False, False, True]])

CASES = [
    activation("RELU", F.relu, dtypes=ALL),
    activation("SIGMOID", torch.sigmoid),
    activation("TANH", torch.tanh),
    activation("LEAKY_RELU", lambda x: F.leaky_relu(x, 0.01)),
    activation("LEAKY_RELU", lambda x: F.leaky_relu(x, 0.25), 0.25, name="LEAKY_RELU-alpha"),
    activation("ELU", F.elu),
    activation("ELU", lambda x: F.elu(x, 0.5), 0.5, name="ELU-alpha"),
    activation("SELU", F.selu),
    activation("SOFTSIGN", F.softsign),
    activation("SOFTPLUS", F.softplus),
    activation("SOFTPLUS", lambda x: 3 * torch.log(torch.exp(2 * x) + 1), 3.0, 2.0, name="SOFTPLUS-3-2"),
    activation("CLIP", lambda x: x.clamp(-1, 2), -1.0, 2.0),
    activation("CLIP", lambda x: x.clamp(max=-1).clamp(min=2), 2.0, -1.0, name="CLIP-crossed"),
    activation("HARD_SIGMOID", lambda x: (0.2 * x + 0.5).clamp(0, 1)),
    activation("HARD_SIGMOID", lambda x: (0.5 * x + 0.25).clamp(0, 1), 0.5, 0.25, name="HARD_SIGMOID-2"),
    activation("SCALED_TANH", lambda x: 1.5 * torch.tanh(0.5 * x), 1.5, 0.5),
    activation("THRESHOLDED_RELU", lambda x: F.threshold(x, 1.0, 0.0)),
    activation("THRESHOLDED_RELU", lambda x: F.threshold(x, 0.5, 0.0), 0.5, name="THRESHOLDED_RELU-half"),
    activation("GELU_ERF", F.gelu),
    activation("GELU_TANH", lambda x: F.gelu(x, approximate="tanh")),
    unary("EXP", torch.exp),
    unary("LOG", torch.log, 0.1),
    unary("SQRT", torch.sqrt, 0.1),
    unary("RECIP", torch.reciprocal, 0.5),
    unary("ABS", torch.abs, dtypes=ALL),
    unary("NEG", torch.neg, dtypes=ALL),
    unary("SIN", torch.sin),
    unary("COS", torch.cos),
    unary("TAN", torch.tan, -1, 1),
    unary("SINH", torch.sinh),
    unary("COSH", torch.cosh),
    unary("ASIN", torch.asin, -0.9, 0.9),
    unary("ACOS", torch.acos, -0.9, 0.9),
    unary("ATAN", torch.atan),
    unary("ASINH", torch.asinh),
    unary("ACOSH", torch.acosh, 1.1, 5),
    unary("ATANH", torch.atanh, -0.9, 0.9),
    unary("CEIL", torch.ceil),
    unary("FLOOR", torch.floor),
    unary("ERF", torch.erf),
    unary("SIGN", torch.sign, dtypes=ALL),
    unary("NOT", torch.logical_not, dtypes=BOOL),
    with_special_values("ISINF", torch.isinf),
    with_special_values("ISNAN", torch.isnan),
    Case(
        "unary-ROUND",
        lambda net, x: net.add_unary(x, trt.UnaryOperation.ROUND),
        lambda x: torch.tensor([-4.0, -2.0, -2.0, 0.0, 0.0, 2.0, 2.0, 3.0]).to(x.dtype),
        (torch.tensor([-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.6]),),
    ),
    elementwise("SUM", torch.add),
    elementwise("SUM", torch.add, (2, 1, 4), (1, 3, 1), name="-broadcast"),
    elementwise("PROD", torch.mul),
    elementwise("MAX", torch.maximum),
    elementwise("MIN", torch.minimum),
    elementwise("SUB", torch.sub),
    elementwise("DIV", round_to_zero, low=1),
    elementwise("POW", torch.pow, low=1, high=3),
    elementwise("FLOOR_DIV", floor_of_quotient, low=1, dtypes=(torch.float32, *INTS)),
    elementwise("AND", torch.logical_and, dtypes=BOOL),
    elementwise("OR", torch.logical_or, dtypes=BOOL),
    elementwise("XOR", torch.logical_xor, dtypes=BOOL),
    elementwise("EQUAL", torch.eq, dtypes=(*ALL, torch.bool)),
    elementwise("GREATER", torch.gt, high=2),
    elementwise("LESS", torch.lt, high=2),
    Case(
        "elementwise-DIV-signs",
        lambda net, a, b: [
            net.add_elementwise(a, b, op) for op in (trt.ElementWiseOperation.DIV, trt.ElementWiseOperation.FLOOR_DIV)
        ],
        lambda a, b: (
            torch.tensor([3, -3, -3, 3], dtype=torch.int32),
            torch.tensor([3, -4, -4, 3], dtype=torch.int32),
        ),
        tuple(torch.tensor(v, dtype=torch.int32) for v in ([7, -7, 7, -7], [2, 2, -2, -2])),
        (torch.int32,),
    ),
    Case("select", select_build, torch.where, (MASK, uniform(2, 3), uniform(2, 3)), (*ALL, torch.bool)),
    Case("select-broadcast", select_build, torch.where, (MASK[:, :1], uniform(2, 3), uniform(1, 3)), ALL),
    Case(
        "prelu",
        lambda net, x, s: net.add_parametric_relu(x, s),
        lambda x, s: torch.where(x >= 0, x, s * x),
        (uniform(2, 3, 4), uniform(1, 3, 1)),
        FLOATS,
    ),
    Case("identity", lambda net, x: net.add_identity(x), lambda x: x, (uniform(2, 3),), (*ALL, torch.bool)),
    cast(torch.float32, "INT32", [2.7, -2.7, 0.0], [2, -2, 0]),
    cast(torch.float32, "INT64", [2.7, -2.7, 1e9], [2, -2, 10**9]),
    cast(torch.float32, "BOOL", [0.0, 0.1, -3.0, math.nan], [False, True, True, True]),
    cast(torch.float32, "UINT8", [0.0, 2.9, 250.0], [0, 2, 250]),
    cast(torch.float32, "HALF", [1.0, 1e-3, 1e6], [1.0, 1e-3, math.inf]),
    cast(torch.bool, "FLOAT", [True, False], [1.0, 0.0]),
    cast(torch.bool, "INT32", [True, False], [1, 0]),
    cast(torch.int64, "INT32", [5, -7, 5_000_000_000], [5, -7, 705032704]),
    cast(torch.int32, "FLOAT", [5, -7, 2**24 + 1], [5.0, -7.0, 16777216.0]),
    cast(torch.int32, "INT8", [5, -7, 300], [5, -7, 44]),
    scale("UNIFORM", (2, 3, 4, 5), (1,)),
    scale("CHANNEL", (2, 3, 4, 5), (3,)),
    scale("CHANNEL", (2, 4, 5, 3), (3,), channel=3, name="-last"),
    scale("ELEMENTWISE", (2, 3, 4, 5), (3, 4, 5)),
    scale("UNIFORM", (2, 3, 4, 5), (1,), power=2.0, name="-power"),
    scale("CHANNEL", (2, 3, 2, 4, 5), (3,), name="-5d"),
]
