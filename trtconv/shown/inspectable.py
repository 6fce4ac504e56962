"""What a converted module shows of itself, apart from how it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from trtconv.plan_module import PlanModule
from trtconv.shown.text import bytes_text

if TYPE_CHECKING:
    from trtconv.calling.signature import TensorSpec
    from trtconv.runtime import Session
    from trtconv.shown.precision import PrecisionReport
    from trtconv.shown.profile import Profile
    from trtconv.shown.report import Report

_Run = Callable[[Any, Any, Sequence[torch.Tensor]], Sequence[torch.Tensor]]
"""What runs a plan, given its session, the plan and the tensors of a call."""


def _some(specs: Sequence[TensorSpec]) -> str:
    """The first tensors, in so few words that a line has room for them."""
    shown = ", ".join(f"{spec.name}: {spec}" for spec in specs[:3])
    return f"{shown} and {len(specs) - 3} more" if len(specs) > 3 else shown


class Inspectable(PlanModule):
    """A module that runs a plan and can be looked at. What isn't asked for costs a call nothing."""

    if TYPE_CHECKING:  # what the module that runs has

        def _session(self, device: torch.device) -> Session: ...
        def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[torch.Tensor], torch.device]: ...

    def extra_repr(self) -> str:
        if self.plan is None:
            return "empty"
        signature = self.plan.signature
        size = sum(segment.engine.numel() for segment in self.plan.segments)
        return f"{_some(signature.inputs)} -> {_some(signature.outputs)}, engine of {bytes_text(size)}"

    def precision_report(self) -> PrecisionReport:
        """Which layer computes in which type, and why.

        Raises:
            EngineError: the network wasn't kept.
        """
        from trtconv.shown.precision import PrecisionReport

        return PrecisionReport(self._loaded_plan())

    def profile(self, args: Any = (), kwargs: Mapping[str, Any] | None = None, *, n: int = 10) -> Profile:
        """Run several times and time each layer.

        On a GPU it is the engine's layers, in a context of their own, one after the other: their sum is more than what
        a call takes. Elsewhere it is the network's, which the reference interpreter runs, and the result says so.

        Args:
            args, kwargs: A call, as for `trtconv.convert`. What it writes to stays as it is.
            n: How many runs are timed; the times are the medians.

        Raises: as a call.
        """
        from trtconv.shown.timing import profiled

        if type(n) is not int or n < 1:
            raise ValueError(f"n={n!r}: it is a whole number from 1")
        args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
        tensors, device = self._bind(args, dict(kwargs or {}))
        with torch.no_grad(), self._with_state(tensors) as given:
            _, result = profiled(self._session(device), self._loaded_plan(), given, n, warm_up=2)
        return result

    def enable_profiling(self) -> None:
        """Print the time of each layer at each call, as torch2trt's modules do; calls are slow then."""
        from trtconv.shown.timing import profiled

        def run(session: Any, plan: Any, tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
            outputs, times = profiled(session, plan, tensors, 1, warm_up=0)
            for layer in times.layers:
                print(f"{layer.name}: {layer.milliseconds:.6f}ms")
            return outputs

        self._call_through(run)

    def disable_profiling(self) -> None:
        """Call as before `enable_profiling`."""
        self.__dict__.pop("forward", None)

    @contextmanager
    def nvtx_ranges(self) -> Iterator[None]:
        """A context in which calls and their layers are ranges of NVTX, which NVIDIA's Nsight Systems shows.

        Calls aren't captured in CUDA graphs there, in which layers have no ranges.
        """
        from trtconv.shown.timing import annotated

        before = self.__dict__.get("forward")
        self._call_through(annotated())
        try:
            yield
        finally:
            self.disable_profiling()
            if before is not None:
                self.__dict__["forward"] = before

    def _call_through(self, run: _Run) -> None:
        """Run calls by a function of one's own: a `forward` of the object's comes before that of its class."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            tensors, device = self._bind(args, kwargs)
            plan = self._loaded_plan()
            with torch.no_grad(), self._with_state(tensors) as given:
                outputs = run(self._session(device), plan, given)
                plan.signature.write_back(given, outputs)
            return plan.signature.result.fill(outputs)

        self.__dict__["forward"] = forward

    @contextmanager
    def _with_state(self, tensors: Sequence[torch.Tensor]) -> Iterator[Sequence[torch.Tensor]]:
        """All tensors that the plan takes: those of a call, and the state, while no other call has it."""
        if self._state is None:
            yield tensors
            return
        with self._state.lock:
            yield [*tensors, *self._state.tensors()]

    def report(self) -> Report:
        """What was converted: layers, parameters, dtypes, passes, times and sizes; text, and HTML in a notebook."""
        from trtconv.shown.report import Report

        return Report(self._loaded_plan())
