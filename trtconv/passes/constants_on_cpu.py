"""Take constants to the CPU, from which TensorRT's builder reads them.

Converters compute with the constants of a call and with their own, which have to be on one device.
"""

from __future__ import annotations

from typing import Any

import torch

from trtconv.capture.trace import Trace, is_activation, map_tensors


def take_constants_to_cpu(trace: Trace) -> Trace:
    """Return the trace with each real tensor that is elsewhere copied to the CPU, once."""
    copies: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def on_cpu(tensor: torch.Tensor) -> torch.Tensor:
        if is_activation(tensor) or tensor.device.type == "cpu":
            return tensor
        if id(tensor) not in copies:
            # The original is kept too: an id means something only while its object lives.
            copies[id(tensor)] = tensor, tensor.detach().cpu()
        return copies[id(tensor)][1]

    def moved(structure: Any) -> Any:
        return map_tensors(on_cpu, structure)

    calls = [call.with_arguments(*moved((call.args, call.kwargs))) for call in trace.calls]
    return Trace(trace.inputs, moved(trace.outputs), calls) if copies else trace
