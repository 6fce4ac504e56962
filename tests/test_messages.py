"""What users read when something is wrong: what came, where, what is allowed, what to do; and nothing else."""

import linecache
import logging
import os
import pathlib
import re
import subprocess
import sys
import traceback

import pytest
import torch
import torchvision
from cases import Function
from torch import nn

import trtconv
from trtconv import tensorrt as trt


def lambda_module(function):
    class Module(nn.Module):
        def forward(self, x):
            return function(x)

    return Module().eval()


def message(module, *args, **options):
    with pytest.raises(Exception) as error:  # which one, each test says
        trtconv.convert(module, args or (torch.randn(2, 3),), **options)
    return error.value


OPTIONS = {
    "compute_capabilities": ("8.6", "compute_capabilities=['8.6']"),
    "input_names": ("image", "['image']"),
    "output_names": (3, "list of names"),
    "tf32": (1, "True or False"),
    "keep_network": ("yes", "True or False"),
    "constant_values": ([("a.py:3", 1)], "dict"),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options_of_another_kind_say_what_to_write(option):
    given, advice = OPTIONS[option]

    class NeverRuns(nn.Module):
        def forward(self, x):
            raise AssertionError("options are checked before any work is done")

    error = message(NeverRuns(), **{option: given})
    assert isinstance(error, ValueError)
    assert option in str(error)
    assert repr(given) in str(error)
    assert advice in str(error)


def test_unknown_compute_capabilities_are_listed():
    assert "'9.9' isn't known; TensorRT-RTX builds for" in str(message(nn.ReLU(), compute_capabilities=["8.6", "9.9"]))
    assert "names no GPU" in str(message(nn.ReLU(), compute_capabilities=[]))


def test_constant_values_that_nothing_asks_for_are_an_error():
    error = message(nn.ReLU(), constant_values={"model.py:7": 1})
    assert "model.py:7" in str(error)
    assert "has no effect" in str(error)


def forgets(ctx):
    ctx.network.add_activation(ctx.method_args[0]._trt, trt.ActivationType.RELU)


def gives_a_layer(ctx):
    ctx.method_return._trt = ctx.network.add_activation(ctx.method_args[0]._trt, trt.ActivationType.RELU)


def raises(ctx):
    raise KeyError("no such table")


def adds_what_tensorrt_refuses(ctx):
    layer = ctx.network.add_concatenation([ctx.method_args[0]._trt, ctx.network.constant(torch.ones(1))])
    ctx.method_return._trt = layer.get_output(0)


CONVERTERS = {
    forgets: "set no _trt",
    gives_a_layer: r"layer\.get_output\(0\)",
    raises: "raised at .*test_messages.py:[0-9]+ KeyError: 'no such table'",
    adds_what_tensorrt_refuses: "TensorRT says",
}


@pytest.mark.parametrize("converter", CONVERTERS, ids=lambda converter: converter.__name__)
def test_a_faulty_converter_is_named_itself(clean, converter):
    trtconv.tensorrt_converter("torch.relu")(converter)
    with pytest.raises(trtconv.BuildError, match=f"(?s){CONVERTERS[converter]}") as error:
        trtconv.convert(lambda_module(lambda x: torch.relu(x).exp()), [torch.randn(2, 3)])
    text = str(error.value)
    assert "test_messages.py" in text
    assert "relu" in text
    assert "exp" not in text


def test_a_layer_that_tensorrt_refuses_is_told_by_line_and_converter(clean):
    @trtconv.tensorrt_converter("torch.relu")
    def adds_none(ctx):
        ctx.method_return._trt = ctx.network.add_convolution_nd(ctx.method_args[0]._trt, 1, (3,), trt.Weights())

    lines = str(message(nn.ReLU())).splitlines()
    assert re.fullmatch(
        r"The layer is added at \S+:\d+, by the converter of torch\.relu, .*adds_none \(.*\)", lines[-1]
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(3, 4).half(),
        lambda: nn.ConvTranspose1d(2, 4, 1).half(),
        lambda: Function(lambda x: x @ torch.ones(3, 4).half()),
        lambda: Function(lambda x: torch.addmm(torch.ones(4), x, torch.ones(3, 4).half())),
    ],
    ids=["linear", "convolution", "matmul", "addmm"],
)
def test_operands_of_several_dtypes_are_told(make):
    """Of stand-ins, PyTorch takes them."""
    assert re.search(r"test_messages\.py:\d+.*: PyTorch takes tensors of one dtype here, not", str(message(make())))


