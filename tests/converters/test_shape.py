import pytest
import torch
import torch.nn.functional as F
from cases import B, Bools, Ints, case, cases, check, check_sizes
from releases import runs, skipped_without, static_without, takes_symbols
from torch import nn

X = (B, 3, 6)
ONE = (torch.float32,)
HALF = (torch.float32, torch.float16)
MODES = ("constant", "reflect", "replicate", "circular")


@cases(
    case(lambda x: x.view(-1, 18), X, id="view", dtypes=HALF),
    case(lambda x: x.view(x.shape[0], 3, 2, 3), X, id="view-4", dtypes=ONE),
    case(lambda x: x.reshape(x.size(0), -1), X, id="reshape", dtypes=ONE),
    case(lambda x: x.permute(0, 2, 1).reshape(-1, 3), X, id="reshape-permuted", dtypes=ONE),
    case(lambda x: x.reshape(()), (1, 1), id="reshape-0d", dtypes=ONE),
    case(lambda x: x.reshape(1, 1), (), id="reshape-from-0d", dtypes=ONE),
    case(lambda x: x.view_as(torch.empty(x.shape[0] * 3, 6)), X, id="view_as", dtypes=ONE),
    case(torch.ravel, X, dtypes=ONE),
    case(torch.flatten, X, dtypes=ONE),
    case(lambda x: torch.flatten(x, 1, -1), X, id="flatten-1", dtypes=ONE),
    case(nn.Flatten(), X, dtypes=ONE),
    case(torch.flatten, (), id="flatten-0d", dtypes=ONE),
    case(lambda x: x.unflatten(-1, (2, -1)), X, id="unflatten", dtypes=ONE),
    case(nn.Unflatten(2, (3, 2)), X, dtypes=ONE),
    case(lambda x: x.permute(2, 0, 1), X, id="permute", dtypes=HALF),
    case(lambda x: x.permute(-1, -3, -2), X, id="permute-negative", dtypes=ONE),
    case(lambda x: x.permute(()), (), id="permute-0d", dtypes=ONE),
    case(lambda x: x.transpose(1, -1), X, id="transpose", dtypes=ONE),
    case(lambda x: x.transpose(0, -1), (), id="transpose-0d", dtypes=ONE),
    case(lambda x: x.swapaxes(0, 1), X, id="swapaxes", dtypes=ONE),
    case(lambda x: x.movedim((0, 1), (-1, 0)), X, id="movedim", dtypes=ONE),
    case(lambda x: x.mT, X, id="mT", dtypes=ONE),
    case(lambda x: x.T, (B, 3), id="T", dtypes=ONE),
    case(torch.t, (B, 3), dtypes=ONE),
    case(torch.t, (B,), id="t-1d", dtypes=ONE),
    case(torch.squeeze, (1, 3, 1), dtypes=ONE),
    case(lambda x: x.squeeze(-1), (B, 3, 1), id="squeeze-dim", dtypes=ONE),
    case(lambda x: x.squeeze(1), X, id="squeeze-nothing", dtypes=ONE),
    case(lambda x: x.squeeze((1, -1)), (B, 1, 3, 1), id="squeeze-dims", dtypes=ONE),
    case(lambda x: x.squeeze(0), (), id="squeeze-0d", dtypes=ONE),
    case(lambda x: x.unsqueeze(-2), X, id="unsqueeze", dtypes=ONE),
    case(lambda x: x.unsqueeze(-1), (), id="unsqueeze-0d", dtypes=ONE),
    case(lambda x: x.clone().unsqueeze_(0).transpose_(0, 1).squeeze_(1), X, id="in-place", dtypes=ONE),
    case(lambda x: x.expand(-1, -1, 4), (B, 3, 1), id="expand", dtypes=HALF),
    case(lambda x: x.expand(2, x.shape[0], 3, 6), X, id="expand-front", dtypes=ONE),
    case(lambda x: x.expand(4, 5), (), id="expand-0d", dtypes=ONE),
    case(lambda x, y: x.expand_as(y), (3, 1), X, id="expand_as", dtypes=ONE),
    case(lambda x: torch.broadcast_to(x, (4, 3, 2)), (3, 1), id="broadcast_to", dtypes=ONE),
    case(lambda x: x.clone(memory_format=torch.contiguous_format), X, id="clone", dtypes=ONE),
    case(lambda x: x.mT.contiguous(), X, id="contiguous", dtypes=ONE),
    case(lambda x: x.contiguous(memory_format=torch.channels_last), (B, 3, 4, 4), id="channels_last", dtypes=ONE),
    case(lambda x: x.detach(), X, id="detach", dtypes=ONE),
    case(lambda x: x.permute(1, 0, 2), Ints(X), id="permute-int", dtypes=ONE),
    case(lambda x: x.reshape(-1), Bools(X), id="reshape-bool", dtypes=ONE),
)
def test_views(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x: x[1], (2, 3, 6), id="select", dtypes=HALF),
    case(lambda x: x[:, -1], X, id="select-negative", dtypes=ONE),
    case(lambda x: x.select(-1, -2), X, id="select-method", dtypes=ONE),
    case(lambda x: x[1], (4,), id="select-1d", dtypes=ONE),
    case(lambda x: x[0, 1, 2], X, id="select-all", dtypes=ONE),
    case(lambda x: x[:, 1:], X, id="slice", dtypes=HALF),
    case(lambda x: x[..., -3:-1], X, id="slice-negative", dtypes=ONE),
    case(lambda x: x[..., 1:-1:2], X, id="slice-step", dtypes=ONE),
    case(lambda x: x[:, :, ::4], X, id="slice-step-4", dtypes=ONE),
    case(lambda x: x[:, -100:100], X, id="slice-outside", dtypes=ONE),
    case(lambda x: x[::2], X, id="slice-batch", dtypes=ONE),
    case(lambda x: x[-1:], X, id="slice-batch-negative", dtypes=ONE),
    case(lambda x: x[:, :, x.shape[2] // 2 :], X, id="slice-half", dtypes=ONE),
    case(lambda x: x[:, 2:2], X, id="slice-empty", dtypes=ONE),
    case(lambda x: x[:, None, ..., 0, None], X, id="slice-none", dtypes=ONE),
    case(lambda x: x.narrow(1, 1, 2), X, id="narrow", dtypes=ONE),
    case(lambda x: x.narrow(-1, -3, 2), X, id="narrow-negative", dtypes=ONE),
    case(lambda x: x[:, 1:], Ints(X), id="slice-int", dtypes=ONE),
    case(lambda x: x[:, 1:], Bools(X), id="slice-bool", dtypes=ONE),
    case(lambda x: x.split(4, -1), X, id="split", dtypes=ONE),
    case(lambda x: torch.unsafe_chunk(x, 2, 1), X, id="unsafe_chunk", dtypes=ONE),
    case(lambda x: torch.unsafe_split_with_sizes(x, [1, 2], 1), X, id="unsafe_split", dtypes=ONE),
    case(lambda x: torch.ops.aten._reshape_alias(x, [2, 18], [18, 1]), (2, 3, 6), id="reshape_alias", dtypes=ONE),
    case(lambda x: x.split([1, 0, 5], 2), X, id="split-sizes", dtypes=ONE),
    case(lambda x: torch.split(x, [1, 2], dim=1), X, id="split-sizes-1", dtypes=ONE),
    case(lambda x: x.chunk(4, dim=-1), X, id="chunk", dtypes=ONE),
    case(lambda x: torch.chunk(x, 2, 1)[1], X, id="chunk-uneven", dtypes=ONE),
    case(lambda x: x.tensor_split(4, -1), X, id="tensor_split", dtypes=ONE),
    case(lambda x: x.tensor_split(torch.tensor([1, 3]), 2), X, id="tensor_split-places", dtypes=ONE),
    case(lambda x: torch.tensor_split(x, torch.tensor(2), dim=1), X, id="tensor_split-number", dtypes=ONE),
)
def test_parts(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x, y: torch.cat([x, y]), X, X, id="cat", dtypes=HALF),
    case(lambda x, y: torch.cat([x, y, x], -1), X, (B, 3, 1), id="cat-last", dtypes=ONE),
    case(lambda x: torch.cat([x, torch.empty(0)]), X, id="cat-empty", dtypes=ONE),
    case(lambda x: torch.cat([x]), X, id="cat-one", dtypes=ONE),
    case(lambda x, y: torch.cat([x, y], 1), X, Ints(X), id="cat-promotes", dtypes=HALF),
    case(lambda x, y: torch.cat([x, y], 1), Bools(X), Bools(X), id="cat-bool", dtypes=ONE),
    case(lambda x: torch.cat([x, torch.ones(x.shape[0], 1, 6)], 1), X, id="cat-constant", dtypes=ONE),
    case(lambda x: torch.cat([x[:, :0], x], 1), X, id="cat-nothing", dtypes=ONE),
    case(lambda x, y: torch.stack([x, y]), X, X, id="stack", dtypes=HALF),
    case(lambda x, y: torch.stack((x, y), -1), X, X, id="stack-last", dtypes=ONE),
    case(lambda x, y: torch.stack((x, y), 1), X, Ints(X), id="stack-promotes", dtypes=ONE),
    case(lambda x: torch.stack([x, x]), (), id="stack-0d", dtypes=ONE),
    case(lambda x, y: torch.hstack([x, y]), X, X, id="hstack", dtypes=ONE),
    case(lambda x, y: torch.vstack([x, y]), (3,), (3,), id="vstack", dtypes=ONE),
    case(lambda x, y: torch.dstack([x, y]), X, X, id="dstack", dtypes=ONE),
    case(lambda x, y: torch.column_stack([x, y]), (B,), (B, 3), id="column_stack", dtypes=ONE),
    case(lambda x: x.unbind(1), X, id="unbind", dtypes=HALF),
    case(lambda x: torch.unbind(x, -1)[2], X, id="unbind-last", dtypes=ONE),
    case(lambda x: [row * 2 for row in x], (2, 3), id="iteration", dtypes=ONE),
)
def test_joins(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x: x.flip(-1), X, id="flip", dtypes=HALF),
    case(lambda x: x.flip(0, 2), X, id="flip-two", dtypes=ONE),
    case(lambda x: x.flip(()), X, id="flip-none", dtypes=ONE),
    case(torch.fliplr, X, dtypes=ONE),
    case(lambda x: x.roll(1), X, id="roll-all", dtypes=HALF),
    case(lambda x: x.roll(-2, 1), X, id="roll", dtypes=ONE),
    case(lambda x: x.roll((1, -7), (0, -1)), X, id="roll-two", dtypes=ONE),
    case(lambda x: x.roll((1, 1), (1, 1)), X, id="roll-same", dtypes=ONE),
    case(lambda x: x.roll(1, 0), Bools(X), id="roll-bool", dtypes=ONE),
    *(case(lambda x, k=k: x.rot90(k), X, id=f"rot90-{k}", dtypes=ONE) for k in (-1, 0, 1, 2, 3)),
    case(lambda x: torch.rot90(x, 1, (2, -2)), X, id="rot90-dims", dtypes=ONE),
    case(lambda x: x.repeat(1, 2, 3), X, id="repeat", dtypes=HALF),
    case(lambda x: x.repeat(4, 1, 1, 2), X, id="repeat-front", dtypes=ONE),
    case(lambda x: x.repeat(2, 3), (), id="repeat-0d", dtypes=ONE),
    case(lambda x: x.repeat(1, 2), (B, 1), id="repeat-ones", dtypes=ONE),
    case(lambda x: x.repeat(1, 2, 1), Bools(X), id="repeat-bool", dtypes=ONE),
    case(lambda x: x.tile(2), X, id="tile", dtypes=ONE),
    case(lambda x: torch.tile(x, (2, 1, 1, 1)), X, id="tile-front", dtypes=ONE),
    case(lambda x: x.repeat_interleave(3, 1), X, id="repeat_interleave", dtypes=ONE),
    case(lambda x: x.repeat_interleave(2), X, id="repeat_interleave-all", dtypes=ONE),
    case(lambda x: x.repeat_interleave(torch.tensor([1, 0, 2]), 1), X, id="repeat_interleave-counts", dtypes=ONE),
    *(case(lambda x, o=o: x.diagonal(o, 1, 2), X, id=f"diagonal-{o}", dtypes=ONE) for o in (-2, -1, 0, 1, 5)),
    static_without(
        takes_symbols(lambda x: torch.diagonal(x, dim1=-1, dim2=0), X),
        case(lambda x: torch.diagonal(x, dim1=-1, dim2=0), X, id="diagonal-dims", dtypes=HALF),
    ),
    *(case(lambda x, o=o: torch.diag_embed(x, o), (B, 3), id=f"diag_embed-{o}", dtypes=ONE) for o in (-1, 0, 2)),
    case(lambda x: torch.diag_embed(x, 1, 0, 2), X, id="diag_embed-dims", dtypes=ONE),
    case(torch.diag, (4,), dtypes=ONE),
    case(torch.diag, (3, 4), id="diag-matrix", dtypes=ONE),
    case(
        lambda x, n: x.repeat_interleave(torch.cat([n, 3 - n]), 1, output_size=3),
        *((B, 2, 3), Ints((1,), 0, 4)),
        id="repeat_interleave-size",
        dtypes=ONE,
    ),
    case(torch.block_diag, (3, 2), (4,), (), (1, 3), dtypes=HALF),
    case(torch.trace, (3, 4), dtypes=ONE),
    skipped_without(runs(lambda: torch.trace(torch.ones(3, 4).half())), case(torch.trace, (3, 4), dtypes=HALF[1:])),
    case(torch.trace, Ints((3, 3)), id="trace-int", dtypes=ONE),
    case(lambda x: x.unfold(2, 3, 2), X, id="unfold", dtypes=HALF),
    case(lambda x: x.unfold(1, 2, 1), X, id="unfold-overlap", dtypes=ONE),
    case(lambda x: x.unfold(0, 1, 1), (), id="unfold-0d", dtypes=ONE),
    case(lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2), (B, 2, 4, 4), id="unfold-patches", dtypes=ONE),
    case(lambda x: F.unfold(x, 2), (B, 2, 3, 4), id="F.unfold", dtypes=HALF),
    case(lambda x: F.unfold(x, (2, 3), 2, (1, 0), (2, 1)), (B, 2, 5, 6), id="F.unfold-all", dtypes=ONE),
    case(lambda x: F.unfold(x, 2), (2, 3, 4), id="F.unfold-unbatched", dtypes=ONE),
    case(lambda x: F.fold(x, (3, 4), 2), (B, 8, 6), id="F.fold"),
    case(lambda x: F.fold(x, (5, 6), (2, 3), 2, (1, 0), (2, 1)), (B, 12, 6), id="F.fold-all", dtypes=ONE),
    case(lambda x: F.fold(x, (4, 4), 2, stride=2), (8, 4), id="F.fold-unbatched", dtypes=ONE),
    case(lambda x, y: torch.cross(x, y, dim=1), X, (B, 3, 1), id="cross"),
    case(torch.linalg.cross, (B, 3), (B, 3), id="cross-last", dtypes=ONE),
    case(lambda x: x.as_strided((2, 4, 3), (18, 2, 1), 1), (2, 3, 6), id="as_strided", dtypes=ONE),
    case(
        lambda x, y: torch.as_strided_scatter(x, y, (2, 2), (6, 2), 1),
        (3, 4),
        (2, 2),
        id="as_strided_scatter",
        dtypes=ONE,
    ),
    case(lambda x, y: x.clone().resize_as_(y), (2, 3, 4), (2, 12), id="resize_as", dtypes=ONE),
    case(lambda x: x.as_strided((x.shape[0], 1, 12), (12, 3, 1)), (B, 3, 4), id="as_strided-reshape", dtypes=ONE),
)
def test_rearrangement(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(lambda x: F.pad(x, (1, 2)), X, id="pad", dtypes=HALF),
    case(lambda x: F.pad(x, (1, 2, 0, 3), value=-1.3), X, id="pad-value", dtypes=HALF),
    case(lambda x: F.pad(x, (0, 0, 1, 0, 0, 2), value=float("-inf")), (2, 3, 4), id="pad-infinity", dtypes=HALF),
    case(lambda x: F.pad(x, (-1, -2)), X, id="crop", dtypes=ONE),
    case(lambda x: F.pad(x, (-1, 2, 1, -1), value=2), X, id="pad-and-crop", dtypes=ONE),
    case(lambda x: F.pad(x, (1, 1), value=7), Ints(X), id="pad-int", dtypes=ONE),
    case(lambda x: F.pad(x, (1, 1), value=True), Bools(X), id="pad-bool", dtypes=ONE),
    case(nn.ZeroPad2d((1, 0, 2, 1)), (B, 2, 3, 3), dtypes=ONE),
    case(nn.ConstantPad1d(2, 3.5), X, dtypes=ONE),
    case(nn.ConstantPad3d(1, 3.5), (B, 1, 2, 2, 2), dtypes=ONE),
    *(case(lambda x, m=m: F.pad(x, (3, 1), mode=m), X, id=f"pad-{m}", dtypes=HALF) for m in MODES),
    *(case(lambda x, m=m: F.pad(x, (2, -1), mode=m), X, id=f"crop-{m}", dtypes=ONE) for m in MODES),
    *(case(lambda x, m=m: F.pad(x, (2, 1, 0, 2), mode=m), (B, 2, 3, 4), id=f"pad2d-{m}", dtypes=ONE) for m in MODES),
    *(case(lambda x, m=m: F.pad(x, (1,) * 6, m), (B, 1, 3, 2, 4), id=f"pad3d-{m}", dtypes=ONE) for m in MODES),
    *(case(lambda x, m=m: F.pad(x, (1, 1), mode=m), Ints(X), id=f"pad-int-{m}", dtypes=ONE) for m in MODES[1:]),
    case(nn.ReflectionPad2d(1), (B, 2, 3, 3), dtypes=ONE),
    case(nn.ReplicationPad2d((1, 0, 2, 1)), (B, 2, 3, 3), dtypes=ONE),
    case(nn.CircularPad2d((1, 2, 0, 1)), (B, 2, 3, 3), dtypes=ONE),
    case(lambda x: torch.ops.aten.reflection_pad1d(x, [1, 1]), X, id="aten-reflect", dtypes=ONE),
    case(lambda x: torch.ops.aten.replication_pad2d(x, [1, 2, 0, 1]), X, id="aten-replicate", dtypes=ONE),
    case(lambda x: torch.constant_pad_nd(x, [1, 2], 4), X, id="aten-constant", dtypes=ONE),
)
def test_pad(function, inputs, dtype):
    check(function, inputs, dtype)


def folded(x):
    patches = F.unfold(x, (3, 2), (1, 2), (2, 1), (2, 1))
    return F.fold(patches, x.shape[2:], (3, 2), (1, 2), (2, 1), (2, 1))


@pytest.mark.parametrize(
    "function",
    [
        folded,
        lambda x: F.fold(F.unfold(x, 2, stride=2), (x.shape[2] // 2 * 2, x.shape[3] // 2 * 2), 2, stride=2),
        *(lambda x, mode=mode: F.pad(x, (1, 2, 2, 1), mode) for mode in MODES),
        *(lambda x, mode=mode: F.pad(x, (2, -1, -2, 1), mode) for mode in MODES),
        lambda x: F.pad(x, (1, 2, -1, 0), value=1.5),
        lambda x: F.pad(x, (0, -x.shape[3] % 4, -x.shape[2] % 4, 0)),
    ],
)
def test_dynamic_sizes(function):
    check_sizes(function, (2, 3, 11, 10), (1, 3, 7, 13), (3, 3, 16, 16), (2, 3, 4, 5))
