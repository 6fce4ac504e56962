import torch
import torch.nn.functional as F
from cases import B, Bools, Ints, case, cases, check

X = (B, 3, 5)
ONE = (torch.float32,)


@cases(
    case(lambda x: torch.zeros_like(x) + x, X, id="zeros_like"),
    case(torch.zeros_like, X, id="zeros_like-alone"),
    case(lambda x: torch.ones_like(x) * x, X, id="ones_like"),
    case(lambda x: torch.full_like(x, 2.5) * x, X, id="full_like"),
    case(lambda x: torch.full_like(x, 2.5, dtype=torch.float32) * x, X, id="full_like-dtype"),
    case(lambda x: torch.ones_like(x, dtype=torch.bool), X, id="ones_like-bool", dtypes=ONE),
    case(torch.zeros_like, Ints(X), id="zeros_like-int", dtypes=ONE),
    case(lambda x: x.new_zeros(x.shape[0], 2) + x[:, 0, :2], X, id="new_zeros"),
    case(lambda x: x.new_ones(5, dtype=torch.float32) + x, X, id="new_ones", dtypes=ONE),
    case(lambda x: x.new_full((3, 1), 1.5) + x, X, id="new_full"),
    case(lambda x: x.new_tensor([1.0, 2.0, 3.0, 4.0, 5.0]) + x, X, id="new_tensor", dtypes=ONE),
    case(lambda x: torch.zeros(x.shape[0], 3, 1) + x, X, id="zeros", dtypes=ONE),
    case(lambda x: torch.ones(x.shape[0], 1, 1) + x, X, id="ones", dtypes=ONE),
    case(lambda x: torch.full((x.size(0), 3, 1), 0.5) + x, X, id="full", dtypes=ONE),
    case(lambda x: torch.empty_like(x).copy_(x), X, id="empty_like-copy"),
    case(lambda x: torch.empty_like(x).copy_(x[:, :1, 0, None]), X, id="copy-broadcast", dtypes=ONE),
    case(lambda x, y: torch.zeros_like(x).copy_(y) + x, X, Ints(X), id="copy-casts", dtypes=ONE),
    case(lambda x: torch.empty_like(x).fill_(3.0), X, id="fill"),
    case(lambda x, y: x.clone().fill_(y), X, (), id="fill-tensor"),
    case(lambda x: x.clone().zero_(), X, id="zero", dtypes=ONE),
    case(lambda x: torch.empty_permuted(x.shape, [0, 2, 1]).copy_(x), X, id="empty_permuted", dtypes=ONE),
)
def test_values(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x: torch.arange(x.shape[0])[:, None] + x[:, 0], X, id="arange", dtypes=ONE),
    case(lambda x: torch.arange(1, 2 * x.shape[0] + 1, 2)[:, None] + x[:, 0], X, id="arange-step", dtypes=ONE),
    case(lambda x: torch.arange(x.shape[0], dtype=x.dtype)[:, None] * x[:, 0], X, id="arange-dtype"),
    case(lambda x: torch.arange(x.shape[2], device=x.device) < x, X, id="arange-mask", dtypes=ONE),
    case(lambda x: torch.linspace(0, 1, x.shape[2]) + x, X, id="linspace", dtypes=ONE),
    case(lambda x: torch.eye(x.shape[2])[:3] + x, X, id="eye", dtypes=ONE),
    case(lambda x: torch.eye(x.shape[0], 3) + x[..., 0], X, id="eye-dynamic", dtypes=ONE),
    case(lambda x: torch.arange(x.shape[0] - 1, -1, -1) + x.sum(), X, id="arange-down", dtypes=ONE),
    case(lambda x: torch.arange(x.shape[0], 2 * x.shape[0]) + x.sum(), X, id="arange-start", dtypes=ONE),
    case(lambda x: torch.linspace(0, 1, x.shape[0]) + x[:, 0, 0], X, id="linspace-steps", dtypes=ONE),
    case(lambda x: torch.linspace(-x.shape[0], 0.5, 4) + x.sum(), X, id="linspace-start", dtypes=ONE),
    case(lambda x: torch.linspace(3, x.shape[0] - 1, x.shape[0]) + x.sum(), X, id="linspace-end", dtypes=ONE),
    case(lambda x: torch.empty_strided((x.shape[0], 3), (3, 1)).fill_(2) + x.sum(), X, id="empty_strided", dtypes=ONE),
    case(lambda x, y: torch.meshgrid(x, y, indexing="ij"), (B,), (3,), id="meshgrid", dtypes=ONE),
    case(lambda x, y: torch.meshgrid(x, y, indexing="xy"), (B,), (3,), id="meshgrid-xy", dtypes=ONE),
    case(lambda x: F.one_hot(x, 6), Ints((B, 3), 0, 6), id="one_hot", dtypes=ONE),
)
def test_sequences(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(torch.tril, X),
    case(torch.triu, X),
    case(lambda x: x.tril(-1), (B, 4, 4), id="tril-1", dtypes=ONE),
    case(lambda x: x.triu(diagonal=2), (B, 4, 4), id="triu-2", dtypes=ONE),
    case(torch.tril, (3, 3), id="tril-matrix", dtypes=ONE),
    case(torch.tril, Ints(X), id="tril-int", dtypes=ONE),
    case(torch.triu, Bools(X), id="triu-bool", dtypes=ONE),
    case(lambda x: x.masked_fill(torch.ones_like(x, dtype=torch.bool).triu(1), 0), X, id="causal", dtypes=ONE),
)
def test_triangles(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x: x * x.shape[0], X, id="mul"),
    case(lambda x: x / x.numel(), X, id="div"),
    case(lambda x: x * x.shape[0] ** -0.5, X, id="root", dtypes=ONE),
    case(lambda x: x + (x.shape[0] * 3 + 1) / (x.shape[0] + 1) ** 0.5, X, id="quotient", dtypes=ONE),
    case(lambda x: torch.add(x, x, alpha=x.shape[0]), X, id="alpha", dtypes=ONE),
    case(lambda x: x.abs() ** x.shape[0], X, id="pow", dtypes=ONE),
    case(lambda x: x.shape[0] - x, X, id="rsub", dtypes=ONE),
    case(lambda x: x % x.shape[0], Ints(X), id="remainder", dtypes=ONE),
    case(lambda x: (x * 3).clamp(max=x.shape[0]), X, id="clamp", dtypes=ONE),
    case(lambda x: (x * 3 > x.shape[0], x == x.shape[0]), X, id="compare", dtypes=ONE),
    case(lambda x: x < x.shape[0] / 2, Ints(X), id="compare-float", dtypes=ONE),
    case(lambda x: x.masked_fill(x > 0, x.shape[0]), X, id="masked_fill", dtypes=ONE),
    case(lambda x: torch.where(x > 0, x.shape[0], x), X, id="where", dtypes=ONE),
    case(lambda x: torch.full((3,), x.shape[0]) + x.sum(1), (B, 3, 3), id="full", dtypes=ONE),
    case(lambda x: x.new_full((3,), x.shape[0] / 2) + x.sum(1), (B, 3, 3), id="new_full", dtypes=ONE),
    case(lambda x: torch.tensor(x.shape[0]) + x, X, id="tensor", dtypes=ONE),
    case(lambda x: torch.tensor([x.shape[0], 1.5, 2]) + x.sum(1), (B, 3, 3), id="tensor-list", dtypes=ONE),
    case(lambda x: torch.tensor([[x.shape[0], 1], [2, 3]]), (B, 3), id="tensor-lists", dtypes=ONE),
    case(lambda x: torch.as_tensor(x.shape[0], dtype=x.dtype) * x, X, id="as_tensor"),
    case(lambda x: torch.scalar_tensor(x.shape[0] / 2) * x, X, id="scalar_tensor", dtypes=ONE),
)
def test_numbers_that_follow_from_sizes(function, inputs, dtype):
    check(function, inputs, dtype)
