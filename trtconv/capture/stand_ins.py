"""Stand-ins for the results of torch functions whose own code runs step by step.

On tensors without values it would make a number of a symbolic length, and take long for a long one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def _recurrent(function: Callable[..., Any]) -> Callable[..., Any]:
    def results(
        input: torch.Tensor,
        hx: torch.Tensor | Sequence[torch.Tensor],
        params: Any,
        has_biases: Any,
        num_layers: Any,
        dropout: Any,
        train: Any,
        bidirectional: bool,
        batch_first: bool = False,
    ) -> Any:
        """The hidden states of all steps, and each last state."""
        states = [hx] if isinstance(hx, torch.Tensor) else hx
        if input.dim() != 3:  # packed sequences
            return function(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
        directions = 2 if bidirectional else 1
        hidden = input.new_empty((*input.shape[:2], directions * states[0].shape[2]))
        return hidden, *(torch.empty_like(state) for state in states)

    return results


STAND_INS: dict[Any, Callable[..., Any]] = {
    function: _recurrent(function) for function in (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)
}
