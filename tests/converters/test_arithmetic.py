import pytest
import torch
from cases import B, Bools, Ints, Uniform, case, cases, check

INT = Ints((B, 3, 5), -(2**31), 2**31 - 1, torch.int32)
LONG = Ints((B, 3, 5), -(2**63), 2**63 - 1)
X = (B, 3, 5)
FLOAT = (torch.float32,)
I64, I32 = Ints(X), Ints(X, dtype=torch.int32)
MATRIX, BOOL = torch.linspace(-2, 2, 15).reshape(3, 5), torch.tensor([True, False, True, False, True])


def add_in_place(x, y):
    x = x.clone()
    x += y
    x.sub_(1.5).mul_(y).div_(3)
    return x


def to_view(x, y):
    x = x.clone()
    x[:, 1] += y[:, 0]
    x[..., ::2].mul_(2)
    x.select(1, -1).sub_(y[:, -1], alpha=3)
    return x


@cases(
    case(torch.add, X, X),
    case(lambda x, y: x + y, X, (5,), id="add-rank"),
    case(lambda x, y: x + y, (3, 1), (B, 1, 5), id="add-broadcast"),
    case(lambda x, y: torch.add(x, y, alpha=0.3), X, X, id="add-alpha"),
    case(lambda x: torch.add(x, 2, alpha=0.3), X, id="add-alpha-number"),
    case(lambda x: x + 1e-8, X, id="add-tiny"),
    case(lambda x: 3 + x, X, id="radd"),
    case(lambda x: x + MATRIX.to(x.dtype), X, id="add-constant"),
    case(lambda x: x + torch.tensor(2.5), X, id="add-constant-0d"),
    case(lambda x: x + torch.tensor(2.5, dtype=torch.float64), X, id="add-constant-0d-float64"),
    case(lambda x, y: x + y, (), (), id="add-0d"),
    case(lambda x, y: x + y, X, (), id="add-0d-right"),
    case(lambda x, y: torch.sub(x, y, alpha=2), X, X, id="sub-alpha"),
    case(lambda x: x - 2.5, X, id="sub-number"),
    case(lambda x: 2 - x, X, id="rsub"),
    case(lambda x, y: torch.rsub(x, y, alpha=2), X, X, id="rsub-alpha"),
    case(torch.mul, X, X),
    case(lambda x: x * 0.1, X, id="mul-number"),
    case(lambda x: x * 1e5 * 1e-5, X, id="mul-large", dtypes=FLOAT),
    case(lambda x: x * 1e-8 * 1e6, X, id="mul-tiny", dtypes=FLOAT),
    case(torch.div, X, X),
    case(lambda x: x / 3, X, id="div-number"),
    case(lambda x: 2 / x, X, id="rdiv"),
    case(lambda x: x / torch.tensor(3), X, id="div-int-constant"),
    case(add_in_place, X, X),
    case(to_view, X, X),
    case(lambda x, y: torch.add(x, y, out=torch.empty_like(x)), X, X, id="add-out"),
)
def test_arithmetic(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x, y: x + y, X, I64, id="float+int"),
    case(lambda x, y: x * y, X, Bools(X), id="float*bool"),
    case(lambda x, y: x - y, X, Ints((), dtype=torch.int64), id="float-int0d"),
    case(lambda x: x + BOOL, X, id="float+constant-bool"),
)
def test_promotion_to_float(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x, y: x + y, I64, I64, dtypes=FLOAT, id="int"),
    case(lambda x, y: x + y, I64, I32, dtypes=FLOAT, id="int64+int32"),
    case(lambda x, y: x + y, I32, Ints(()), dtypes=FLOAT, id="int32+int64-0d"),
    case(lambda x: x + 2, I32, dtypes=FLOAT, id="int+2"),
    case(lambda x: x * 2.5, I64, dtypes=FLOAT, id="int*2.5"),
    case(lambda x: 7 - x, I64, dtypes=FLOAT, id="7-int"),
    case(lambda x: x / 4, I64, dtypes=FLOAT, id="int/4"),
    case(lambda x, y: x / y, I64, Ints(X, 1, 9), dtypes=FLOAT, id="int/int"),
    case(lambda x, y: torch.add(x, y, alpha=3), I64, I64, dtypes=FLOAT, id="int-alpha"),
    case(lambda x, y: x + y, Bools(X), I64, dtypes=FLOAT, id="bool+int"),
    case(lambda x, y: x + y, Bools(X), Bools(X), dtypes=FLOAT, id="bool+bool"),
    case(lambda x, y: x * y, Bools(X), Bools(X), dtypes=FLOAT, id="bool*bool"),
    case(lambda x: x + 1, Bools(X), dtypes=FLOAT, id="bool+1"),
    case(lambda x: x * 0.5, Bools(X), dtypes=FLOAT, id="bool*0.5"),
    case(lambda x: 1 - x.float(), Bools(X), dtypes=FLOAT, id="1-bool"),
    case(lambda x, y: x / (y + 1), Bools(X), Bools(X), dtypes=FLOAT, id="bool/int"),
    case(lambda x, y: x + y.half(), X, X, id="float+half", dtypes=FLOAT),
    case(lambda x, y: x.half() * y.bfloat16(), X, X, id="half*bfloat16", dtypes=FLOAT),
)
def test_promotion(function, inputs, dtype):
    check(function, inputs, dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_beyond_half_precision(dtype):
    check(lambda x: x * 1e5 / 1e5 * 1e-8, ((4, 3),), dtype)


POSITIVE, NOT_ZERO = Uniform(X, 0.1, 3), Ints(X, 1, 9)
WIDE = Uniform(X, -20, 20)
SIGNED = torch.tensor([0.0, -0.0, 1.0, -1.0, float("inf")])


@cases(
    *(case(lambda x, n=n: x**n, POSITIVE, id=f"pow-{n}") for n in (0, 1, 2, 3, 4, 5, 0.5, -0.5, -1, -2, 1.7, -2.3)),
    *(case(lambda x, n=n: x**n, X, id=f"pow-{n}-signed") for n in (2, 3, 4, 5, 6)),
    *(case(lambda x, n=n: x**n, Ints(X), dtypes=FLOAT, id=f"pow-{n}-int") for n in (0, 1, 2, 3, 7)),
    case(lambda x: x**0.5, Ints(X, 0, 9), dtypes=FLOAT, id="pow-int-root"),
    case(lambda x: torch.pow(x, torch.tensor(2)), X, id="pow-constant"),
    case(lambda x, y: x**y, POSITIVE, X, id="pow-tensors"),
    case(lambda x, y: x**y, Ints(X), Ints(X, 0, 5), dtypes=FLOAT, id="pow-ints"),
    case(lambda x, y: (x * 2 - 1) ** y, Ints(X, 0, 2), Ints(X), dtypes=FLOAT, id="pow-ones"),
    case(lambda x, y: x**y, INT, Ints(X, 0, 40, torch.int32), dtypes=FLOAT, id="pow-int32"),
    case(lambda x, y: x**y, LONG, Ints(X, 0, 70), dtypes=FLOAT, id="pow-int64"),
    case(lambda x, y: x**y, Ints(X, -9, 10, torch.int32), INT, dtypes=FLOAT, id="pow-int32-any-exponent"),
    case(lambda x: 3**x, LONG, dtypes=FLOAT, id="pow-of-3"),
    case(lambda x: torch.tensor([3, -5, 2, 7, -1]) ** x, Ints(X, 0, 30), dtypes=FLOAT, id="pow-of-constants"),
    case(lambda x: x ** torch.tensor([3, 5, 2, 17, 23]), Ints(X, -40, 41), dtypes=FLOAT, id="pow-of-int-constants"),
    case(lambda x: (x**9, x**31), INT, dtypes=FLOAT, id="pow-int32-number"),
    case(lambda x: 2**x, X, id="pow-of-2"),
    case(lambda x: 0.3**x, X, id="pow-of-fraction"),
    case(lambda x: 3**x, NOT_ZERO, dtypes=FLOAT, id="pow-of-int"),
    case(lambda x: (-1) ** x, NOT_ZERO, dtypes=FLOAT, id="pow-of-minus-1"),
    case(lambda x: x.clone().pow_(2), X, dtypes=FLOAT, id="pow_"),
)
def test_powers(function, inputs, dtype):
    check(function, inputs, dtype)


def rounded(mode):
    return lambda x, y: torch.div(x, y, rounding_mode=mode)


@cases(
    *(case(rounded(mode), WIDE, POSITIVE, id=f"div-{mode}") for mode in ("floor", "trunc", None)),
    *(case(rounded(mode), Ints(X), NOT_ZERO, id=f"div-{mode}-int", dtypes=FLOAT) for mode in ("floor", "trunc", None)),
    *(case(rounded(m), WIDE, NOT_ZERO, id=f"div-{m}-mixed", dtypes=FLOAT) for m in ("floor", "trunc")),
    case(lambda x: torch.div(x, -2, rounding_mode="trunc"), WIDE, id="div-trunc-number"),
    case(lambda x: x // 3, WIDE, id="floordiv"),
    case(lambda x: x // -3, Ints(X, -20, 20), id="floordiv-int", dtypes=FLOAT),
    case(lambda x: 7 // x, NOT_ZERO, id="rfloordiv-int", dtypes=FLOAT),
    case(torch.floor_divide, Ints(X, -20, 20), NOT_ZERO, id="floor_divide-int", dtypes=FLOAT),
    case(lambda x: x % 3, WIDE, id="mod"),
    case(lambda x: x % -3, Ints(X, -20, 20), id="mod-int", dtypes=FLOAT),
    case(lambda x: 7 % x, NOT_ZERO, id="rmod-int", dtypes=FLOAT),
    case(lambda x, y: x % y, WIDE, NOT_ZERO, id="mod-tensors"),
    case(lambda x: torch.fmod(x, 3), WIDE, id="fmod"),
    case(torch.fmod, Ints(X, -20, 20), NOT_ZERO, id="fmod-int", dtypes=FLOAT),
    case(lambda x: x.clone().remainder_(2), WIDE, id="remainder_", dtypes=FLOAT),
)
def test_rounding_divisions(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(torch.addcmul, X, X, (5,)),
    case(lambda x, y, z: torch.addcmul(x, y, z, value=-0.3), X, X, X, id="addcmul-value"),
    case(lambda x, y, z: torch.addcmul(x, y, z, value=2), Ints(X), Ints(X), Ints(X), id="addcmul-int", dtypes=FLOAT),
    case(torch.addcdiv, X, X, POSITIVE),
    case(lambda x, y, z: torch.addcdiv(x, y, z, value=-0.3), X, X, POSITIVE, id="addcdiv-value"),
    case(lambda x, y: torch.lerp(x, y, 0.3), X, X, id="lerp"),
    case(lambda x, y: torch.lerp(x, y, 0.9), X, X, id="lerp-end"),
    case(torch.lerp, X, X, Uniform(X), id="lerp-tensor"),
    case(torch.lerp, X, X, (), id="lerp-0d"),
    case(torch.hypot, X, X),
    case(lambda x, y: torch.hypot(x * 1e30, y * 1e30), X, X, id="hypot-large", dtypes=FLOAT),
    case(lambda x, y: torch.hypot(x / 0, y * torch.nan), X, X, id="hypot-inf-nan", dtypes=FLOAT),
    case(torch.atan2, X, X),
    case(lambda x, y: torch.atan2(x, y[..., :1]), X, X, id="atan2-broadcast", dtypes=FLOAT),
    case(lambda x: torch.atan2(x, SIGNED[:4]), (B, 1), id="atan2-zero-x", dtypes=FLOAT),
    case(lambda x: torch.atan2(SIGNED[:4], x), (B, 1), id="atan2-zero-y", dtypes=FLOAT),
    case(torch.xlogy, X, POSITIVE),
    case(lambda x: torch.xlogy(x, 2.5), X, id="xlogy-number"),
    case(lambda x: torch.xlogy(2, x), POSITIVE, id="xlogy-of-number", dtypes=FLOAT),
    case(lambda x, y: torch.xlogy(x, y * 0), Ints(X), POSITIVE, id="xlogy-0", dtypes=FLOAT),
    case(torch.special.xlog1py, X, POSITIVE),
    case(torch.logaddexp, X, X),
    case(torch.logaddexp2, X, X),
    case(lambda x: torch.logaddexp(x / 0, x / 0), X, id="logaddexp-inf", dtypes=FLOAT),
    case(torch.copysign, X, X),
    case(lambda x: torch.copysign(x, SIGNED), X, id="copysign-zeros", dtypes=FLOAT),
    case(lambda x: torch.copysign(x, -2.0), X, id="copysign-number"),
    case(lambda x: torch.signbit(x * 0 + x * SIGNED[:4]), (B, 4), id="signbit", dtypes=FLOAT),
    case(torch.signbit, Ints(X), id="signbit-int", dtypes=FLOAT),
    case(torch.ldexp, X, Ints(X)),
)
def test_combinations(function, inputs, dtype):
    check(function, inputs, dtype)


# torch composes these of other calls where a size is 1.
FIXED = (2, 3, 5)


@cases(
    case(torch.outer, (B,), (3,)),
    case(torch.kron, (2, 3), (3, 2), dtypes=FLOAT),
    case(lambda x, y: torch.tensordot(x, y, 1), X, (5, 4), id="tensordot"),
    case(lambda x, y: torch.tensordot(x, y, dims=([1, 2], [0, 1])), FIXED, (3, 5), id="tensordot-two"),
    case(lambda x, y: torch.einsum("bij,bkj->bik", x, y), FIXED, (2, 4, 5), id="einsum-matrices"),
    case(lambda x, y: torch.einsum("b...j,kj->...bk", x, y), FIXED, (4, 5), id="einsum-ellipsis", dtypes=FLOAT),
    case(lambda x: torch.einsum("bii->bi", x), (B, 3, 3), id="einsum-diagonal", dtypes=FLOAT),
    case(lambda x: torch.einsum("bij->jb", x), X, id="einsum-sum", dtypes=FLOAT),
    case(lambda x, y: torch.einsum("i,j->ij", x, y), (B,), (3,), id="einsum-outer", dtypes=FLOAT),
    case(lambda x, y: torch.einsum("bhid,bhjd->bhij", x, y), (2, 2, 3, 4), (2, 2, 5, 4), id="einsum-heads"),
)
def test_products_of_several_axes(function, inputs, dtype):
    check(function, inputs, dtype)
