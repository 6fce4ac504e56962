import pytest
import torch
import torch.nn.functional as F
from cases import FLOATS, B, Ints, case, cases, check
from releases import runs

import trtconv


def grouped(x, weight, sizes):
    """The rows after all groups are made 0: torch doesn't say what it leaves there."""
    ends = sizes.cumsum(0, dtype=torch.int32)
    if x.dtype is torch.float64:  # which torch's own function doesn't take
        product = torch.zeros(x.shape[0], weight.shape[1], dtype=x.dtype)
        for rows, end, matrix in zip(sizes.tolist(), ends.tolist(), weight, strict=True):
            product[end - rows : end] = x[end - rows : end] @ matrix.T
        return product
    product = F.grouped_mm(x, weight.transpose(-2, -1), offs=ends)
    return product.where((torch.arange(x.shape[0]) < ends[-1]).unsqueeze(1), 0)


def batched(x, weight):
    return x @ weight if x.dtype is torch.float64 else F.grouped_mm(x, weight)


def has_kernel(dtype):
    """Some releases have no such function."""
    x, weight, ends = torch.ones(16, 16), torch.ones(2, 16, 8), torch.tensor([8, 16], dtype=torch.int32)
    return runs(lambda: F.grouped_mm(x.to(dtype), weight.to(dtype), offs=ends))


TYPES = tuple(filter(has_kernel, FLOATS))
pytestmark = pytest.mark.skipif(not TYPES, reason=f"PyTorch {torch.__version__} has no products by group")


@cases(
    case(grouped, (24, 16), (4, 8, 16), Ints((4,), 0, 6), dtypes=TYPES),
    case(batched, (B, 8, 16), (B, 16, 8), dtypes=TYPES),
)
def test_grouped_products(function, inputs, dtype):
    check(function, inputs, dtype)


def test_rows_of_a_dynamic_number():
    dtype = TYPES[0]
    weight = torch.randn(4, 8, 16)
    x, sizes = torch.randn(12, 16, dtype=dtype), torch.tensor([3, 0, 5, 4])

    class Experts(torch.nn.Module):
        def forward(self, x, sizes):
            return grouped(x, weight.to(x.dtype), sizes)

    dynamic = {"x": {0: trtconv.Dim(1, 40)}}
    converted = trtconv.convert(Experts(), (x, sizes), dynamic_shapes=dynamic)
    for sizes in ([0, 1, 0, 0], [10, 10, 10, 10], [0, 0, 0, 29]):
        arguments = (torch.randn(sum(sizes), 16, dtype=dtype), torch.tensor(sizes))
        result = trtconv.inspect.compare(Experts(), converted, arguments)
        assert result.correct, str(result)


def test_groups_of_columns_are_refused():
    ends = torch.tensor([16, 32], dtype=torch.int32)
    with pytest.raises(trtconv.UnsupportedArgumentError, match="groups of columns"):
        check(lambda x, y: F.grouped_mm(x, y, offs=ends), ((8, 32), (32, 8)), TYPES[0])
