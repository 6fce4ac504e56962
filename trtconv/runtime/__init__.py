"""Running plans: engines on the GPU, the reference interpreter elsewhere."""

from __future__ import annotations

from trtconv.runtime import operator
from trtconv.runtime.backend import Backend, EngineBackend, InterpreterBackend
from trtconv.runtime.calls import Calls, CudaGraphs, PreparedCall, key_of
from trtconv.runtime.engine import Engine, LoadedEngine
from trtconv.runtime.forms import Forms
from trtconv.runtime.memory import Memory
from trtconv.runtime.session import Session, load_engine_of
from trtconv.runtime.state import State
from trtconv.runtime.static_io import StatefulIO, StaticIO

__all__ = [
    "Backend",
    "Calls",
    "CudaGraphs",
    "Engine",
    "EngineBackend",
    "Forms",
    "InterpreterBackend",
    "LoadedEngine",
    "Memory",
    "PreparedCall",
    "Session",
    "State",
    "StatefulIO",
    "StaticIO",
    "key_of",
    "load_engine_of",
    "operator",
]
