"""Where ONNX's answer isn't the interpreter's, an engine of the same network agrees with the interpreter."""

import functools
import warnings

import numpy
import pytest
import torch

pytest.importorskip("onnx")

# tests/ is on the path: pytest puts the folder of conftest.py there.
from reference.engine import Engine, build
from reference.network import builder
from reference.onnx_nodes import DIFFERENT, DIFFERENT_IN, PARSER_LOSES, cases, feed, parse

from trtconv import tensorrt as trt
from trtconv.reference import Interpreter

pytestmark = pytest.mark.gpu
NAMES = [name for name, reason in (PARSER_LOSES | DIFFERENT).items() if reason != "random"]
PARAMETERS = [(name, "static") for name in NAMES]
PARAMETERS += [(name, form) for form, names in DIFFERENT_IN.items() for name in names]


@functools.cache
def found():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of ONNX's own formulas
        return {(name, form): rest for name, form, *rest in cases({name for name, _ in PARAMETERS})}


def engine_of(network, feeds):
    """The engine, or a skipped test where this release doesn't build the network."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type.name == "ATTENTION_INPUT":
            layer.__class__ = trt.IAttentionBoundaryLayer  # what a definition gives is of the base class
            layer.attention.decomposable = True  # the parser asks for a fused kernel, which float32 doesn't have
    plan = build(network, feeds)
    if plan is None:
        pytest.skip("this release of TensorRT does not build it")
    return Engine(plan, builder().logger)


@pytest.mark.parametrize(("name", "form"), PARAMETERS)
def test_engine_agrees_with_the_interpreter_not_with_onnx(name, form):
    model, inputs, answers = found()[name, form]
    network, _parser = parse(model)
    interpreter = Interpreter(network)
    feeds = feed(interpreter.graph, inputs)
    types = {output: interpreter.graph.tensors[output].dtype.carrier for output in interpreter.graph.outputs}
    engine = engine_of(network, feeds)
    expected = interpreter.run(feeds)
    results = engine.run(feeds, types)
    for (output, result), answer in zip(results.items(), answers, strict=True):
        values = f"engine {result}\ninterpreter {expected[output]}\nONNX {numpy.asarray(answer)}"
        assert result.shape == expected[output].shape, values
        close = torch.allclose(result.double(), expected[output].double(), 1e-2, 1e-2, equal_nan=True)
        assert close, values
