"""TensorRT's engines against the interpreter, for each case of each layer type."""

import pytest
import torch

# tests/ is on the path: pytest puts the folder of conftest.py there.
from reference.cases import CASES
from reference.engine import Engine, build
from reference.network import builder

from trtconv.reference import Interpreter

pytestmark = pytest.mark.gpu

# What TensorRT-RTX 1.6.1 does on an H200 otherwise than its documentation says.
DIFFERENCES = {
    "attention-no-softmax": "it applies the softmax that normalization NONE leaves out",
    **{
        f"attention-lengths{name}": "its decomposed attention gives NaN where all keys are there, and ignores "
        "shorter lengths"
        for name in ("", "-mask-items", "-mask-one", "-mask-keys")
    },
    "if-true": 'it fails: "Unexpected call to stub applyGenericCopy"',
    "if-false": 'it fails: "Unexpected call to stub applyGenericCopy"',
}
# Cubic weights cancel, so that rounding counts for more.
CUBIC_UNITS = 16.0


def marks(case):
    if case.name in DIFFERENCES:
        return pytest.mark.xfail(reason=DIFFERENCES[case.name])
    return ()


def allowed_units(case):
    return CUBIC_UNITS if "cubic" in case.name.lower() else case.units


PARAMETERS = [
    pytest.param(case, dtype, id=f"{case.name}-{str(dtype)[6:]}", marks=marks(case))
    for case in CASES
    if case.engine
    for dtype in case.dtypes
]


def network(case, dtype):
    """The case's network, skipping the test where this release lacks an API that the case uses."""
    try:
        return case.network(dtype)
    except (AttributeError, TypeError) as error:
        pytest.skip(f"not in this release of TensorRT: {error}")


def main_layer(case, net):
    """The layer type that a case is about: the last one that is not glue."""
    glue = {"CONSTANT", "IDENTITY"}
    kinds = [net.get_layer(i).type.name for i in range(net.num_layers)]
    boundary = {"LOOP_OUTPUT": "LOOP", "CONDITIONAL_OUTPUT": "CONDITIONAL"}
    for kind, name in boundary.items():
        if kind in kinds:
            return name
    if "ASSERTION" in kinds:
        return "ASSERTION"
    if "ATTENTION_INPUT" in kinds:
        return "ATTENTION"
    return next((kind for kind in reversed(kinds) if kind not in glue), kinds[-1])


def distance(result, reference):
    """Largest difference of finite values, absolute and in epsilons of the largest magnitude."""
    assert result.shape == reference.shape
    assert result.dtype == reference.dtype
    if not reference.dtype.is_floating_point:
        assert torch.equal(result, reference)
        return 0.0, 0.0
    a, b = result.double(), reference.double()
    assert torch.equal(torch.isfinite(a), torch.isfinite(b))
    assert torch.equal(a[~torch.isfinite(a)].nan_to_num(0.0), b[~torch.isfinite(b)].nan_to_num(0.0))
    a, b = a[torch.isfinite(a)], b[torch.isfinite(b)]
    if not a.numel():
        return 0.0, 0.0
    error, largest = (a - b).abs().max().item(), b.abs().max().item()
    unit = torch.finfo(reference.dtype).eps * largest
    return error, error / unit if unit else float(error > 0)


@pytest.mark.parametrize(("case", "dtype"), PARAMETERS)
def test_engine_agrees_with_the_interpreter(case, dtype, record_property):
    net, names = network(case, dtype)
    feeds = dict(zip(names, case.values(dtype), strict=True))
    reference = Interpreter(net.network).run(feeds)
    kind = main_layer(case, net)
    row = {"layer": kind, "case": f"{case.name}-{str(dtype)[6:]}"}
    if case.name in DIFFERENCES:
        row["differs"] = DIFFERENCES[case.name]
        record_property("layers", row)
    plan = build(net.network)
    if plan is None:
        record_property("layers", row)
        pytest.skip("this release of TensorRT does not build it")
    types = {name: value.dtype for name, value in reference.items()}
    results = Engine(plan, builder().logger).run(feeds, types)
    for name, value in reference.items():
        error, units = distance(results[name], value)
        if "differs" not in row:
            record_property("layers", row | {"error": error, "units": units})
        assert error <= case.slack or units <= allowed_units(case), f"{name}: {error:.3e}, {units:.1f} units"


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_interpreter_on_cuda_agrees_with_cpu(case):
    """The same network on CUDA tensors; random fills aside, the answers differ by rounding only."""
    for dtype in case.dtypes:
        net, names = network(case, dtype)
        if not names:
            continue  # without a feed nothing says to use the GPU
        feeds = dict(zip(names, case.values(dtype), strict=True))
        interpreter = Interpreter(net.network)
        on_cpu = interpreter.run(feeds)
        on_cuda = interpreter.run({name: value.cuda() for name, value in feeds.items()})
        for name, value in on_cpu.items():
            assert on_cuda[name].is_cuda
            error, units = distance(on_cuda[name].cpu(), value)
            assert error <= case.slack or units <= allowed_units(case), (
                f"{dtype} {name}: {error:.3e}, {units:.1f} units"
            )
