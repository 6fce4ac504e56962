import pytest
import torch
from cases import FLOATS, B, Ints, case, cases, check, check_sizes
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from trtconv import CaptureError, UnsupportedArgumentError

FLOAT = FLOATS[:1]  # one dtype where the point is an argument: an engine with loops takes long to build
# Layers of 12: one of 5 or 6 takes minutes to load as an engine (TensorRT-RTX 1.6.1, H200).
X = (4, B, 3)


def rows(kind):
    return [
        param
        for name, arguments, x, dtypes in (
            ("plain", {}, X, FLOATS),
            ("no-bias", {"bias": False}, X, FLOAT),
            ("layers", {"num_layers": 2, "dropout": 0.5}, X, FLOAT),
            ("bidirectional", {"bidirectional": True}, X, FLOAT),
            ("all", {"num_layers": 2, "bidirectional": True, "batch_first": True}, (B, 4, 3), FLOATS),
            ("unbatched", {}, (4, 3), FLOAT),
            ("one-step", {}, (1, B, 3), FLOAT),
        )
        for param in case(kind(3, 12, **arguments), x, id=f"{kind.__name__}-{name}", dtypes=dtypes)
    ]


class Initial(nn.Module):
    """Initial states given by the caller, of an LSTM as a pair."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, *state):
        return self.inner(x, state if len(state) == 2 else state[0])


class LastStep(nn.Module):
    """What classifiers take of it."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.LSTM(3, 12, batch_first=True), nn.Linear(12, 2)

    def forward(self, x):
        outputs, _ = self.inner(x)
        return self.head(outputs[:, -1])


class Stepwise(nn.Module):
    """A cell called in a Python loop."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        state = None
        for step in x:
            state = self.cell(step, state)
        return state


@cases(
    *map(rows, (nn.LSTM, nn.GRU, nn.RNN)),
    case(nn.RNN(3, 12, nonlinearity="relu"), X, id="RNN-relu"),
    case(nn.LSTM(3, 12, proj_size=10), X, id="LSTM-projected"),
    case(nn.LSTM(3, 12, 2, bias=False, bidirectional=True, proj_size=10), X, id="LSTM-projected-all"),
    case(Initial(nn.LSTM(3, 12)), X, (1, B, 12), (1, B, 12), id="LSTM-state"),
    case(Initial(nn.LSTM(3, 12, proj_size=10)), X, (1, B, 10), (1, B, 12), id="LSTM-projected-state", dtypes=FLOAT),
    case(Initial(nn.GRU(3, 12, 2, batch_first=True)), (B, 4, 3), (2, B, 12), id="GRU-state", dtypes=FLOAT),
    case(Initial(nn.RNN(3, 12, bidirectional=True)), X, (2, B, 12), id="RNN-state", dtypes=FLOAT),
    case(Initial(nn.GRU(3, 12)), (4, 3), (1, 12), id="GRU-state-unbatched", dtypes=FLOAT),
    case(LastStep(), (B, 4, 3)),
    case(nn.LSTM(3, 12, 2, bidirectional=True, proj_size=10), (B, 2, 3), id="LSTM-length", dtypes=FLOAT),
    case(nn.GRU(3, 12, bidirectional=True, batch_first=True), (2, B, 3), id="GRU-length", dtypes=FLOAT),
    case(nn.RNN(3, 12), (B, 2, 3), id="RNN-length", dtypes=FLOAT),
    case(nn.LSTM(3, 40), (20, B, 3), id="LSTM-long"),
    case(nn.GRU(3, 40), (20, B, 3), id="GRU-long"),
)
def test_recurrent(function, inputs, dtype):
    check(function, inputs, dtype)


@pytest.mark.parametrize(
    "layer",
    [nn.LSTM(3, 12), nn.GRU(3, 12, 2, bidirectional=True), nn.RNN(3, 12, nonlinearity="relu", batch_first=True)],
    ids=repr,
)
def test_any_number_of_steps(layer):
    check_sizes(layer, (4, 2, 3), (7, 1, 3), (1, 5, 3))


@cases(
    case(Stepwise(nn.LSTMCell(3, 12)), X, id="LSTMCell"),
    case(Stepwise(nn.GRUCell(3, 12)), X, id="GRUCell"),
    case(Stepwise(nn.RNNCell(3, 12)), X, id="RNNCell"),
    case(nn.GRUCell(3, 12, bias=False), (B, 3), (B, 12), id="GRUCell-no-bias"),
    case(nn.RNNCell(3, 12, nonlinearity="relu"), (3,), (12,), id="RNNCell-unbatched"),
)
def test_cells(function, inputs, dtype):
    check(function, inputs, dtype)


def functional(kind):
    """The function under the module, with weights that are inputs."""

    def run(x, h, w_ih, w_hh, b_ih, b_hh):
        state = (h, h * 2) if kind is torch.lstm else h
        return kind(x, state, [w_ih, w_hh, b_ih, b_hh], True, 1, 0.0, False, False, False)

    return run


@cases(
    *(
        case(functional(kind), X, (1, B, 12), (n * 12, 3), (n * 12, 12), (n * 12,), (n * 12,), id=kind.__name__)
        for kind, n in ((torch.lstm, 4), (torch.gru, 3), (torch.rnn_tanh, 1), (torch.rnn_relu, 1))
    )
)
def test_functions(function, inputs, dtype):
    check(function, inputs, dtype)


class Packed(nn.Module):
    """Sequences of several lengths; without `lengths` these are an input."""

    def __init__(self, inner, lengths=None, *, sorts=False, total=None):
        super().__init__()
        self.inner, self.lengths, self.sorts, self.total = inner, lengths, sorts, total

    def forward(self, x, lengths=None, *state):
        lengths = torch.tensor(self.lengths) if lengths is None else lengths
        packed = pack_padded_sequence(x, lengths, self.inner.batch_first, not self.sorts)
        output, last = self.inner(packed, *state)
        return *pad_packed_sequence(output, self.inner.batch_first, -1.5, self.total), last


class LastOfPacked(Packed):
    """What classifiers of texts take of it."""

    def forward(self, x, lengths):
        return self.inner(pack_padded_sequence(x, lengths, self.inner.batch_first, False))[1]


class Elements(nn.Module):
    """The elements of packed sequences, which a module may work on by itself."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.GRU(3, 12), nn.Linear(12, 2)

    def forward(self, x):
        packed = self.inner(pack_padded_sequence(x, torch.tensor([4, 2])))[0]
        return packed.batch_sizes, PackedSequence(self.head(packed.data), *packed[1:])


