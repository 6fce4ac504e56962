import pytest
import torch
import torch.nn.functional as F
from cases import B, Bools, Function, case, cases, check, convert
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import trtconv

FLOAT = (torch.float32,)


class Autocast(nn.Module):
    """A module under autocast."""

    def __init__(self, inner, dtype=torch.bfloat16):
        super().__init__()
        self.inner = inner if isinstance(inner, nn.Module) else Function(inner)
        self.dtype = dtype

    def forward(self, *args):
        with torch.autocast("cpu", dtype=self.dtype):
            return self.inner(*args)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x, mask):
        padding = mask & (torch.arange(5) > 0)  # each has a key
        return self.inner(x, x, x, key_padding_mask=padding, need_weights=False)[0]


def autocast(inner, *inputs, id=None, dtype=torch.bfloat16):
    return case(Autocast(inner, dtype), *inputs, id=id or type(inner).__name__, dtypes=FLOAT)


@cases(
    autocast(nn.Linear(4, 5), (B, 4)),
    autocast(nn.Linear(4, 5), (B, 4), id="Linear-float16", dtype=torch.float16),
    autocast(torch.matmul, (B, 3, 4), (4, 5), id="matmul"),
    autocast(F.scaled_dot_product_attention, *[(B, 2, 5, 8)] * 3, id="attention"),
    autocast(lambda x, m: F.scaled_dot_product_attention(x, x, x, m), (B, 2, 5, 8), (B, 1, 5, 5), id="attention-mask"),
    autocast(Attention(), (B, 5, 8), Bools((B, 5))),
    autocast(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), (B, 5, 8), (B, 4, 8)),
    autocast(nn.Bilinear(3, 4, 5), (B, 3), (B, 4)),
    autocast(lambda x, y: torch.einsum("bij,jk->bik", x, y), (B, 3, 4), (4, 5), id="einsum"),
    autocast(lambda x: F.max_pool2d(x, 2, return_indices=True), (B, 3, 4, 4), id="max_pool2d"),
    autocast(lambda x: F.pad(x @ x, (1, 1), "reflect"), (B, 4, 4), id="pad"),
    autocast(nn.GRU(3, 5, 2, bidirectional=True), (4, B, 3)),
    autocast(nn.RNN(3, 5, batch_first=True), (B, 4, 3)),
    autocast(nn.LSTM(3, 5, proj_size=2), (4, B, 3), id="LSTM-projected"),
    autocast(nn.LSTMCell(3, 5), (B, 3)),
    autocast(nn.GRUCell(3, 5), (B, 3), (B, 5)),
)
def test_what_autocast_casts_is_cast(function, inputs, dtype):
    check(function, inputs, dtype)


class Packed(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        output, last = self.inner(pack_padded_sequence(x, torch.tensor([4, 2])))
        return output.data, last


@pytest.mark.parametrize("layer", [Packed(nn.LSTM(3, 5)), Packed(nn.GRU(3, 5))], ids=["LSTM", "GRU"])
def test_packed_sequences(layer):
    check(Autocast(layer), ((4, 2, 3),), torch.float32)


@pytest.mark.parametrize("layer", [nn.LSTM(3, 5), nn.LSTM(3, 5, 2, bidirectional=True)], ids=repr)
def test_lstm_step_by_step(layer):
    with torch.backends.mkldnn.flags(enabled=False):
        check(Autocast(layer), ((4, B, 3),), torch.float32)


def test_lstm_of_all_steps_at_once():
    """oneDNN has the layer in bfloat16 on some processors only: compared with float64, in units of bfloat16."""
    layer, x = nn.LSTM(3, 5), torch.randn(4, 2, 3)
    converted = convert(Autocast(layer).eval(), (x,))
    output, (hidden, cell) = converted(x)
    precise, (_, precise_cell) = layer.double()(x.double())
    assert {each.dtype for each in (output, hidden, cell)} == {torch.bfloat16}
    for given, expected in ((output, precise), (cell, precise_cell)):
        assert (given - expected).abs().max() < 4 * 2**-8 * expected.abs().max()


def test_functions_taken_whole_stay_whole():
    converted = convert(Autocast(nn.Bilinear(3, 4, 5)).eval(), (torch.randn(2, 3), torch.randn(2, 4)))
    types = [layer.type for layer in converted.network.layers]
    assert types.count("MATRIX_MULTIPLY") == 2  # the operator under torch.bilinear has no converter


def doubled(x):
    return x + x


def twice_doubled(x):
    return doubled(doubled(x))


def test_functions_of_the_user_are_taken():
    @trtconv.tensorrt_converter(doubled)
    def convert_doubled(ctx):
        x = ctx.method_args[0]._trt
        ctx.method_return._trt = ctx.network.add_unary(x, trtconv.tensorrt.UnaryOperation.NEG).get_output(0)

    try:
        converted = convert(Autocast(twice_doubled).eval(), (torch.ones(2),))
        assert converted(torch.ones(2)).tolist() == [1, 1]
    finally:
        trtconv.unregister(doubled)
