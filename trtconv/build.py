"""Step 4: TensorRT builds an engine of a network; with what runs and describes it, it is a plan."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

import trtconv
from trtconv import tensorrt as trt
from trtconv.calling.signature import Signature, TensorSpec
from trtconv.errors import BuildError
from trtconv.graph import digest, write
from trtconv.graph.layout import copy_weights
from trtconv.graph.metadata import write_names
from trtconv.graph.weight_file import WeightFile, return_freed_memory
from trtconv.options import check_compute_capabilities, known_capabilities
from trtconv.passes import Effect, for_engine
from trtconv.plan import Plan, Segment
from trtconv.progress import Phases
from trtconv.progress import progress as show_progress
from trtconv.reference import Graph
from trtconv.reference.layers.plugin import PLUGIN_TYPES
from trtconv.runtime.cache import Store
from trtconv.sizes.ranges import Range, Relation
from trtconv.tensorrt.interruptible import interruptible
from trtconv.tensorrt.logger import Messages
from trtconv.verbosity import log


class Clock:
    """Seconds between laps, and what passes did meanwhile; the logger is told of both."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.effects: list[dict[str, Any]] = []
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Name the time since the last lap."""
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now
        log.info("%s: %.2f s", name, self.laps[name])

    def note(self, effect: Effect) -> None:
        """Keep what a pass did."""
        self.effects.append(dataclasses.asdict(effect))
        log.info("%s: %d -> %d, %d of them new", *dataclasses.astuple(effect))

    def take_effects(self) -> list[dict[str, Any]]:
        """What passes did since this was last called."""
        effects, self.effects = self.effects, []
        return effects


def build_plan(
    graph: Graph,
    signature: Signature,
    messages: Messages,
    clock: Clock,
    *,
    source: Mapping[str, Any],
    tf32: bool,
    compute_capabilities: Sequence[str] | None,
    refittable: bool,
    keep_network: bool,
    store: Store | None = None,
    owned: Collection[int] | None = None,
    progress: bool | None = None,
) -> Plan:
    """Build a network and return the plan of one segment that runs it.

    Args:
        graph: The network, which the interpreter runs.
        messages, tf32, compute_capabilities, refittable, progress: As for `build`.
        signature: How the plan is called; its tensors have the names of the network's inputs and outputs.
        clock: What has measured the time since the conversion began.
        source: What the plan's provenance says of where the network comes from.
        keep_network: Keep the network for the reference interpreter.
        store: Where engines are kept from build to build.
        owned: The storages, by their addresses, of weights that belong to others, but live on until the build is done.
            The plan's network gets weights of its own then, and weights elsewhere lie in a file during the build, in
            which TensorRT holds them twice: all layers' weights are moved. None leaves them with the graph.

    Raises: as `build`.
    """
    built = for_engine(graph, tf32=tf32, note=clock.note)
    file = WeightFile()
    if owned is not None:
        _hold_weights((graph, built), file, owned)
    count = len(built.layers)
    if any(layer.type in PLUGIN_TYPES for layer in built.layers):
        store = None  # what a plugin does isn't in the graph
    key = "" if store is None else _key(built, signature.taken, tf32, compute_capabilities, refittable)
    kept = None if store is None else store.load("engine", key)
    if kept is not None:
        engine = torch.frombuffer(bytearray(kept), dtype=torch.uint8)
    else:
        engine = build(
            built,
            signature.taken,
            messages,
            file.release,
            tf32=tf32,
            compute_capabilities=compute_capabilities,
            refittable=refittable,
            store=store,
            progress=progress,
        )
        if store is not None:
            store.keep("engine", key, engine.numpy().data)
    clock.lap("build")
    del built
    if keep_network and owned is not None:
        copy_weights(graph.layers, file.release)
    return_freed_memory()
    segment = Segment(
        tuple(spec.name for spec in signature.taken),
        tuple(spec.name for spec in signature.outputs),
        engine,
        graph if keep_network else None,
    )
    provenance = {
        "trtconv": trtconv.__version__,
        "torch": str(torch.__version__),
        "tensorrt": trt.release(),
        **source,
        "tf32": tf32,
        "compute_capabilities": None if compute_capabilities is None else list(compute_capabilities),
        "refittable": refittable,
        "layers": count,
        "engine_passes": clock.take_effects(),
        "seconds": clock.laps,
    }
    return Plan(signature, (segment,), provenance)


def storages(tensors: Iterable[torch.Tensor]) -> frozenset[int]:
    """The addresses of the storages that tensors are in."""
    return frozenset(each.untyped_storage().data_ptr() for each in tensors)


def _hold_weights(graphs: Sequence[Graph], file: WeightFile, owned: Collection[int]) -> None:
    lasting = set(owned)

    def hold(value: torch.Tensor) -> torch.Tensor:
        if value.untyped_storage().data_ptr() not in lasting:
            value = file.hold(value)
            lasting.add(value.untyped_storage().data_ptr())
        return value

    for graph in graphs:
        graph.map_weights(hold)
    return_freed_memory()


def build(
    graph: Graph,
    inputs: Sequence[TensorSpec],
    messages: Messages,
    release: Callable[[], None] = lambda: None,
    *,
    tf32: bool = True,
    compute_capabilities: Sequence[str] | None = None,
    refittable: bool = False,
    store: Store | None = None,
    progress: bool | None = None,
) -> torch.Tensor:
    """Build an engine and return its serialized form, of dtype uint8.

    Args:
        graph: The network, after the passes for this TensorRT.
        inputs: The inputs, with the ranges of their dynamic sizes.
        messages: An open collector of TensorRT's messages.
        release: Lets go of weights in memory that are in a file too; called now and then.
        tf32: Let TensorRT round the factors of fp32 products to TensorFloat-32. TensorRT-RTX does so whatever
            is said here: `trtconv.passes.for_engine` keeps it from it.
        compute_capabilities: For TensorRT-RTX, the GPUs to build for: ``["8.6", "12.0"]``. None leaves it to
            TensorRT-RTX, which builds for 8.0, 8.6, 8.9, 12.0 and 12.1.
        refittable: Build an engine that takes other weights later (`trtconv.runtime.refitting`).
        store: Where TensorRT's timings of kernels are kept from build to build; TensorRT-RTX times none.
        progress: Show a bar: as for `trtconv.progress.progress`.

    Raises:
        BuildError: TensorRT refused the network; with its own messages and the origins of the layers
            that they name.
        ValueError: a compute capability that TensorRT-RTX doesn't know, or given for another TensorRT.
    """
    written = write(graph)
    write_names(written.definition)
    config = written.builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the engine knows of which layers it was made
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if refittable:
        config.set_flag(trt.BuilderFlag.REFIT)
    if compute_capabilities is not None:
        _set_targets(config, compute_capabilities)
    if any(not spec.is_static for spec in inputs):
        _add_profiles(written.builder, config, inputs)
    timings = None if store is None or trt.is_rtx() else _Timings(config, store)
    messages.clear()
    with show_progress("Building the engine", 1.0, show=progress) as bar:
        monitor = _monitor_type()(release, Phases(bar))

        def run() -> Any:
            config.progress_monitor = monitor  # TensorRT doesn't keep it alive
            return written.builder.build_serialized_network(written.definition, config)

        plan = interruptible(run, monitor.cancel)
    if plan is None:
        raise BuildError(_explain(graph, messages) + (_NOT_REFITTABLE if refittable else ""))
    if timings is not None:
        timings.keep()
    return torch.frombuffer(plan, dtype=torch.uint8)


_NOT_REFITTABLE = """
The engine was to take new weights later (refittable=True), and TensorRT doesn't build such engines everywhere. Without
that option the network may build; update_weights then builds it again with the new weights."""


class _Timings:
    """TensorRT's timings of kernels on this GPU, which a build reads and adds to."""

    def __init__(self, config: Any, store: Store) -> None:
        self._store = store
        self._key = f"{trt.release()} on {_gpu()}"
        self._cache = config.create_timing_cache(store.load("timing", self._key) or b"")
        config.set_timing_cache(self._cache, False)

    def keep(self) -> None:
        self._store.keep("timing", self._key, bytes(self._cache.serialize()))


