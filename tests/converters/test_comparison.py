import operator

import torch
from cases import B, Bools, Ints, case, cases, check

X = (B, 3, 5)
ONE = (torch.float32,)
FEW = Ints(X, -1, 2)
ORDER = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
LOGIC = (torch.logical_and, torch.logical_or, torch.logical_xor)
NAN = torch.tensor([float("nan"), 0.0, float("inf"), float("-inf"), 1.0])


def each(functions, *inputs, name, dtypes=ONE):
    return [param for f in functions for param in case(f, *inputs, id=f"{f.__name__}-{name}", dtypes=dtypes)]


def with_number(functions, number):
    return [lambda x, f=f: f(x, number) for f in functions]


def named(functions, number):
    return [
        param
        for f in functions
        for spec, kind in ((X, "float"), (FEW, "int"), (Bools(X), "bool"))
        for param in case(lambda x, f=f: f(x, number), spec, id=f"{f.__name__}-{kind}-{number}", dtypes=ONE)
    ]


@cases(
    each(ORDER, X, X, name="float", dtypes=(torch.float32, torch.float16)),
    each(ORDER, FEW, FEW, name="int"),
    each(ORDER, Bools(X), Bools(X), name="bool"),
    each(ORDER, FEW, (5,), name="int-float"),
    each(ORDER, Bools(X), FEW, name="bool-int"),
    named(ORDER, 0),
    named(ORDER, 0.5),
    named(ORDER, True),
    case(lambda x: x < 1, X, id="reflected"),
    case(lambda x: (x > 0) * x, X, id="mask"),
    case(torch.eq, (), X, id="eq-0d", dtypes=ONE),
    case(lambda x: x.half() == 0.1, Ints(X), id="eq-half", dtypes=ONE),
    case(lambda x: torch.isclose(x, x + 1e-9), X, id="isclose", dtypes=ONE),
    *(case(lambda x, f=f: f(x * 0 + NAN, NAN[1]), X, id=f"{f.__name__}-nan", dtypes=ONE) for f in ORDER),
)
def test_order(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    each(LOGIC, FEW, FEW, name="int"),
    each(LOGIC, Bools(X), FEW, name="bool-int"),
    each(LOGIC, X, Bools((5,)), name="float-bool", dtypes=(torch.float32, torch.float16)),
    case(lambda x, y: x.clone().logical_and_(y), Bools(X), Bools(X), id="in-place", dtypes=ONE),
)
def test_logic(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x: torch.isin(x, torch.tensor([1, 2])), Ints(X), id="isin", dtypes=ONE),
    case(torch.isin, Ints(X), Ints((2, 2)), id="isin-activation", dtypes=ONE),
    case(lambda x, y: torch.isin(x, y, invert=True), Ints(X), X, id="isin-not", dtypes=ONE),
    case(lambda x: torch.isin(x, 2), Ints(X), id="isin-number", dtypes=ONE),
    case(lambda x: torch.isin(2, x, assume_unique=True), Ints((4,)), id="isin-of-number", dtypes=ONE),
    case(lambda x: torch.isin(x.round(), torch.tensor([1.0, 0.0])), X, id="isin-float", dtypes=(torch.float32,)),
)
def test_membership(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(torch.where, Bools(X), X, X, id="where"),
    case(torch.where, Bools((5,)), X, (3, 1), id="where-broadcast", dtypes=ONE),
    case(lambda c, x, y: x.where(c, y), Bools(X), X, Ints(X), id="where-promotes"),
    case(lambda c, x: torch.where(c, x, 0.0), Bools(X), X, id="where-number"),
    case(lambda c, x: torch.where(c, 2, x), Bools(X), X, id="where-left"),
    case(lambda c, x: torch.where(c, x, 2.5), Bools(X), Ints(X), id="where-int-float", dtypes=ONE),
    case(lambda c: torch.where(c, 1.0, -1.0), Bools(X), id="where-numbers", dtypes=ONE),
    case(lambda c: torch.where(c, 1, -1), Bools(X), id="where-ints", dtypes=ONE),
    case(lambda x: torch.where(x > 0, x, -x), X, id="where-abs"),
    case(lambda c, x: torch.where(c, x, torch.tensor(1.0)), Bools(()), X, id="where-0d", dtypes=ONE),
    case(lambda x, c: x.masked_fill(c, -1.5), X, Bools(X), id="masked_fill"),
    case(lambda x, c: x.masked_fill(c, float("-inf")), X, Bools((3, 5)), id="masked_fill-inf"),
    case(lambda x, c: x.masked_fill(c, 2), Ints(X), Bools(X), id="masked_fill-int", dtypes=ONE),
    case(lambda x, c: x.masked_fill(c, True), Bools(X), Bools(X), id="masked_fill-bool", dtypes=ONE),
    case(lambda x, c, v: x.masked_fill(c, v), X, Bools(X), (), id="masked_fill-tensor"),
    case(lambda x, c: x.clone().masked_fill_(c == 0, 3), X, Bools((5,)), id="masked_fill_", dtypes=ONE),
    case(torch.heaviside, FEW, Ints(X), id="heaviside", dtypes=ONE),
)
def test_choices(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x: x.clamp(-0.5, 0.3), X, id="clamp"),
    case(lambda x: x.clamp(min=0.1), X, id="clamp-min"),
    case(lambda x: x.clip(max=0.1), X, id="clip-max"),
    case(lambda x: x.clamp(0.5, -0.5), X, id="clamp-crossed"),
    case(lambda x: x.clamp(0, float("inf")), X, id="clamp-inf"),
    case(lambda x: (x / 0).clamp(min=0), X, id="clamp-of-inf"),
    case(lambda x: x.clamp(-1, 2), Ints(X), id="clamp-int", dtypes=ONE),
    case(lambda x: x.clamp(-1.5, 2), Ints(X), id="clamp-int-float", dtypes=ONE),
    case(lambda x: x.clamp(min=2), Ints(X, dtype=torch.int32), id="clamp-int32", dtypes=ONE),
    case(lambda x, y: x.clamp(y, y + 1), X, (5,), id="clamp-tensors"),
    case(lambda x, y: torch.clamp(x, max=y), X, X, id="clamp-tensor-max", dtypes=ONE),
    case(lambda x, y: torch.clamp(x, min=y), Ints(X), X, id="clamp-promotes", dtypes=ONE),
    case(lambda x: x.clone().clamp_(0, 1), X, id="clamp_", dtypes=ONE),
    case(lambda x: x.clamp_min(0.1), X, id="clamp_min"),
    case(lambda x: x.clamp_max(0.1), X, id="clamp_max"),
    case(torch.clamp_min, X, X, id="clamp_min-tensor", dtypes=ONE),
    case(torch.clamp_max, X, X, id="clamp_max-tensor", dtypes=ONE),
    case(torch.maximum, X, X),
    case(torch.minimum, X, (5,)),
    case(torch.max, X, X, id="max-two", dtypes=ONE),
    case(torch.min, Ints(X), Ints(X), id="min-two", dtypes=ONE),
    case(lambda x: torch.maximum(x, NAN.to(x.dtype)), X, id="maximum-nan"),
    case(lambda x: torch.minimum(NAN.to(x.dtype), x), X, id="minimum-nan"),
    case(lambda x: (x + NAN.to(x.dtype)).clamp(-0.5, 0.5), X, id="clamp-nan"),
    case(torch.maximum, Bools(X), Bools(X), id="maximum-bool", dtypes=ONE),
    case(torch.minimum, Bools(X), Bools(X), id="minimum-bool", dtypes=ONE),
    case(torch.maximum, Ints(X), X, id="maximum-promotes", dtypes=ONE),
    case(torch.fmax, X, X),
    case(lambda x, y: torch.fmin(x + NAN, y), X, X, id="fmin-nan", dtypes=ONE),
    case(lambda x, y: torch.fmax(x + NAN, y), X, Ints(X), id="fmax-int", dtypes=ONE),
)
def test_limits(function, inputs, dtype):
    check(function, inputs, dtype)
