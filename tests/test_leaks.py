"""A conversion leaves no memory, files or threads behind, whether it succeeds or fails, and without a collection."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Nothing is left to the garbage collector: of large tensors it sees only small objects, and comes late.
SCRIPT = """
import gc, json, os, sys, warnings
import torch
from torch import nn
import trtconv
from trtconv.graph.weight_file import return_freed_memory

KIND = sys.argv[1]
torch.set_num_threads(1)
warnings.simplefilter("ignore")
kept = []

class Refused(nn.Linear):
    def forward(self, x):
        return torch.linalg.svd(super().forward(x))

class Unbuildable(nn.Linear):
    def forward(self, x):
        return broken(super().forward(x))

def broken(x):
    return x.clone()

def step():
    options = {}
    model, x = nn.Linear(1400, 1400), torch.ones(2, 1400)
    if KIND == "convolution":
        model, x = nn.Sequential(nn.Conv2d(448, 448, 3), nn.BatchNorm2d(448)), torch.ones(1, 448, 3, 3)
    elif KIND == "dynamic":
        options = {"dynamic_shapes": {"input": {0: (1, 2, 8)}}}
    elif KIND == "full precision":
        options = {"tf32": False}
    elif KIND == "without the network":
        options = {"keep_network": False}
    elif KIND == "refused":
        model = Refused(1400, 1400)
    elif KIND == "unbuildable":
        model = Unbuildable(1400, 1400)
    model.eval()
    if KIND == "onnx":
        converted = trtconv.from_onnx(CONTENT)
    elif KIND in ("refused", "unbuildable"):
        try:
            trtconv.convert(model, x)
        except trtconv.errors.ConversionError:
            return
        raise AssertionError("it converts")
    else:
        converted = trtconv.convert(model, x, **options)
    if KIND != "without the network":
        converted(x)
    if KIND == "kept":
        kept.append(converted)

if KIND == "unbuildable":
    @trtconv.tensorrt_converter("__main__.broken")
    def convert_broken(ctx):
        ctx.method_return._trt = ctx.network.add_input("never given", trtconv.tensorrt.float32, (2, 1400))
if KIND == "onnx":
    from onnx import TensorProto, helper, numpy_helper
    weight = numpy_helper.from_array(torch.randn(1400, 1400).numpy(), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 1400)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    CONTENT = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()

def measure():
    return_freed_memory()
    resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return [resident / 2**20, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))]

gc.disable()
found = []
for number in range(10):
    step()
    if number in (1, 9):
        found.append(measure())
    gc.collect(0)
print(json.dumps(found))
"""
WEIGHTS = 7.5
"""MiB of the weights of each model."""


def grown(kind):
    """MiB, files and threads that eight conversions left."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, kind], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, last = json.loads(done.stdout)
    return [after - before for before, after in zip(first, last, strict=True)]


@pytest.mark.parametrize(
    "kind",
    ["linear", "convolution", "dynamic", "full precision", "without the network", "refused", "unbuildable", "onnx"],
)
def test_nothing_is_left(kind):
    if kind == "onnx":
        pytest.importorskip("onnx")
    memory, files, threads = grown(kind)
    assert memory < 2 * WEIGHTS
    assert files <= 0 and threads <= 0


def test_a_module_keeps_its_network_and_its_engine():
    """Each once: neither the original's weights, nor what was computed on the way, in memory or in a file."""
    memory, files, threads = grown("kept")
    assert memory < 8 * 2.5 * WEIGHTS
    assert files <= 0 and threads <= 0
