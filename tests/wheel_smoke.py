"""What `make wheel` runs where the wheel is installed and nothing of the checkout can be found."""

import importlib.metadata
import io
import os
import sys

import torch

import trtconv
import trtconv.converters
from trtconv.inspect import compare

installed = os.path.join(sys.prefix, "")
for package in (trtconv, trtconv.converters):
    assert package.__file__.startswith(installed), f"{package.__name__} comes from {package.__file__}"
assert os.path.exists(os.path.join(os.path.dirname(trtconv.__file__), "py.typed"))
assert importlib.metadata.version("trtconv") == trtconv.__version__

module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 4))
module.eval()
converted = trtconv.convert(module, [torch.randn(2, 3, 8, 8)], dynamic_shapes={"input": {0: (1, 2, 8)}})
x = torch.randn(5, 3, 8, 8)
comparison = compare(module, converted, x)
assert comparison.correct, str(comparison)

file = io.BytesIO()
torch.save(converted.state_dict(), file)
loaded = trtconv.TRTModule()
loaded.load_state_dict(torch.load(io.BytesIO(file.getvalue())))
assert torch.equal(loaded(x), converted(x))


@trtconv.tensorrt_converter("torch.relu")
def convert_relu(ctx):
    layer = ctx.network.add_activation(ctx.method_args[0]._trt, trtconv.tensorrt.ActivationType.RELU)
    ctx.method_return._trt = layer.get_output(0)


assert torch.equal(trtconv.convert(torch.nn.ReLU(), [x])(x), x.relu())
print(f"trtconv {trtconv.__version__} works from its wheel, with torch {torch.__version__}")
