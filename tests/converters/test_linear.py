import pytest
import torch
import torch.nn.functional as F
from cases import B, Ints, case, cases, check
from torch import nn

INT = (torch.float32,)  # the inputs are integers, whatever the case's dtype


class Shared(nn.Module):
    """One weight used in two ways."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 5)

    def forward(self, x):
        return F.linear(self.inner(x), self.inner.weight)


@cases(
    case(nn.Linear(5, 7), (5,), id="1d"),
    case(nn.Linear(5, 7), (B, 5), id="2d"),
    case(nn.Linear(5, 7), (B, 3, 5), id="3d"),
    case(nn.Linear(5, 7), (B, 3, 4, 5), id="4d"),
    case(nn.Linear(5, 7, bias=False), (B, 5), id="no-bias"),
    case(nn.Linear(5, 1), (B, 5), id="to-1"),
    case(nn.Bilinear(3, 4, 5), (B, 3), (B, 4), id="Bilinear"),
    case(nn.Bilinear(3, 4, 5, bias=False), (3,), (4,), id="Bilinear-vectors"),
    case(nn.Bilinear(3, 4, 5), (B, 6, 3), (B, 6, 4), id="Bilinear-3d"),
    case(F.linear, (B, 3, 5), (7, 5), id="computed-weight"),
    case(F.linear, (B, 5), (7, 5), (7,), id="computed-bias"),
    case(F.linear, (5,), (7, 5), (7,), id="computed-1d"),
    case(F.linear, (B, 5), (5,), id="weight-vector"),
    case(F.linear, (5,), (5,), id="two-vectors"),
    case(Shared(), (B, 5), id="shared"),
    case(lambda w: F.linear(torch.ones(3, 5, dtype=w.dtype), w), (7, 5), id="constant-input"),
    case(lambda x, w: F.linear(input=x, weight=w, bias=None), (B, 5), (7, 5), id="keywords"),
    case(lambda x, y, w: F.bilinear(input2=y, input1=x, weight=w), (B, 3), (B, 4), (5, 3, 4), id="bilinear-keywords"),
)
def test_linear(function, inputs, dtype):
    check(function, inputs, dtype)


SHAPES = [
    [(4,), (4,)],
    [(4,), (4, 5)],
    [(3, 4), (4,)],
    [(3, 4), (4, 5)],
    [(4,), (B, 4, 5)],
    [(B, 3, 4), (4,)],
    [(B, 3, 4), (4, 5)],
    [(3, 4), (B, 4, 5)],
    [(B, 3, 4), (B, 4, 5)],
    [(1, 3, 4), (6, 4, 5)],
    [(6, B, 3, 4), (B, 4, 5)],
    [(B, 6, 3, 4), (4,)],
    [(B, 1, 3, 4), (1, 6, 4, 5)],
]


@cases(*(case(torch.matmul, a, b, id=f"{list(a)}@{list(b)}") for a, b in SHAPES))
def test_matmul(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda a, b: a @ b, (B, 3, 4), (B, 4, 5), id="@"),
    case(lambda a: torch.ones(2, 3, dtype=a.dtype) @ a, (3, 4), id="@-constant-left"),
    case(lambda a: a @ torch.ones(4, dtype=a.dtype), (3, 4), id="@-constant-vector"),
    case(lambda a: a @ a.mT, (B, 3, 4), id="@-transposed"),
    case(lambda a, b: a.matmul(b), (3, 4), (4, 5), id="method"),
    case(lambda a, b: torch.matmul(a, b, out=a.new_empty(3, 5)), (3, 4), (4, 5), id="matmul-out"),
    case(lambda a, b: torch.matmul(other=b, input=a), (3, 4), (4, 5), id="matmul-keywords"),
    case(torch.linalg.matmul, (B, 3, 4), (B, 4, 5), id="linalg.matmul"),
    case(torch.mm, (3, 4), (4, 5)),
    case(lambda a, b: a.mm(b), (3, 4), (4, 5), id="Tensor.mm"),
    case(torch.bmm, (B, 3, 4), (B, 4, 5)),
    case(torch.mv, (3, 4), (4,)),
    case(torch.dot, (4,), (4,)),
    case(torch.vdot, (4,), (4,)),
    case(torch.inner, (3, 4), (5, 4)),
    case(torch.outer, (3,), (4,)),
    case(torch.addmm, (3, 5), (3, 4), (4, 5)),
    case(lambda x, a, b: torch.addmm(x, a, b, beta=0.5, alpha=2), (5,), (3, 4), (4, 5), id="addmm-factors"),
    case(lambda x, a, b: torch.addmm(x / 0, a, b, beta=0), (5,), (3, 4), (4, 5), id="addmm-beta-0"),
    case(lambda x, a, b: x.clone().addmm_(a, b), (3, 5), (3, 4), (4, 5), id="addmm_"),
    case(torch.baddbmm, (B, 3, 5), (B, 3, 4), (B, 4, 5)),
    case(lambda x, a, b: torch.baddbmm(x, a, b, beta=2, alpha=-1), (3, 1), (B, 3, 4), (B, 4, 5), id="baddbmm-factors"),
    case(torch.addbmm, (3, 5), (B, 3, 4), (B, 4, 5)),
    case(lambda x, a, b: torch.addbmm(x, a, b, beta=2, alpha=0.5), (3, 5), (B, 3, 4), (B, 4, 5), id="addbmm-factors"),
    case(torch.addmv, (3,), (3, 4), (4,)),
    case(lambda x, a, b: torch.addmv(x, a, b, beta=2, alpha=3), (1,), (3, 4), (4,), id="addmv-factors"),
    case(torch.addr, (3, 4), (3,), (4,)),
    case(lambda x, a, b: torch.addr(x, a, b, beta=0, alpha=3), (1, 4), (3,), (4,), id="addr-factors"),
    case(lambda a, b, c: torch.linalg.multi_dot([a, b, c]), (2, 3), (3, 4), (4, 5), id="multi_dot"),
)
def test_products(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(torch.matmul, Ints((B, 3, 4)), Ints((4, 5)), id="int64", dtypes=INT),
    case(torch.matmul, Ints((4,), high=2**60), Ints((4,)), id="int64-large", dtypes=INT),
    case(torch.mm, Ints((3, 4), dtype=torch.int32), Ints((4, 5), dtype=torch.int32), id="int32", dtypes=INT),
    case(torch.bmm, Ints((B, 3, 4)), Ints((B, 4, 5)), id="bmm", dtypes=INT),
    case(lambda x, a, b: torch.addmm(x, a, b, beta=2, alpha=3), Ints((5,)), Ints((3, 4)), Ints((4, 5)), id="addmm",
         dtypes=INT),
)  # fmt: skip
def test_integers(function, inputs, dtype):
    check(function, inputs, dtype)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_linear_of_integers(dtype):
    weight = torch.randint(0, 100, (4, 5), dtype=dtype)
    high = 256 if dtype is torch.uint8 else 2**30
    inputs = Ints((3, 5), 0, high, dtype), Ints((2, 5), 0, high, dtype)
    check(lambda x, w: (F.linear(x, weight), F.linear(x, w)), inputs, torch.float32)
