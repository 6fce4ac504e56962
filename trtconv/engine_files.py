"""Engine files as modules."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import torch

from trtconv.calling.signature import Signature
from trtconv.errors import EngineError
from trtconv.module import TRTModule
from trtconv.plan import Plan, Segment
from trtconv.runtime import CudaGraphs, Session, load_engine_of
from trtconv.runtime.cache import Store


def load_engine(
    path: str | Path,
    device: torch.device | str = "cuda",
    *,
    cuda_graphs: CudaGraphs = "auto",
    cache: bool | str | PathLike[str] = True,
) -> TRTModule:
    """Load an engine file as a module that takes the engine's inputs in order.

    It returns the engine's output, or a tuple of them where there are several.

    Args:
        path: A file that `TRTModule.save_engine`, or another tool with the same TensorRT, wrote.
        device: The GPU to load it on.
        cuda_graphs, cache: As for `trtconv.convert`.

    Raises:
        EngineError: there is no GPU, or TensorRT doesn't load the engine on it.
        OSError: the file can't be read.
    """
    content = Path(path).read_bytes()
    if not torch.cuda.is_available():
        raise EngineError(
            f"{path}: an engine file runs on a GPU only, and torch finds none here; a saved module "
            "(torch.save(trt_module.state_dict(), ...)) carries its network and runs anywhere"
        )
    device = torch.empty(0, device=device).device
    segment = Segment((), (), torch.frombuffer(bytearray(content), dtype=torch.uint8), graph=None)
    store = Store.of(cache)
    backend = load_engine_of(segment, device, store)
    segment.inputs, segment.outputs = backend.inputs, backend.outputs
    plan = Plan(Signature.of_tensors(backend.engine.inputs, backend.engine.outputs), (segment,), {"file": str(path)})
    module = TRTModule(plan, cuda_graphs=cuda_graphs, cache=cache)
    module.take_session(Session(plan, device, store, [backend]))
    return module
