"""Step 3: passes that change what is built without changing what is computed.

A pass on the trace runs before the network is emitted; it is a function Trace -> Trace in a file of
its own, and stands in `TRACE_PASSES`, which are run in order. A pass on the network edits the finished
definition in place, so that it holds for the layers of users' converters too.
"""

from __future__ import annotations

from collections.abc import Callable

from trtconv import tensorrt as trt
from trtconv.capture.trace import Trace
from trtconv.network import Network
from trtconv.passes.complex_numbers import use_real_numbers
from trtconv.passes.constants_on_cpu import take_constants_to_cpu
from trtconv.passes.fold_batch_norm import fold_batch_norm
from trtconv.passes.full_precision import use_full_precision
from trtconv.passes.rtx_1_7_elu import has_elu, write_elu_as_selu
from trtconv.passes.short_integers import use_int32
from trtconv.passes.single_precision import use_single_precision

TRACE_PASSES: tuple[Callable[[Trace], Trace], ...] = (
    take_constants_to_cpu,
    fold_batch_norm,
    use_real_numbers,
    use_single_precision,
    use_int32,
)


def run_trace_passes(trace: Trace) -> Trace:
    """Run all passes on a trace, in order."""
    for trace_pass in TRACE_PASSES:
        trace = trace_pass(trace)
    return trace


def network_passes(network: Network, *, tf32: bool) -> list[Callable[[Network], None]]:
    """The passes that a finished network needs with these options, in order."""
    if not trt.is_rtx():
        return []
    passes = [(write_elu_as_selu, has_elu(network)), (use_full_precision, not tf32)]
    return [network_pass for network_pass, is_needed in passes if is_needed]
