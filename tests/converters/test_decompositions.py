"""Operators that no converter takes, computed by PyTorch's own decompositions of them."""

import pytest
import torch
import torch.nn.functional as F
from cases import B, Bools, Function, Ints, case, cases, check

import trtconv

aten = torch.ops.aten
X, ONE = (B, 3, 5), (torch.float32,)


@cases(
    case(F.multi_margin_loss, (B, 5), Ints((B,), 0, 5), dtypes=ONE),
    case(
        lambda x, t, w: F.multi_margin_loss(x, t, 2, 0.5, w), (B, 5), Ints((B,), 0, 5), (5,), id="weights", dtypes=ONE
    ),
    case(F.multilabel_margin_loss, (B, 5), Ints((B, 5), -1, 5), dtypes=ONE),
    case(F.multilabel_margin_loss, (5,), Ints((5,), -1, 5), id="multilabel_margin_loss-one", dtypes=ONE),
    case(
        lambda x, t: F.multilabel_margin_loss(x, t, reduction="none"),
        (B, 5),
        Ints((B, 5), -1, 5),
        id="multilabel_margin_loss-each",
        dtypes=ONE,
    ),
    case(lambda g, m: aten.native_dropout_backward(g, m, 2.0), X, Bools(X), id="dropout-backward", dtypes=ONE),
    case(lambda g, y: aten._softmax_backward_data(g, y.softmax(-1), -1, y.dtype), X, X, id="softmax-backward"),
    case(lambda x: aten._chunk_cat([x, x + 1], 1, 2), (4, 3, 5), id="_chunk_cat", dtypes=ONE),
    case(
        lambda x, m, i: aten._unsafe_masked_index(x, m, [None, i], 0.5),
        (2, 3, 5),
        Bools((4, 5)),
        Ints((4,), 0, 3),
        id="_unsafe_masked_index",
        dtypes=ONE,
    ),
)
def test_decomposed(function, inputs, dtype):
    check(function, inputs, dtype)


@torch.library.custom_op("trtconv_tests::halved", mutates_args=())
def halved(x: torch.Tensor) -> torch.Tensor:
    return x / 2


@halved.register_fake
def _(x):
    return torch.empty_like(x)


def test_a_decomposition_that_decides_by_a_dynamic_size_is_not_taken(monkeypatch):
    operator = torch.ops.trtconv_tests.halved.default

    def formula(x):
        return x * 2 if x.shape[0] > 3 else x * 3

    monkeypatch.setitem(torch._decomp.decomposition_table, operator, formula)
    module = Function(operator)
    assert torch.equal(trtconv.convert(module, torch.ones(2))(torch.ones(2)), torch.full((2,), 3.0))
    with pytest.raises(trtconv.ConversionError, match=r"halved|decides by a dynamic size"):
        trtconv.convert(module, torch.ones(2), dynamic_shapes={"args": [{0: (1, 2, 8)}]})


def test_what_converts_is_not_taken_apart():
    converted = trtconv.convert(torch.nn.GELU(), torch.randn(3))
    assert converted.plan.provenance["calls"] == 1
