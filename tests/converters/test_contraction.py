import pytest
import torch
from cases import DEVICE, B, Ints, case, cases, check
from torch import nn

INT = (torch.float32,)  # the inputs are integers, whatever the case's dtype
FLOAT = (torch.float32,)  # one dtype where the point is the equation


def einsum(equation, *shapes, dtypes=FLOAT):
    return case(lambda *x: torch.einsum(equation, *x), *shapes, id=equation.replace(" ", "_"), dtypes=dtypes)


class Weighted(nn.Module):
    """A constant among the operands."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4, 3))

    def forward(self, x):
        return torch.einsum("b...d,hkd->b...hk", x, self.weight)


@cases(
    einsum("ij,jk->ik", (B, 4), (4, 5), dtypes=(torch.float32, torch.float16, torch.bfloat16)),
    einsum("bhqd,bhkd->bhqk", (B, 3, 4, 5), (B, 3, 6, 5), dtypes=(torch.float32, torch.float16, torch.bfloat16)),
    einsum("bij,bjk->bik", (B, 3, 4), (B, 4, 5)),
    einsum("bij,cjk->bcik", (B, 3, 4), (2, 4, 5)),
    einsum("bij,bij->b", (B, 3, 4), (B, 3, 4)),
    einsum("bi,bj->ij", (B, 3), (B, 4)),
    einsum("bi,bi->", (B, 3), (B, 3)),
    einsum("b i , j -> b i j", (B, 3), (4,), dtypes=(torch.float32, torch.float16, torch.bfloat16)),
    einsum("i,i", (4,), (4,)),
    einsum("bj,jA", (B, 4), (4, 3)),
    einsum("bc,ac", (B, 3), (4, 3)),
    einsum("bij,kl->bl", (B, 3, 4), (2, 5)),
    einsum("bcij,bdij->bcd", (B, 3, 4, 5), (B, 2, 4, 5)),
    einsum("bcij,bcdj->bdi", (B, 3, 4, 5), (B, 3, 2, 5)),
    einsum("bij->bji", (B, 3, 4), dtypes=(torch.float32, torch.float16, torch.bfloat16)),
    einsum("bij->bi", (B, 3, 4), dtypes=(torch.float32, torch.float16, torch.bfloat16)),
    einsum("bij->", (B, 3, 4)),
    einsum("ba", (B, 3)),
    einsum("bii->bi", (B, 4, 4)),
    einsum("bii->b", (B, 4, 4)),
    einsum("bb->b", (B, B)),
    einsum("bb", (B, B)),
    einsum("iii->i", (3, 3, 3)),
    einsum("ijij->ji", (3, 4, 3, 4)),
    einsum("bii,bi->b", (B, 4, 4), (B, 4)),
    einsum("...ij,...jk->...ik", (B, 2, 3, 4), (2, 4, 5)),
    einsum("...ij,jk", (B, 2, 3, 4), (4, 5)),
    einsum("b...,...b->...", (B, 3, 4), (3, 4, B)),
    einsum("i...->...", (3, B, 4)),
    einsum("...i->i", (B, 3, 4)),
    einsum("...,->...", (B, 3), ()),
    einsum("->", ()),
    einsum("i,->i", (B,), ()),
    einsum("bij,bjk->bik", (1, 3, 4), (B, 4, 5)),
    einsum("bij,bjk->ik", (1, 3, 4), (B, 4, 5)),
    einsum("bij,bjk->bik", (B, 3, 1), (B, 4, 5)),
    einsum("ij,jk->ik", (1, 1), (1, 1)),
    einsum("bi,ij,jk->bk", (B, 3), (3, 4), (4, 5), dtypes=(torch.float32, torch.float16, torch.bfloat16)),
    einsum("bi,bj,bk->bijk", (B, 3), (B, 4), (B, 5)),
    einsum("bi,ci,bc,i->b", (B, 3), (4, 3), (B, 4), (3,)),
    einsum("abcd,efgh->ah", (2, 1, 2, 3), (1, 2, 2, 3)),
    case(Weighted(), (B, 2, 3), id="constant"),
    case(lambda x, y: torch.einsum("ij,jk->ik", [x, y]), (B, 4), (4, 5), id="list", dtypes=FLOAT),
    case(lambda x, y: torch.einsum(x, [0, 1], y, [1, 30], [30, 0]), (B, 4), (4, 5), id="sublists", dtypes=FLOAT),
    case(lambda x, y: torch.einsum(x, [..., 0], y, [0, 1]), (B, 4), (4, 5), id="sublists-ellipsis", dtypes=FLOAT),
    case(lambda x, y: torch.einsum("ij,kj->ik", x, y), Ints((B, 4)), Ints((5, 4)), id="int64", dtypes=INT),
    case(lambda x: torch.einsum("ij->i", x), Ints((B, 4), dtype=torch.int32), id="int32-sum", dtypes=INT),
)
def test_einsum(function, inputs, dtype):
    check(function, inputs, dtype)


def tensordot(dims, *shapes, dtypes=FLOAT):
    return case(lambda x, y: torch.tensordot(x, y, dims), *shapes, id=f"dims={dims}".replace(" ", ""), dtypes=dtypes)


@cases(
    tensordot(1, (B, 3, 4), (4, 5), dtypes=(torch.float32, torch.float16, torch.bfloat16)),
    tensordot(2, (B, 3, 4), (3, 4, 5)),
    tensordot(0, (B, 3), (4,)),
    tensordot(([0], [0]), (B, 3), (B, 4)),
    tensordot(([0, 2], [0, -1]), (B, 3, 4), (B, 5, 4)),
    tensordot(([1], [0]), (B, 1, 4), (3, 5)),
    case(torch.tensordot, (B, 3, 4), (3, 4, 5), id="default", dtypes=FLOAT),
    case(lambda x, y: torch.tensordot(x, b=y, dims=1), Ints((B, 4)), Ints((4, 5)), id="int64", dtypes=INT),
)
def test_tensordot(function, inputs, dtype):
    check(function, inputs, dtype)


def test_an_output_given_by_the_caller_is_written():
    def function(x, y):
        result = torch.empty(2, 5, dtype=x.dtype)
        torch.tensordot(x, y, 1, out=result)
        return result + 1

    check(function, ((2, 4), (4, 5)), torch.float32)


@pytest.mark.skipif(DEVICE.type == "cuda", reason="without TensorFloat-32 products are made of other layers")
@pytest.mark.parametrize("equation", ["ij,jk->ik", "ij,jk,kl->il"])
def test_einsum_makes_a_matrix_product_of_each_pair(equation):
    shapes = [(3, 4), (4, 5), (5, 6)][: equation.count(",") + 1]
    converted = check(lambda *x: torch.einsum(equation, *x), tuple(shapes), torch.float32)
    types = [layer.type for layer in converted.network.layers]
    assert types == ["MATRIX_MULTIPLY"] * equation.count(",")
