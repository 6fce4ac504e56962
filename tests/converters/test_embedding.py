import pytest
import torch
import torch.nn.functional as F
from cases import FLOATS, B, Function, Ints, case, cases, check
from torch import nn

import trtconv

ONE = (torch.float32,)
HALF = (torch.float32, torch.float16)
TABLE = (7, 4)
MODES = ("sum", "mean", "max")


@cases(
    case(F.embedding, Ints((B, 3), 0, 7), TABLE, dtypes=HALF),
    case(nn.Embedding(7, 4, padding_idx=0), Ints((B, 3), 0, 7)),
    case(nn.Embedding(7, 4), Ints((B,), 0, 7, torch.int32), id="Embedding-int32", dtypes=ONE),
    case(nn.Embedding(7, 4), Ints((), 0, 7), id="Embedding-0d", dtypes=ONE),
    case(lambda i, t: F.embedding(i, t * 2, max_norm=1.5), Ints((B, 3), 0, 7), TABLE, id="max_norm", dtypes=ONE),
)
def test_embedding(function, inputs, dtype):
    check(function, inputs, dtype)


def each_mode(name, *inputs, dtypes=ONE, **options):
    return [
        param
        for mode in MODES
        for param in case(
            lambda i, *x, mode=mode: F.embedding_bag(i, *x, mode=mode, **options),
            *inputs,
            id=f"{name}-{mode}",
            dtypes=dtypes,
        )
    ]


OFFSETS = torch.tensor([0, 2, 2, 5])


@cases(
    each_mode("rows", Ints((B, 3), 0, 7), TABLE, dtypes=FLOATS),
    each_mode("padding", Ints((B, 3), 0, 2), TABLE, padding_idx=-6),
    each_mode("offsets", Ints((6,), 0, 7), TABLE, offsets=OFFSETS, dtypes=HALF),
    each_mode("offsets-padding", Ints((6,), 0, 3), TABLE, offsets=OFFSETS, padding_idx=1),
    each_mode("last-offset", Ints((5,), 0, 7), TABLE, offsets=OFFSETS, include_last_offset=True),
    case(lambda i, w, o: F.embedding_bag(i, w, o - o[0]), Ints((6,), 0, 7), TABLE, Ints((B,), 0, 1), dtypes=ONE),
    case(
        lambda i, w, s: F.embedding_bag(i, w, per_sample_weights=s, mode="sum"),
        *(Ints((B, 3), 0, 7), TABLE, (B, 3)),
        id="weights",
        dtypes=HALF,
    ),
    case(
        lambda i, w, s: F.embedding_bag(i, w, torch.tensor([0, 4]), per_sample_weights=s, mode="sum"),
        *(Ints((6,), 0, 7), TABLE, (6,)),
        id="weights-offsets",
        dtypes=ONE,
    ),
    case(nn.EmbeddingBag(7, 4, padding_idx=1), Ints((B, 3), 0, 7), dtypes=ONE),
    case(
        lambda i, w: torch.ops.aten._embedding_bag(w, i, OFFSETS, mode=1)[0],
        Ints((6,), 0, 7),
        TABLE,
        id="aten",
        dtypes=ONE,
    ),
)
def test_bags(function, inputs, dtype):
    check(function, inputs, dtype)


def test_a_bag_that_scales_its_table_is_refused():
    module = Function(lambda i: F.embedding_bag(i, torch.ones(7, 4), max_norm=1.0))
    with pytest.raises(trtconv.ConversionError, match="writes"):
        trtconv.convert(module, (torch.zeros(2, 3, dtype=torch.int64),))
