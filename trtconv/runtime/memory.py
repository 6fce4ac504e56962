"""What a converted module takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from trtconv.plan import Plan
from trtconv.runtime.backend import EngineBackend
from trtconv.runtime.calls import Calls
from trtconv.runtime.session import Session


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes that a converted module takes, from `TRTModule.memory`.

    Attributes:
        engine: On the host: the serialized engines.
        network: On the host: the weights of the networks that are kept for the interpreter and for rebuilding.
        kernels: On the host: what TensorRT-RTX compiled for the GPUs at hand.
        weights: On GPUs: the loaded engines' weights.
        activations: On GPUs: what runs compute in between, a room for each stream that calls came on.
        graphs: On GPUs: the fixed inputs and outputs of CUDA graphs.
    """

    engine: int = 0
    network: int = 0
    kernels: int = 0
    weights: int = 0
    activations: int = 0
    graphs: int = 0

    @property
    def host(self) -> int:
        """All that is on the host."""
        return self.engine + self.network + self.kernels

    @property
    def device(self) -> int:
        """All that is on GPUs."""
        return self.weights + self.activations + self.graphs

    @staticmethod
    def of(plan: Plan, sessions: Sequence[Session], calls: Calls) -> Memory:
        """What a plan, what was loaded of it and its calls take."""
        networks = [segment.graph for segment in plan.segments if segment.graph is not None]
        constants = (value for graph in networks for layer in graph.layers for value in layer.attributes.values())
        weights = {
            each.untyped_storage().data_ptr(): each.untyped_storage().nbytes()
            for each in constants
            if isinstance(each, torch.Tensor)
        }
        engines = [
            backend.engine for session in sessions for backend in session.backends if isinstance(backend, EngineBackend)
        ]
        return Memory(
            engine=sum(segment.engine.nbytes for segment in plan.segments),
            network=sum(weights.values()),
            kernels=sum(len(engine.kernels() or b"") for engine in engines),
            weights=sum(engine.weights() for engine in engines),
            activations=sum(lane.memory() for session in sessions for lane in session.lanes()),
            graphs=calls.memory(),
        )
