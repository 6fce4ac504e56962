"""Packed sequences, whose sizes follow from the lengths of the sequences.

Lengths that are constants give a packed sequence as torch has it. Of lengths that depend on an input it isn't
known how many elements there are: these sequences stay padded, [steps * batch, ...], beside the numbers of
sequences that reach each step. Only recurrent layers take them, and what unpacks them to a known length.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_packed_sequence

from trtconv.capture.recurrent import RECURRENT
from trtconv.capture.switch import Switch
from trtconv.capture.trace import DependsOnInput, Origin
from trtconv.errors import CaptureError, DataDependentError


class PackedSequences:
    """Knows which tensors of a capture are parts of packed sequences that stay padded.

    Args:
        value_of: Gives the fake tensor behind what the code sees.
        origin: Tells where the call under way comes from.
    """

    def __init__(
        self,
        value_of: Callable[[torch.Tensor], torch.Tensor],
        origin: Callable[[], Origin],
    ) -> None:
        self._origin = origin
        self._value_of = value_of
        self._elements: dict[int, torch.Tensor] = {}
        self._counts: dict[int, tuple[torch.Tensor, Any]] = {}
        self._unpacking = Switch()

    def functions(self) -> dict[Any, Callable[..., Any]]:
        """The functions to run instead of torch's."""
        return {
            torch.Tensor.__getitem__: self._getitem,
            torch._pack_padded_sequence: self._pack,
            torch._pad_packed_sequence: self._unpack,
            torch.nn.RNNBase.get_expected_hidden_size: self._hidden_size,
            torch.nn.LSTM.get_expected_cell_size: self._cell_size,
        }

    def batch(self, counts: torch.Tensor) -> Any:
        """The batch size, if `counts` belongs to sequences that stay padded; else None."""
        return self._counts[id(self._value_of(counts))][1] if self._is_padded(counts) else None

    def _is_padded(self, counts: torch.Tensor) -> bool:
        return bool(self._counts) and id(self._value_of(counts)) in self._counts

    def check(self, target: Any, read: Sequence[torch.Tensor], output: Any, origin: Origin) -> None:
        """Refuse a call that reads elements of sequences that stay padded; a recurrent layer gives more of them."""
        if self._unpacking or not self._is_part(read):
            return
        if target not in RECURRENT:
            raise DataDependentError(_READS_ELEMENTS.format(origin=origin))
        self._elements[id(output[0])] = output[0]

    def check_results(self, tensors: Sequence[torch.Tensor]) -> None:
        """Refuse parts of sequences that stay padded as results."""
        if self._is_part(tensors):
            raise DataDependentError(_RESULT)

    def _is_part(self, tensors: Sequence[torch.Tensor]) -> bool:
        return bool(self._counts) and any(id(each) in self._elements or id(each) in self._counts for each in tensors)

    def _getitem(self, depends: DependsOnInput, x: torch.Tensor, key: Any) -> Any:
        if isinstance(key, int) and key == 0 and self._is_padded(x):
            return self.batch(x)  # the first step is one of all sequences
        return NotImplemented

    def _pack(self, depends: DependsOnInput, input: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> Any:
        x = input.transpose(0, 1) if batch_first else input
        steps, batch, *rest = x.shape
        if depends(lengths):
            elements = x.reshape(steps * batch, *rest)
            counts = (lengths > torch.arange(steps, device=lengths.device)[:, None]).sum(1)
            fake, numbers = self._value_of(elements), self._value_of(counts)
            self._elements[id(fake)], self._counts[id(numbers)] = fake, (numbers, batch)
            return elements, counts
        known = lengths.tolist()
        if len(known) != batch or min(known) <= 0 or max(known) > steps or known != sorted(known, reverse=True):
            words = _WRONG_LENGTHS.format(lengths=known, steps=steps, batch=batch)
            raise CaptureError(f"{self._origin()}: {words}")
        sizes = [sum(length > step for length in known) for step in range(max(known))]
        places = [step * len(known) + number for step, size in enumerate(sizes) for number in range(size)]
        elements = x.reshape(steps * batch, *rest).index_select(0, torch.tensor(places, device=x.device))
        return elements, torch.tensor(sizes)

    def _unpack(
        self,
        depends: DependsOnInput,
        data: torch.Tensor,
        batch_sizes: torch.Tensor,
        batch_first: bool,
        padding_value: float,
        total_length: Any = -1,
    ) -> Any:
        if self._is_padded(batch_sizes):
            x, lengths = self._unpack_padded(data, batch_sizes, padding_value)
        else:
            sizes = batch_sizes.tolist()
            batch, steps = sizes[0], max(len(sizes), total_length)
            starts = [sum(sizes[:step]) for step in range(len(sizes))]
            places = [
                starts[step] + number if step < len(sizes) and number < sizes[step] else sum(sizes)
                for step in range(steps)
                for number in range(batch)
            ]
            padding = data.new_full((1, *data.shape[1:]), padding_value)
            x = torch.cat([data, padding]).index_select(0, torch.tensor(places, device=data.device))
            x = x.reshape(steps, batch, *data.shape[1:])
            lengths = torch.tensor([sum(size > number for size in sizes) for number in range(batch)])
        return x.transpose(0, 1) if batch_first else x, lengths

    def _unpack_padded(self, data: torch.Tensor, counts: torch.Tensor, padding_value: float) -> Any:
        total_length = _argument_of_caller("total_length")
        if total_length is None:
            raise DataDependentError(f"{self._origin()}: {_UNKNOWN_LENGTH}")
        batch, steps = self.batch(counts), counts.shape[0]
        missing = total_length - steps
        with self._unpacking:
            lives = torch.arange(batch, device=counts.device) < counts[:, None]
            x = data.reshape(steps, batch, *data.shape[1:])
            there = lives.reshape(steps, batch, *(1 for _ in data.shape[1:])).to(x.device)
            x = torch.where(there, x, padding_value)
            return torch.cat([x, x.new_full((missing, *x.shape[1:]), padding_value)]), lives.sum(0)

    def _hidden_size(self, depends: DependsOnInput, layer: Any, input: torch.Tensor, batch_sizes: Any) -> Any:
        batch = None if batch_sizes is None else self.batch(batch_sizes)
        directions = 2 if layer.bidirectional else 1
        size = layer.proj_size or layer.hidden_size
        return NotImplemented if batch is None else (layer.num_layers * directions, batch, size)

    def _cell_size(self, depends: DependsOnInput, layer: Any, input: torch.Tensor, batch_sizes: Any) -> Any:
        size = self._hidden_size(depends, layer, input, batch_sizes)
        return size if size is NotImplemented else (*size[:2], layer.hidden_size)


def _argument_of_caller(name: str) -> Any:
    """An argument of the call of torch's function that unpacks sequences: it tells its own code less than it knows."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not pad_packed_sequence.__code__:
        frame = frame.f_back  # type: ignore[assignment]  # None at the end
    return frame.f_locals[name] if frame is not None else None


_WRONG_LENGTHS = (
    "pack_padded_sequence takes decreasing lengths from 1 to the number of steps, {steps}, one for each of {batch} "
    "sequences, not {lengths}; with enforce_sorted=False in any order"
)
_READS_ELEMENTS = (
    "{origin}: the elements of a packed sequence whose lengths depend on an input are read: how many there are "
    "isn't known. Pass it to recurrent layers only, and unpack it before other calls."
)
_RESULT = (
    "the module's result holds a packed sequence whose lengths depend on an input: how many elements it has isn't "
    "known. Unpack it, torch.nn.utils.rnn.pad_packed_sequence(sequence, total_length=x.shape[1]) for one."
)
_UNKNOWN_LENGTH = (
    "pad_packed_sequence gives as many steps as the longest sequence has, which depends on an input: say how many, "
    "total_length=x.shape[1] for one"
)