ARGUMENTS = {
    "too-many": ([torch.ones(3)] * 4, {}, "too many positional arguments; {takes}, and there came 4 by position"),
    "missing": ([torch.ones(3)], {"scale": 1.0}, "missing a .*'mask'; {takes}, and there came 1 by position, scale"),
    "unknown": ([torch.ones(3)], {"masks": 1.0}, "missing a .*'mask'; {takes}, and there came 1 by position, masks"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_that_the_forward_does_not_take(name):
    class Masks(nn.Module):
        def forward(self, x, mask, scale=2.0):
            return x * mask * scale

    args, kwargs, words = ARGUMENTS[name]
    with pytest.raises(TypeError, match=words.format(takes=r"the forward takes \(x, mask, scale=\.\.\.\)")) as error:
        trtconv.convert(Masks(), args, kwargs)
    assert {pathlib.Path(each).name for each in frames(error.value)} == {"test_messages.py", "shortened.py"}


def test_a_random_number_that_python_reads_is_told_as_such():
    error = message(lambda_module(lambda x: x * torch.rand(1).item()))
    assert "random tensor (item of float32[1])" in str(error) and "depends" not in str(error)
    error = message(lambda_module(lambda x: x * (x + torch.rand(3)).sum().item()))
    assert "depends on an input" in str(error)


@pytest.mark.parametrize("new", [lambda h, x: h + x.sum(0), lambda h, x: h + 1], ids=["of-inputs", "of-constants"])
def test_a_buffer_that_is_replaced_is_told_by_its_line(new):
    class Replaces(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("h", torch.zeros(3))

        def forward(self, x):
            self.h = new(self.h, x)
            return x + self.h

    assert re.match(r"\S*test_messages\.py:\d+: the forward pass writes to h:", str(message(Replaces())))


def test_a_refused_write_names_the_buffer_and_its_line():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(3))

        def forward(self, x):
            first = self.count[0]
            first += 1  # here
            return x + self.count

    lines = pathlib.Path(__file__).read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if text.endswith("# here"))
    error = message(Counts().eval())
    assert f"test_messages.py:{line}" in str(error)
    assert "writes to count" in str(error)


def test_the_users_line_is_named_beside_that_of_an_installed_library():
    def suppressed(x):
        return torchvision.ops.nms(x, x[:, 0], 0.5)

    error = message(lambda_module(suppressed), torch.rand(5, 4))
    assert "test_messages.py" in str(error)
    assert "topk" in str(error)


CELL = "<ipython-input-3-0123456789ab>"


def test_cells_of_notebooks_are_the_users():
    source = "class Cell(nn.Module):\n    def forward(self, x):\n        return x if x.sum() > 0 else -x\n"
    linecache.cache[CELL] = (len(source), None, source.splitlines(True), CELL)
    names = {"nn": nn, "__name__": "__main__"}
    exec(compile(source, CELL, "exec"), names)
    error = message(names["Cell"]().eval())
    assert f"{CELL}:3" in str(error)


def frames(error):
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


def test_our_frames_are_hidden_where_the_error_is_the_users():
    error = message(lambda_module(lambda x: x if x.sum() > 0 else -x))
    assert {pathlib.Path(name).name for name in frames(error)} == {"test_messages.py", "shortened.py"}
    assert frames(error)[-1] == __file__
    assert len(str(error).splitlines()) < 10


def test_an_error_of_the_users_own_keeps_its_lines():
    def wrong(x):
        return x @ torch.ones(4, 4)

    error = message(lambda_module(wrong))
    shown = "".join(traceback.format_exception(error))
    assert "x @ torch.ones(4, 4)" in shown
    assert len(shown.splitlines()) < 40


def test_all_frames_are_there_on_request(monkeypatch):
    monkeypatch.setenv("TRTCONV_TRACEBACK", "full")
    error = message(lambda_module(lambda x: x if x.sum() > 0 else -x))
    assert any("session.py" in name for name in frames(error))


def test_a_refused_network_says_nothing_of_a_missing_driver():
    error = message(nn.Linear(3, 3), torch.randn(2, 3), compute_capabilities=["7.5"])
    assert isinstance(error, trtconv.BuildError)
    assert "cudaError" not in str(error)
    assert "Turing" in str(error)


EQUAL_RANGES = """
import logging, torch, trtconv
class Add(torch.nn.Module):
    def forward(self, x, y):
        return x + y
ranges = {"x": {0: (1, 2, 5)}, "y": {0: (1, 2, 6)}}
try:
    trtconv.convert(Add(), [torch.ones(2), torch.ones(2)], dynamic_shapes=ranges)
except RuntimeError:
    pass
try:
    trtconv.convert(torch.nn.Linear(4, 4), [torch.ones(2, 3)])
except Exception:
    pass
both = {"x": {0: trtconv.Dim(1, 5, name="n")}, "y": {0: trtconv.Dim(1, 5, name="n")}}
trtconv.convert(Add(), [torch.ones(2), torch.ones(2)], dynamic_shapes=both)
trtconv.convert(torch.nn.Linear(4, 4), [torch.ones(2, 4)])(torch.ones(2, 4))
"""


def test_a_conversion_prints_nothing():
    # TensorRT warns of this variable, which other tests set.
    environment = {name: value for name, value in os.environ.items() if name != "NVIDIA_TF32_OVERRIDE"}
    command = [sys.executable, "-c", EQUAL_RANGES]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert run.stdout == ""
    assert run.stderr == ""


def test_torchs_loggers_are_as_before():
    before = {
        name: list(logging.getLogger(name).filters) for name in logging.root.manager.loggerDict if "torch" in name
    }
    message(nn.Linear(4, 4), torch.randn(2, 3))
    trtconv.convert(nn.ReLU(), [torch.randn(2, 3)])
    assert before == {name: logging.getLogger(name).filters for name in before}
