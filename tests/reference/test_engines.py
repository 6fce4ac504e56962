"""Each case's engine builds where the case says so: the half of the GPU tests that needs no GPU."""

import pytest

from trtconv import tensorrt as trt

from .cases import CASES
from .engine import build

pytestmark = pytest.mark.skipif(not trt.is_rtx(), reason="only TensorRT-RTX builds without a GPU")


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_engine_builds(case):
    for dtype in case.dtypes:
        net, _ = case.network(dtype)
        assert (build(net.network) is not None) == case.engine, dtype


def test_every_buildable_layer_type_has_an_engine():
    """What no engine holds is what TensorRT-RTX can't build or run (TENSORRT.md, sections 1 and 6)."""
    covered = set()
    for case in CASES:
        if case.engine:
            net, _ = case.network(case.dtypes[0])
            covered |= {net.get_layer(i).type.name for i in range(net.num_layers)}
    missing = set(trt.LayerType.__members__) - covered
    assert missing == {"MOE", "NMS", "NON_ZERO", "DIST_COLLECTIVE", "PLUGIN", "PLUGIN_V2", "PLUGIN_V3"}
