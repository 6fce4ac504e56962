import math

import pytest
import torch
import torch.nn.functional as F
from cases import FLOATS, B, Ints, Uniform, case, cases, check
from torch import nn

from trtconv import UnsupportedArgumentError

X = (B, 3, 5)
WIDE = Uniform((B, 3, 50), -40, 40)
INT = FLOATS[:1]  # the inputs are integers, whatever the case's dtype


@cases(
    case(torch.relu, X),
    case(F.relu, X, id="F.relu"),
    case(lambda x: F.relu(x, inplace=True) + x, X, id="relu-inplace"),
    case(lambda x: x.clone().relu_(), X, id="relu_"),
    case(torch.relu, Ints(X), id="relu-int64", dtypes=INT),
    case(torch.sigmoid, X),
    case(torch.sigmoid, (), id="sigmoid-0d"),
    case(torch.sigmoid, Ints(X), id="sigmoid-int64", dtypes=INT),
    case(torch.tanh, X),
    case(torch.tanh, Ints(X, dtype=torch.int32), id="tanh-int32", dtypes=INT),
    case(F.relu6, X),
    case(lambda x: F.hardtanh(x, -0.5, 0.25), X, id="hardtanh"),
    case(lambda x: F.hardtanh(x, -math.inf, 0.25), X, id="hardtanh-infinite"),
    case(lambda x: F.hardtanh(x, -2, 3), Ints(X), id="hardtanh-int64", dtypes=INT),
    case(lambda x: F.leaky_relu(x, 0.2), X, id="leaky_relu"),
    case(lambda x: F.leaky_relu(x, -0.2), X, id="leaky_relu-negative"),
    case(F.hardsigmoid, X),
    case(F.hardswish, X),
    case(nn.Hardswish(inplace=True), X, id="Hardswish-inplace"),
    case(F.silu, X),
    case(F.gelu, X),
    case(lambda x: F.gelu(x, approximate="tanh"), X, id="gelu-tanh"),
)
def test_activation(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(F.elu, X),
    case(lambda x: F.elu(x, 0.3, inplace=True), X, id="elu-alpha"),
    case(F.elu, WIDE, id="elu-wide"),
    case(F.selu, X),
    case(F.selu, WIDE, id="selu-wide"),
    case(F.celu, X),
    case(lambda x: F.celu(x, 0.3), WIDE, id="celu-alpha"),
    case(nn.PReLU(), X, id="PReLU"),
    case(nn.PReLU(3, init=0.1), X, id="PReLU-channels"),
    case(nn.PReLU(), (5,), id="PReLU-vector"),
    case(F.prelu, (B, 3, 4, 5), (3,), id="prelu-computed"),
    case(nn.RReLU(0.1, 0.4), X, id="RReLU"),
    case(nn.RReLU(inplace=True), X, id="RReLU-inplace"),
    case(F.softplus, X),
    case(F.softplus, WIDE, id="softplus-wide"),
    case(F.softplus, Uniform((B, 7), 200, 300), id="softplus-large"),
    case(lambda x: F.softplus(x, beta=2, threshold=3), X, id="softplus-beta"),
    case(lambda x: F.softplus(x, 0.5, 1), WIDE, id="softplus-threshold"),
    case(F.softsign, X),
    case(F.mish, X),
    case(F.mish, WIDE, id="mish-wide"),
    case(F.logsigmoid, X),
    case(F.logsigmoid, WIDE, id="logsigmoid-wide"),
    case(F.hardshrink, X),
    case(lambda x: F.hardshrink(x, 1.2), X, id="hardshrink-lambd"),
    case(F.softshrink, X),
    case(lambda x: F.softshrink(x, 0.2), X, id="softshrink-lambd"),
    case(F.tanhshrink, X),
    case(lambda x: F.threshold(x, 0.1, 20), X, id="threshold"),
    case(nn.Threshold(0.1, -1.5, inplace=True), X, id="Threshold-inplace"),
    case(lambda x: F.threshold(x, 1, 7), Ints(X), id="threshold-int64", dtypes=INT),
    case(lambda x: torch.native_dropout(x, 0.5, False), X, id="native_dropout", dtypes=INT),
    case(lambda x: torch.native_dropout(x, 0.0, None)[0], X, id="native_dropout-none", dtypes=INT),
    case(lambda x: F.hardshrink(x.sqrt()) + F.threshold(x.sqrt(), 0, 1) + F.softshrink(x.sqrt()), X, id="NaN"),
)
def test_curve(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(F.glu, (B, 3, 6)),
    case(lambda x: F.glu(x, 1), (B, 6, 5), id="glu-dim"),
    case(nn.GLU(-2), (B, 6, 5), id="glu-negative"),
    case(lambda x: F.log_softmax(x, 1), X, id="log_softmax"),
    case(lambda x: F.log_softmax(x, -1), WIDE, id="log_softmax-wide"),
    case(lambda x: torch.log_softmax(x, 0), (), id="log_softmax-0d"),
    case(lambda x: x.log_softmax(-1), (5,), id="log_softmax-method"),
    case(lambda x: F.log_softmax(x, 1, dtype=torch.float32), X, id="log_softmax-float32"),
    case(lambda x: F.log_softmax(x, 1, dtype=torch.float32), Ints(X), id="log_softmax-int64", dtypes=INT),
    case(nn.LogSoftmax(2), X, id="LogSoftmax"),
    case(nn.Softmin(-2), X, id="Softmin"),
    case(nn.Softmax(1), X, id="Softmax"),
    case(nn.Softmax2d(), (B, 3, 4, 5), id="Softmax2d"),
)
def test_along_dimension(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x: F.celu(x, -0.5), X, id="celu", dtypes=INT),
    case(lambda x: F.rrelu(x, training=True), X, id="rrelu-training", dtypes=INT),
    case(lambda x: torch.native_dropout(x, 0.5, True)[0], X, id="dropout", dtypes=INT),
)
def test_refusals(function, inputs, dtype):
    with pytest.raises(UnsupportedArgumentError):
        check(function, inputs, dtype)
