"""Step 4: TensorRT builds an engine of a network; with what runs and describes it, it is a plan."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

import trtconv
from trtconv import tensorrt as trt
from trtconv.dynamic import Range
from trtconv.errors import BuildError
from trtconv.logger import Messages, quiet
from trtconv.network import Network
from trtconv.options import check_compute_capabilities, known_capabilities
from trtconv.passes import network_passes
from trtconv.plan import Plan, Segment
from trtconv.reference import Graph, read
from trtconv.reference.layout import copy_weights
from trtconv.signature import Signature, TensorSpec
from trtconv.weight_file import WeightFile, return_freed_memory


class Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Name the time since the last lap."""
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now


def build_plan(
    network: Network,
    signature: Signature,
    messages: Messages,
    clock: Clock,
    *,
    source: Mapping[str, Any],
    tf32: bool,
    compute_capabilities: Sequence[str] | None,
    keep_network: bool,
) -> Plan:
    """Build a network and return the plan of one segment that runs it.

    Args:
        network, messages, tf32, compute_capabilities: As for `build`.
        signature: How the plan is called; its tensors have the names of the network's inputs and outputs.
        clock: What has measured the time since the conversion began.
        source: What the plan's provenance says of where the network comes from.
        keep_network: Keep the network for the reference interpreter.

    Raises: as `build`.
    """
    # The interpreter computes in fp32 anyway, so it runs the network as it was before the passes. During the build,
    # in which TensorRT holds the weights twice, its copy is in a file; without passes it is read afterwards.
    passes = network_passes(network, tf32=tf32)
    graph = _read(network) if keep_network and passes else None
    file = WeightFile()
    if graph is not None:
        graph.map_weights(file.hold)
    for network_pass in passes:
        network_pass(network)
    engine = build(network, signature.inputs, messages, tf32=tf32, compute_capabilities=compute_capabilities)
    clock.lap("build")
    if graph is not None:
        copy_weights(graph.layers, file.release)
    elif keep_network:
        graph = _read(network)
    network.release()
    return_freed_memory()
    segment = Segment(
        tuple(spec.name for spec in signature.inputs),
        tuple(spec.name for spec in signature.outputs),
        engine,
        graph,
    )
    provenance = {
        "trtconv": trtconv.__version__,
        "torch": str(torch.__version__),
        "tensorrt": f"{trt.load().__name__} {trt.load().__version__}",
        **source,
        "tf32": tf32,
        "compute_capabilities": None if compute_capabilities is None else list(compute_capabilities),
        "layers": network.definition.num_layers,
        "seconds": clock.laps,
    }
    return Plan(signature, (segment,), provenance)


def build(
    network: Network,
    inputs: Sequence[TensorSpec],
    messages: Messages,
    *,
    tf32: bool = True,
    compute_capabilities: Sequence[str] | None = None,
) -> torch.Tensor:
    """Build an engine and return its serialized form, of dtype uint8.

    Args:
        network: The network, with inputs and outputs.
        inputs: The inputs, with the ranges of their dynamic sizes.
        messages: An open collector of TensorRT's messages.
        tf32: Let TensorRT round the factors of fp32 products to TensorFloat-32. TensorRT-RTX does so whatever
            is said here: `trtconv.passes.network_passes` keep it from it.
        compute_capabilities: For TensorRT-RTX, the GPUs to build for: ``["8.6", "12.0"]``. None leaves it to
            TensorRT-RTX, which builds for 8.0, 8.6, 8.9, 12.0 and 12.1.

    Raises:
        BuildError: TensorRT refused the network; with its own messages and the origins of the layers
            that they name.
        ValueError: a compute capability that TensorRT-RTX doesn't know, or given for another TensorRT.
    """
    config = network.builder.create_builder_config()
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if compute_capabilities is not None:
        _set_targets(config, compute_capabilities)
    if any(not spec.is_static for spec in inputs):
        _add_profiles(network, config, inputs)
    messages.clear()
    monitor = _monitor_type()(network.release)  # TensorRT doesn't keep it alive
    config.progress_monitor = monitor
    plan = network.builder.build_serialized_network(network.definition, config)
    if plan is None:
        raise BuildError(_explain(network, messages.errors()))
    return torch.frombuffer(plan, dtype=torch.uint8)


@functools.cache
def _monitor_type() -> Any:
    class Monitor(trt.load().IProgressMonitor):  # type: ignore[misc]  # the base is known at run time only
        """Keeps memory low during a build: the parts of it hold the weights at different places."""

        def __init__(self, release: Callable[[], None]) -> None:
            super().__init__()
            self._release = release

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._tidy()

        def step_complete(self, name: str, step: int) -> bool:
            return True  # to go on

        def phase_finish(self, name: str) -> None:
            self._tidy()

        def _tidy(self) -> None:
            self._release()
            return_freed_memory()

    return Monitor


def _read(network: Network) -> Graph:
    with quiet():
        return read(network.definition, network.release)


def _add_profiles(network: Network, config: Any, inputs: Sequence[TensorSpec]) -> None:
    """Tell TensorRT the ranges of the dynamic sizes, and what to optimize for."""
    count = max(len(size.profiles) for spec in inputs for size in spec.shape if isinstance(size, Range))
    for number in range(count):
        profile = network.builder.create_optimization_profile()
        for spec in inputs:
            if not spec.is_static:
                limits = [
                    size.profiles[number] if isinstance(size, Range) else (size,) * 3 for size in spec.engine_shape
                ]
                profile.set_shape(spec.name, *zip(*limits, strict=True))
        config.add_optimization_profile(profile)


def _set_targets(config: Any, names: Sequence[str]) -> None:
    check_compute_capabilities(names)
    known = known_capabilities()
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        config.set_compute_capability(known[name], index)


def _explain(network: Network, errors: Sequence[str]) -> str:
    lines = ["TensorRT doesn't build this network. It says:"]
    lines += [f"  {text}" for text in errors] or ["  (nothing)"]
    text = "\n".join(errors)
    named = [(name, origin) for name, origin in network.origins.items() if name in text]
    if named:
        lines.append("The layers that it names come from:")
        lines += [f"  {name}: {origin.function or 'trtconv'} at {origin}" for name, origin in named]
    return "\n".join(lines)
