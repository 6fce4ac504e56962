"""Calls without copies: tensors that stay where they are from run to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from trtconv.dtypes import to_engine
from trtconv.errors import InputError
from trtconv.runtime import cuda
from trtconv.runtime.calls import FixedCall
from trtconv.runtime.lane import Lane
from trtconv.runtime.session import Session
from trtconv.runtime.state import State
from trtconv.runtime.turns import turn_of


class StaticIO:
    """Fixed inputs and outputs of a converted module, from `TRTModule.static_io`.

    Attributes:
        inputs: The tensors that `run` reads, in the order of the module's inputs; write new contents into them. They
            have the engine's form: float32 where the module takes float64, pairs of numbers for complex ones.
        result: What the module returns, with the tensors that `run` writes; in the engine's form too.
    """

    def __init__(
        self,
        session: Session,
        tensors: Sequence[torch.Tensor],
        fill: Callable[[Sequence[Any]], Any],
        graph: bool,
        held: Sequence[torch.Tensor] = (),
    ) -> None:
        tensors = list(map(to_engine, tensors))
        self._session = session
        self._fixed: FixedCall | None = None
        if session.on_gpu:
            with cuda.on_device(session.device):
                lane = Lane(session.device, cuda.current_stream(session.device))
                self._fixed = FixedCall(session, [*tensors, *held], lane, copies=False, captured=graph, state=held)
            self.inputs, self._results = self._fixed.feeds, self._fixed.results
        else:
            with torch.inference_mode(False), torch.no_grad():
                self.inputs = [tensor.clone() for tensor in tensors]
                results = [result.clone() for result in session.run([*self.inputs, *held], None)]
                self._results = results[: len(results) - len(session.written_state(held))]
        self.result = fill(self._results)

    def run(self) -> None:
        """Run on what `inputs` hold, and write the results into `result`: in the order of torch's current stream."""
        self._run(())

    def _run(self, held: Sequence[torch.Tensor]) -> None:
        if self._fixed is not None:
            if cuda.current_device() == self._session.device.index:
                self._launch(self._fixed)
                return
            with cuda.on_device(self._session.device):
                self._launch(self._fixed)
            return
        fixed = [*self._results, *self._session.written_state(held)]
        with torch.no_grad():
            for target, new in zip(fixed, self._session.run([*self.inputs, *held], None), strict=True):
                target.copy_(new)

    def _launch(self, fixed: FixedCall) -> None:
        stream = cuda.current_stream(self._session.device)
        with turn_of(self._session.device, stream)[0]:
            fixed.launch(stream)


class StatefulIO(StaticIO):
    """Fixed inputs and outputs of a converted module that keeps state: each run reads and writes its buffers.

    Raises:
        InputError: the state has dtypes that engines don't have.
    """

    def __init__(
        self,
        session: Session,
        tensors: Sequence[torch.Tensor],
        fill: Callable[[Sequence[Any]], Any],
        graph: bool,
        state: State,
    ) -> None:
        if not state.is_held:
            raise InputError(
                "static_io takes no state of float64 or complex numbers, which engines don't have: call the module, or "
                "convert it with state in float32"
            )
        self._state = state
        with state.lock:
            super().__init__(session, tensors, fill, graph, state.take(session.device, self._stream_of(session)))
            self._version = state.version

    def run(self) -> None:
        with self._state.lock:
            held = self._state.take(self._session.device, self._stream_of(self._session))
            if self._state.version != self._version:
                raise InputError("others were put into the places of the module's buffers: open static_io again")
            self._run(held)

    @staticmethod
    def _stream_of(session: Session) -> int | None:
        return cuda.current_stream(session.device) if session.on_gpu else None
