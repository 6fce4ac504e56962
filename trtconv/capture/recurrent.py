"""How torch's functions of recurrent layers are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

RECURRENT = (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)


class RecurrentCall(NamedTuple):
    """The arguments of a call of one of `RECURRENT`; `sizes` are those of a packed sequence's steps, else None."""

    input: Any
    sizes: Any
    initial: Any
    params: Sequence[Any]
    has_biases: bool
    num_layers: int
    dropout: float
    train: bool
    bidirectional: bool
    batch_first: bool = False

    @staticmethod
    def of(*args: Any) -> RecurrentCall:
        """The arguments as torch takes them: of packed sequences the second are the sizes."""
        is_packed = isinstance(args[3], (list, tuple))
        return RecurrentCall(*args) if is_packed else RecurrentCall(args[0], None, *args[1:])

    @property
    def states(self) -> list[Any]:
        """The initial states: hidden ones, and of an LSTM those of the cells."""
        return [self.initial] if isinstance(self.initial, torch.Tensor) else list(self.initial)
