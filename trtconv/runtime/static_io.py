"""Calls without copies: tensors that stay where they are from run to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from trtconv.dtypes import to_engine
from trtconv.runtime import cuda
from trtconv.runtime.calls import FixedCall
from trtconv.runtime.lane import Lane
from trtconv.runtime.session import Session
from trtconv.runtime.turns import turn_of


class StaticIO:
    """Fixed inputs and outputs of a converted module, from `TRTModule.static_io`.

    Attributes:
        inputs: The tensors that `run` reads, in the order of the module's inputs; write new contents into them. They
            have the engine's form: float32 where the module takes float64, pairs of numbers for complex ones.
        result: What the module returns, with the tensors that `run` writes; in the engine's form too.
    """

    def __init__(
        self, session: Session, tensors: Sequence[torch.Tensor], fill: Callable[[Sequence[Any]], Any], graph: bool
    ) -> None:
        tensors = list(map(to_engine, tensors))
        self._session = session
        self._fixed: FixedCall | None = None
        if session.on_gpu:
            with cuda.on_device(session.device):
                lane = Lane(session.device, cuda.current_stream(session.device))
                self._fixed = FixedCall(session, tensors, lane, copies=False, captured=graph)
            self.inputs, self._results = self._fixed.feeds, self._fixed.results
        else:
            with torch.inference_mode(False), torch.no_grad():
                self.inputs = [tensor.clone() for tensor in tensors]
                self._results = [result.clone() for result in session.run(self.inputs, None)]
        self.result = fill(self._results)

    def run(self) -> None:
        """Run on what `inputs` hold, and write the results into `result`: in the order of torch's current stream."""
        if self._fixed is not None:
            if cuda.current_device() == self._session.device.index:
                self._launch(self._fixed)
                return
            with cuda.on_device(self._session.device):
                self._launch(self._fixed)
            return
        with torch.no_grad():
            for fixed, new in zip(self._results, self._session.run(self.inputs, None), strict=True):
                fixed.copy_(new)

    def _launch(self, fixed: FixedCall) -> None:
        stream = cuda.current_stream(self._session.device)
        with turn_of(self._session.device, stream)[0]:
            fixed.launch(stream)