def _key(graph: Graph, inputs: Sequence[TensorSpec], *options: Any) -> str:
    """What engines have in common that may stand for one another."""
    target = "" if trt.is_rtx() else _gpu()
    shapes = [spec.to_json() for spec in inputs]
    return json.dumps(["detailed", trt.release(), target, digest(graph), shapes, *options])


def _gpu() -> str:
    """The GPU that TensorRT builds for, as TensorRT-RTX doesn't."""
    return str(torch.cuda.get_device_name())


@functools.cache
def _monitor_type() -> Any:
    class Monitor(trt.load().IProgressMonitor):  # type: ignore[misc]  # the base is known at run time only
        """Keeps memory low during a build, whose parts hold the weights at different places; tells how far it is."""

        def __init__(self, release: Callable[[], None], phases: Phases) -> None:
            super().__init__()
            self._release = release
            self._phases = phases
            self._is_cancelled = False

        def cancel(self) -> None:
            self._is_cancelled = True

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._tidy()
            self._phases.start(name, parent, steps)

        def step_complete(self, name: str, step: int) -> bool:
            self._phases.step(name)
            return not self._is_cancelled

        def phase_finish(self, name: str) -> None:
            self._tidy()
            self._phases.finish(name)

        def _tidy(self) -> None:
            self._release()
            return_freed_memory()

    return Monitor


def _add_profiles(builder: Any, config: Any, inputs: Sequence[TensorSpec]) -> None:
    """Tell TensorRT the ranges of the dynamic sizes, and what to optimize for."""
    varying = (Range, Relation)
    count = max(len(size.profiles) for spec in inputs for size in spec.shape if isinstance(size, varying))
    for number in range(count):
        profile = builder.create_optimization_profile()
        for spec in inputs:
            if not spec.is_static:
                limits = [
                    size.profiles[number] if isinstance(size, varying) else (size,) * 3 for size in spec.engine_shape
                ]
                profile.set_shape(spec.name, *zip(*limits, strict=True))
        config.add_optimization_profile(profile)


def _set_targets(config: Any, names: Sequence[str]) -> None:
    check_compute_capabilities(names)
    known = known_capabilities()
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        config.set_compute_capability(known[name], index)


def _explain(graph: Graph, messages: Messages) -> str:
    lines = [f"TensorRT doesn't build this network. {messages.words()}"]
    text = "\n".join(messages.errors())
    named = [(layer.name, layer.origin) for layer in graph.layers if layer.origin and layer.name in text]
    if named:
        lines.append("The layers that it names come from:")
        lines += [f"  {name}: {origin.function or 'trtconv'} at {origin}" for name, origin in named]
    return "\n".join(lines)
