"""Step 5: a plan as a module."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.calling.misfits import ending_gradient
from trtconv.calling.signature import Signature
from trtconv.calling.structure import as_plain
from trtconv.errors import EngineError
from trtconv.options import check_cuda_graphs, check_flag
from trtconv.places import warn
from trtconv.plan import Plan
from trtconv.runtime import (
    Calls,
    CudaGraphs,
    Engine,
    Forms,
    Memory,
    PreparedCall,
    Session,
    StatefulIO,
    StaticIO,
    key_of,
    operator,
)
from trtconv.runtime.cache import Store
from trtconv.shown.inspectable import Inspectable


class TRTModule(Inspectable):
    """A converted module: called, saved and loaded like the module it replaces.

    On CUDA tensors the engine runs, if TensorRT is installed and supports the GPU; elsewhere the
    reference interpreter runs the network that the engine was built from.

    An empty one, `TRTModule()`, is there to load a state dict into.

    Args:
        plan: What it runs; None for an empty one.
        cuda_graphs, cache: As for `trtconv.convert`.
        max_prepared_calls: How many kinds of calls (shapes, dtypes, device, stream) are kept ready.
        save: What its state holds: "all", or only the "network", of which the engine is built at the first use.
        rebuild: Build the engine again where it doesn't load: one of another release of TensorRT, or for another GPU.
            False makes that an error.
    """

    def __init__(
        self,
        plan: Plan | None = None,
        *,
        cuda_graphs: CudaGraphs = "auto",
        max_prepared_calls: int = 32,
        cache: bool | str | PathLike[str] = True,
        save: str = "all",
        rebuild: bool = True,
    ) -> None:
        super().__init__(save)
        check_cuda_graphs(cuda_graphs)
        check_flag("rebuild", rebuild)
        self._store = Store.of(cache)
        self._rebuilds = rebuild
        self._cuda_graphs: CudaGraphs = cuda_graphs
        self._max_prepared_calls = max_prepared_calls
        self._told_of_gradients = False
        self._set_plan(plan)
        self.eval()

    # -- calling --------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the converted module.

        Args: as the module that was converted takes them: tensors of the same shapes and dtypes, nested
        in the same way, all on one device. Under autocast, floats of its other dtypes are cast to those.

        Returns: what that module returns, with the same nesting, dtypes and device. The tensors are new:
        none is an input or a view of one, whatever that module does.

        Raises:
            InputError: an input has another shape, dtype, device or place than the plan was built for.
            EngineError: the engine can't be loaded or run here.
        """
        if torch.compiler.is_compiling():
            return self._call_as_operator(args, kwargs)
        tensors = self._forms.tensors(args, kwargs) if kwargs or len(args) != self._leading else args
        if tensors is None:
            return self._call_anew(args, kwargs)
        call = self._calls.find(key_of(tensors))
        if call is None or call.must_be_checked:
            return self._call_anew(args, kwargs)
        if not torch.is_grad_enabled():
            return call(tensors)
        if not self._told_of_gradients:
            self._tell_of_gradients(tensors)
        with torch.no_grad():
            return call(tensors)

    def _call_anew(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call of which it isn't known yet whether it fits."""
        tensors, device = self._bind(args, kwargs)
        if not self._told_of_gradients and torch.is_grad_enabled():
            self._tell_of_gradients(tensors)
        call = self._prepared(tensors, device)
        self._forms.learn(args, kwargs)
        with torch.no_grad():
            return call(tensors)

    def _call_as_operator(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that torch.compile traces."""
        signature = self._loaded_plan().signature
        tensors = [*signature.bind(args, kwargs), *(() if self._state is None else self._state.tensors())]
        outputs = operator.call([tensor.detach() for tensor in tensors], self._number)
        signature.write_back(tensors, outputs)
        return signature.result.fill(outputs)

    def run_flat(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The plan's outputs for all that it takes, in order: the new contents of what it writes to, last."""
        signature = self._loaded_plan().signature
        device = signature.device_of(tensors[: len(signature.inputs)] or tensors)
        call = self._prepared(tensors, device, is_flat=True)
        with torch.no_grad():
            return list(call.run(tensors))

    def _prepared(
        self, tensors: Sequence[torch.Tensor], device: torch.device, *, is_flat: bool = False
    ) -> PreparedCall:
        key = key_of(tensors)
        return self._calls.find(key) or self._calls.prepare(key, self._session(device), is_flat=is_flat)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[torch.Tensor], torch.device]:
        """The tensors of a call that fits, and their device."""
        signature = self._loaded_plan().signature
        tensors = signature.bind(args, kwargs)
        if any(type(tensor) is not torch.Tensor for tensor in tensors):
            tensors = list(map(as_plain, tensors))
        device = signature.device_of(tensors or ([] if self._state is None else self._state.tensors()))
        if signature.writes_to_arguments:
            signature.check_written(tensors)
        return tensors, device

    @contextmanager
    def static_io(self, *args: Any, **kwargs: Any) -> Iterator[StaticIO]:
        """Tensors that stay where they are, for pipelines that want no copies::

            with trt_module.static_io(x) as io:
                for batch in batches:
                    io.inputs[0].copy_(batch)
                    io.run()
                    use(io.result)

        Args: an example call; its contents are the first ones.

        Yields: a `StaticIO`. It is for one stream at a time: a run has to be done before the next may begin.

        Raises: as a call.
        """
        tensors, device = self._bind(args, kwargs)
        given = (
            self._session(device),
            tensors,
            self._loaded_plan().signature.result.fill,
            self._cuda_graphs is not False,
        )
        with torch.no_grad():
            io = StaticIO(*given) if self._state is None else StatefulIO(*given, self._state)
        yield io

    @property
    def cuda_graphs(self) -> CudaGraphs:
        """Whether calls on a GPU are captured in CUDA graphs: "auto" where they come a second time, True, or False."""
        return self._cuda_graphs

    @cuda_graphs.setter
    def cuda_graphs(self, value: CudaGraphs) -> None:
        check_cuda_graphs(value)
        self._cuda_graphs = value
        self._forget_calls()

    @property
    def max_prepared_calls(self) -> int:
        """How many kinds of calls (shapes, dtypes, device, stream) are kept ready, with their CUDA graphs."""
        return self._max_prepared_calls

    @max_prepared_calls.setter
    def max_prepared_calls(self, value: int) -> None:
        if type(value) is not int or value < 1:
            raise ValueError(f"max_prepared_calls={value!r}: it takes a whole number from 1")
        self._max_prepared_calls = value
        self._forget_calls()

    def _tell_of_gradients(self, tensors: Sequence[torch.Tensor]) -> None:
        """Warn once where a gradient would end here."""
        told = ending_gradient(self._loaded_plan().signature, tensors)
        if told:
            self._told_of_gradients = True
            warn(told)

    def _session(self, device: torch.device) -> Session:
        with self._loading:
            if device not in self._sessions:
                self._sessions[device] = self._loaded_on(device)
            return self._sessions[device]

    def take_session(self, session: Session) -> None:
        """Run calls on the session's device with it; it is of this module's plan."""
        self._sessions[session.device] = session

    def _loaded_on(self, device: torch.device) -> Session:
        if device.type == "cuda" and trt.is_available():
            self._have_engine()
        plan = self._loaded_plan()
        try:
            return Session(plan, device, self._store)
        except EngineError as error:
            if not self._rebuilds or any(segment.graph is None for segment in plan.segments):
                raise
            refused = error
        self._build_engine(str(refused).splitlines()[0])
        try:
            return Session(self._loaded_plan(), device, self._store)
        except EngineError as error:
            warn(f"the reference interpreter runs in place of the engine: {error}")
            return Session.interpreted(plan, device)

    def _have_engine(self, *, current: bool = False) -> None:
        """Have an engine; with `current` one that needs no new weights when it is loaded."""
        with self._loading:
            segments = self._loaded_plan().segments
            if any(not len(segment.engine) for segment in segments):
                self._build_engine("the state holds the network without its engine")
            elif current and any(segment.outdated is not None for segment in segments):
                self._build_engine("the engine has older weights than the module")

    def _build_engine(self, why: str) -> None:
        """Build the engine of the network that is kept, and say so."""
        from trtconv.rebuilding import rebuilt

        began = time.perf_counter()
        self.plan = rebuilt(self._loaded_plan(), self._store)
        warn(f"{why}; it was built again, in {time.perf_counter() - began:.1f} s")

    def backend(self, device: torch.device | str) -> str:
        """What runs calls on a device: "tensorrt" or "reference"."""
        backends = self._session(torch.empty(0, device=device).device).backends
        return "tensorrt" if all(backend.name == "tensorrt" for backend in backends) else "reference"

    def memory(self) -> Memory:
        """How many bytes it takes on the host and on the GPUs, and for what."""
        return Memory.of(self._loaded_plan(), list(self._sessions.values()), self._calls)

    # -- building again -------------------------------------------------------------------------

    def rebuild(
        self,
        *,
        precision: str | Mapping[str, str] | None = None,
        calibration: Any = None,
        tf32: bool | None = None,
        compute_capabilities: Sequence[str] | None = None,
        refittable: bool | None = None,
    ) -> TRTModule:
        """A module of the same network, built by the TensorRT that is here; the converted module's code isn't needed.

        The options are as for `trtconv.convert`; None for what this module was built with.

        Raises: as `trtconv.rebuilding.rebuilt`.
        """
        from trtconv.rebuilding import rebuilt

        plan = rebuilt(self._loaded_plan(), self._store, tf32, compute_capabilities, precision, refittable, calibration)
        built = TRTModule(
            plan,
            cuda_graphs=self._cuda_graphs,
            max_prepared_calls=self._max_prepared_calls,
            cache=False if self._store is None else self._store.folder,
            save=self._save,
            rebuild=self._rebuilds,
        )
        if self._state is not None:
            built.put_state(self._state.contents())
        return built

    def update_weights(self, weights: torch.nn.Module | Mapping[str, torch.Tensor]) -> None:
        """Take the weights of another module or of its state dict, with the same names.

        The engine is built again, or, if it is `refittable`, given the new weights where it is loaded. State stays.

        Raises: as `trtconv.rebuilding.with_new_weights`.
        """
        from trtconv.rebuilding import with_new_weights

        self._set_plan(with_new_weights(self._loaded_plan(), self._store, weights), keeps_state=True)

    # -- what it holds --------------------------------------------------------------------------

    def _set_plan(self, plan: Plan | None, *, keeps_state: bool = False) -> None:
        super()._set_plan(plan, keeps_state=keeps_state)
        self._loading = threading.RLock()
        self._sessions: dict[torch.device, Session] = {}
        self._number = operator.register(self)
        self._leading = -1 if plan is None else plan.signature.settle().leading
        self._forms = Forms(None if plan is None else plan.signature.tensors_of)
        self._forget_calls()

    def _forget_calls(self) -> None:
        if self.plan is not None:
            self._calls = Calls(self.plan.signature, self._cuda_graphs, self._max_prepared_calls, self._state)

    def _apply(self, fn: Any, recurse: bool = True) -> TRTModule:
        """What `.to(...)` comes to, of a parent as well: devices that are left are let go. Dtypes stay.

        A call runs where its inputs are; state moves.
        """
        if self._state is not None:
            self._state.apply(fn)
        left = [device for device in self._sessions if fn(torch.empty(0, device=device)).device != device]
        for device in left:
            del self._sessions[device]
        if left:
            self._forget_calls()
        return self

    @property
    def signature(self) -> Signature:
        """How it is called, and what it returns: printed, each input with its sizes, and how these may vary."""
        return self._loaded_plan().signature

    @property
    def engine(self) -> Engine:
        """The engine, for C++ and other tools: `engine.serialize()`, `engine.save(path)`.

        Raises:
            ValueError: the plan has several engines; they are in `plan.segments`.
        """
        segments = self._loaded_plan().segments
        if len(segments) != 1:
            raise ValueError(f"the plan has {len(segments)} engines; they are in plan.segments")
        self._have_engine(current=True)
        return Engine(self._loaded_plan().segments[0].engine)

    def save_engine(self, path: str | Path) -> None:
        """Write the serialized engine to a file."""
        self.engine.save(path)
