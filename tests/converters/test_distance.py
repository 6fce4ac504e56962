import math

import pytest
import torch
import torch.nn.functional as F
from cases import B, case, cases, check

import trtconv

X, Y = (B, 3, 5), (B, 4, 5)
ONE = (torch.float32,)
HALF = (torch.float32, torch.float16)


@cases(
    *(
        case(lambda x, y, p=p: torch.cdist(x, y, p), X, Y, id=f"cdist-{p}", dtypes=ONE)
        for p in (0, 0.5, 1, 3, math.inf)
    ),
    case(torch.cdist, X, Y, id="cdist", dtypes=ONE),
    case(torch.cdist, (B, 5), (B, 5), id="cdist-dynamic", dtypes=ONE),
    case(torch.cdist, (B, 1, 3, 5), (2, 4, 5), id="cdist-broadcast", dtypes=ONE),
    case(torch.cdist, (B, 30, 5), (26, 5), id="cdist-many", dtypes=ONE),
    case(lambda x: torch.cdist(x, torch.arange(15.0).reshape(3, 5).to(x)), (B, 5), id="cdist-constant", dtypes=ONE),
    *(case(lambda x, p=p: F.pdist(x, p), (4, 5), id=f"pdist-{p}", dtypes=ONE) for p in (1, 2, math.inf)),
    case(torch.dist, X, X, dtypes=HALF),
    case(lambda x, y: torch.dist(x, y, 1), X, (5,), id="dist-1", dtypes=HALF),
    case(F.pairwise_distance, X, X, dtypes=HALF),
)
def test_distances(function, inputs, dtype):
    check(function, inputs, dtype)


def test_pairs_of_dynamic_rows_are_refused():
    shapes = {"input": {0: trtconv.Dim(min=2, max=7)}}
    with pytest.raises(trtconv.UnsupportedArgumentError, match=r"use torch\.cdist"):
        trtconv.convert(Pdist(), (torch.randn(4, 2),), dynamic_shapes=shapes)


class Pdist(torch.nn.Module):
    def forward(self, input):
        return F.pdist(input)
