"""Stand-ins for the results of torch functions whose own code runs step by step.

On tensors without values it would make a number of a symbolic length, and take long for a long one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def _hidden_states(*args: Any) -> Any:
    """The hidden states of all steps, and each last state; of packed sequences the second argument is their sizes."""
    packed = isinstance(args[3], (list, tuple))
    input, initial, bidirectional = args[0], args[2 if packed else 1], args[8 if packed else 7]
    states = [initial] if isinstance(initial, torch.Tensor) else initial
    width = states[0].shape[2] * (2 if bidirectional else 1)
    return states[0].new_empty((*input.shape[:-1], width)), *(torch.empty_like(state) for state in states)


STAND_INS: dict[Any, Callable[..., Any]] = dict.fromkeys(
    (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu), _hidden_states
)
