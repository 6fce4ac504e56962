"""Time and memory of the interpreter against the same torch calls, on the CPU.

    python benchmarks/reference_overhead.py [--model resnet50] [--batch 8] [--runs 10]

The network is built from the module's own calls with the batch norms folded, and torch runs the same
folded module, so that both compute the same. Times are medians of interleaved runs. Peaks are of
resident memory beyond what there is before a second run, each in a fresh process (Linux).
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

import torch
import torchvision
from torch import nn
from torch.fx.experimental.optimization import fuse

from trtconv import tensorrt as trt
from trtconv.reference import Interpreter


class Emitter(torch.fx.Interpreter):
    """Adds a TensorRT layer for each call of a residual network."""

    def __init__(self, module: torch.fx.GraphModule, shape: tuple[int, ...]) -> None:
        super().__init__(module)
        self.builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
        self.network = self.builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self.input = self.network.add_input("x", trt.float32, shape)

    def emit(self):
        self.network.mark_output(self.run(self.input))
        return self.network

    def call_module(self, target, args, kwargs):
        module, x, network = self.fetch_attr(target), args[0], self.network
        match module:
            case nn.Conv2d():
                bias = trt.Weights() if module.bias is None else module.bias.detach().numpy()
                weight = module.weight.detach().numpy()
                layer = network.add_convolution_nd(x, module.out_channels, module.kernel_size, weight, bias)
                layer.stride_nd, layer.padding_nd = module.stride, module.padding
                layer.num_groups = module.groups
            case nn.ReLU():
                layer = network.add_activation(x, trt.ActivationType.RELU)
            case nn.MaxPool2d():
                layer = network.add_pooling_nd(x, trt.PoolingType.MAX, (module.kernel_size,) * 2)
                layer.stride_nd, layer.padding_nd = (module.stride,) * 2, (module.padding,) * 2
            case nn.AdaptiveAvgPool2d():
                layer = network.add_reduce(x, trt.ReduceOperation.AVG, 0b1100, True)
            case nn.Linear():
                weight = network.add_constant(module.weight.shape, module.weight.detach().numpy())
                bias = network.add_constant((1, module.out_features), module.bias.detach().numpy())
                operations = trt.MatrixOperation
                product = network.add_matrix_multiply(x, operations.NONE, weight.get_output(0), operations.TRANSPOSE)
                layer = network.add_elementwise(product.get_output(0), bias.get_output(0), trt.ElementWiseOperation.SUM)
            case _:
                raise NotImplementedError(type(module).__name__)
        return layer.get_output(0)

    def call_function(self, target, args, kwargs):
        if target is torch.flatten:
            layer = self.network.add_shuffle(args[0])
            layer.reshape_dims = (args[0].shape[0], -1)
        else:
            layer = self.network.add_elementwise(*args, trt.ElementWiseOperation.SUM)
        return layer.get_output(0)


def subjects(model: str, batch: int):
    """The folded module, the interpreter of its network, and an input."""
    torch.manual_seed(0)
    module = fuse(torch.fx.symbolic_trace(getattr(torchvision.models, model)(weights=None).eval()))
    x = torch.randn(batch, 3, 224, 224)
    interpreter = Interpreter(Emitter(module, tuple(x.shape)).emit())
    return module, interpreter, x


def run_torch(module, x):
    with torch.no_grad():
        return module(x)


def run_interpreter(interpreter, x):
    return next(iter(interpreter.run({"x": x}).values()))


def resident(field: str) -> float:
    """VmRSS, the resident memory, or VmHWM, its peak, of this process in MiB."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def peak(model: str, batch: int, which: str) -> None:
    """Print by how many MiB a run raises this process's resident memory at most."""
    module, interpreter, x = subjects(model, batch)
    function, subject = (run_torch, module) if which == "torch" else (run_interpreter, interpreter)
    function(subject, x)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # start the peak anew
    before = resident("VmRSS")
    function(subject, x)
    print(resident("VmHWM") - before)


def measure_peak(arguments: argparse.Namespace, which: str) -> float:
    command = [sys.executable, os.path.abspath(__file__), "--model", arguments.model]
    command += ["--batch", str(arguments.batch), "--peak", which]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--peak", choices=("torch", "interpreter"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        peak(arguments.model, arguments.batch, arguments.peak)
        return
    module, interpreter, x = subjects(arguments.model, arguments.batch)
    difference = (run_torch(module, x) - run_interpreter(interpreter, x)).abs().max().item()
    times: dict[str, list[float]] = {"torch": [], "interpreter": []}
    for _ in range(arguments.runs):
        for name, function, subject in (
            ("torch", run_torch, module),
            ("interpreter", run_interpreter, interpreter),
        ):
            start = time.perf_counter()
            function(subject, x)
            times[name].append(time.perf_counter() - start)
    eager, ours = (statistics.median(times[name]) for name in ("torch", "interpreter"))
    print(f"{arguments.model}, batch {arguments.batch}, {torch.get_num_threads()} threads")
    print(f"largest difference {difference:.2e}")
    print(f"torch {eager * 1e3:.0f} ms, interpreter {ours * 1e3:.0f} ms: {ours / eager - 1:+.1%}")
    peaks = {which: measure_peak(arguments, which) for which in ("torch", "interpreter")}
    ratio = peaks["interpreter"] / peaks["torch"]
    print(f"peak torch {peaks['torch']:.0f} MiB, interpreter {peaks['interpreter']:.0f} MiB: {ratio:.2f} times")


if __name__ == "__main__":
    main()
