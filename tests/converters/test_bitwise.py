import operator

import pytest
import torch
from cases import B, Bools, Function, Ints, case, cases, check

import trtconv

X = (B, 3, 5)
ONE = (torch.float32,)
LONG = Ints(X, -(2**63), 2**63 - 1)
INT = Ints(X, -(2**31), 2**31 - 1, torch.int32)
BITS = (operator.and_, operator.or_, operator.xor)
SHIFTS = (operator.lshift, operator.rshift)
NUMBERS = (3, 0, -1, -4, 0xFF00, -0xF0F0F, 0x55555555, -0x55555555, 2**31 - 1, -(2**31))


def each(functions, *inputs, name):
    return [param for f in functions for param in case(f, *inputs, id=f"{f.__name__}-{name}", dtypes=ONE)]


def with_each(functions, *numbers):
    """Functions of several integers of 32 and 64 bits and one of the numbers."""
    return [
        param
        for f in functions
        for number in numbers
        for param in case(
            lambda x, y, f=f, number=number: (f(x, number), f(y, number)),
            *(Ints((30,), INT.low, INT.high, torch.int32), Ints((30,), LONG.low, LONG.high)),
            id=f"{f.__name__}-{number}",
            dtypes=ONE,
        )
    ]


@cases(
    each(BITS, Bools(X), Bools(X), name="bool"),
    each(BITS, LONG, LONG, name="int64"),
    each(BITS, INT, INT, name="int32"),
    each(BITS, INT, Ints((5,)), name="mixed"),
    each(BITS, Ints((3, 5), -128, 128, torch.int8), Ints((5,), -128, 128, torch.int8), name="int8"),
    each(BITS, LONG, Bools(X), name="int-bool"),
    with_each(BITS, *NUMBERS),
    case(lambda x: x & (2**62 + 5), LONG, id="and-large", dtypes=ONE),
    case(lambda x: x | torch.tensor([1, 2, -3, 4, 5]), LONG, id="or-constant", dtypes=ONE),
    case(lambda x: 6 ^ x, LONG, id="xor-reversed", dtypes=ONE),
    case(lambda x: x & True, Bools(X), id="and-bool-number", dtypes=ONE),
    case(lambda x: x.clone().bitwise_or_(8), LONG, id="or-in-place", dtypes=ONE),
)
def test_bits(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    each(SHIFTS, LONG, Ints(X, -2, 67), name="int64"),
    each(SHIFTS, INT, Ints((), -2, 35, torch.int32), name="int32"),
    with_each(SHIFTS, 0, 1, 31, 32, 63, 64, -1),
    case(lambda x: torch.bitwise_left_shift(5, x), Ints(X, -2, 67), id="left-of-number", dtypes=ONE),
    case(lambda x: torch.bitwise_right_shift(-(2**40), x), Ints(X, -2, 67), id="right-of-number", dtypes=ONE),
)
def test_shifts(function, inputs, dtype):
    check(function, inputs, dtype)


def test_floats_are_refused():
    with pytest.raises(trtconv.ConversionError):
        trtconv.convert(Function(lambda x: torch.bitwise_left_shift(x, 2)), (torch.randn(4),))