LENGTHS = Ints((B,), 1, 5)


@cases(
    case(Packed(nn.LSTM(3, 12), [4, 2]), (4, 2, 3), id="LSTM"),
    case(Packed(nn.GRU(3, 12, 2, bidirectional=True), [2, 4, 3], sorts=True), (5, 3, 3), id="GRU-all", dtypes=FLOAT),
    case(Packed(nn.RNN(3, 12, batch_first=True), [3, 3, 1], total=6), (3, 4, 3), id="RNN-total", dtypes=FLOAT),
    case(Packed(nn.LSTM(3, 12, proj_size=10, bidirectional=True), [1, 3], sorts=True), (4, 2, 3), id="projected"),
    case(
        lambda x: nn.utils.rnn.pad_packed_sequence(nn.utils.rnn.pack_sequence([x[:3], x[:1]]))[0],
        (4, 3),
        id="pack_sequence",
        dtypes=FLOAT,
    ),
    case(Elements(), (4, 2, 3), dtypes=FLOAT),
    case(Packed(nn.GRU(3, 12, batch_first=True), sorts=True, total=4), (B, 4, 3), LENGTHS, id="GRU-lengths"),
    case(
        Packed(nn.LSTM(3, 12, 2, bidirectional=True), sorts=True, total=6),
        (4, B, 3),
        LENGTHS,
        id="LSTM-lengths-all",
        dtypes=FLOAT,
    ),
    case(
        Packed(nn.RNN(3, 12), sorts=True, total=4), (4, B, 3), LENGTHS, (1, B, 12), id="RNN-lengths-state", dtypes=FLOAT
    ),
    case(LastOfPacked(nn.LSTM(3, 12, bidirectional=True)), (4, B, 3), LENGTHS, id="LSTM-last", dtypes=FLOAT),
)
def test_packed_sequences(function, inputs, dtype):
    check(function, inputs, dtype)


def test_packed_sequences_of_any_number_of_steps():
    class Steps(Packed):
        def forward(self, x):
            self.total = x.shape[1]
            return super().forward(x, (x[:, 0, 0].abs() * 2).long().clamp(1, 4))

    check_sizes(Steps(nn.GRU(3, 12, batch_first=True), sorts=True), (2, 4, 3), (3, 6, 3), (1, 5, 3))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (Packed(nn.GRU(3, 12), sorts=True), "say how many"),
        (lambda x, n: pack_padded_sequence(x, n, enforce_sorted=False).data.sum(), "Pass it to recurrent layers only"),
        (lambda x, n: pack_padded_sequence(x, n, enforce_sorted=False).batch_sizes + 1, "recurrent layers only"),
        (lambda x, n: pack_padded_sequence(x, n, enforce_sorted=False).data, "the module's result holds"),
        (
            lambda x, n: pack_padded_sequence(x, torch.tensor([2, 3])).data,
            r"decreasing lengths from 1 to .* not \[2, 3\]",
        ),
    ],
)
def test_packed_sequences_of_unknown_size_are_refused(function, words):
    with pytest.raises(CaptureError, match=words):
        check(function, ((4, 2, 3), Ints((2,), 1, 5)), torch.float32)


def test_dropout_in_training_is_refused():
    def train(x):
        return torch.rnn_tanh(
            x, torch.zeros(1, 2, 5), [torch.ones(5, 3), torch.ones(5, 5)], False, 1, 0.5, True, False, False
        )

    with pytest.raises(UnsupportedArgumentError, match="eval"):
        check(train, (X,), torch.float32)
