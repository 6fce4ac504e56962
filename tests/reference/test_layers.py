"""Each case's network through the interpreter, compared with an independent rule."""

import pytest
import torch

from trtconv.reference import Interpreter

from .case import check, wide
from .cases import CASES

PARAMETERS = [pytest.param(case, dtype, id=f"{case.name}-{str(dtype)[6:]}") for case in CASES for dtype in case.dtypes]


def run(case, dtype, dynamic):
    net, names = case.network(dtype, dynamic)
    values = case.values(dtype)
    outputs = Interpreter(net.network).run(dict(zip(names, values, strict=True)))
    return values, list(outputs.values())


@pytest.mark.parametrize(("case", "dtype"), PARAMETERS)
def test_layer(case, dtype):
    values, results = run(case, dtype, dynamic=False)
    check(case, dtype, values, results)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES if case.dynamic and case.inputs])
def test_dynamic(case):
    """The same with a first dimension that the network leaves open."""
    dtype = case.dtypes[0]
    values, results = run(case, dtype, dynamic=True)
    check(case, dtype, values, results)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_the_comparison_can_fail(case):
    """A case that passes with other values, another dtype or another shape proves nothing."""
    dtype = case.dtypes[0]
    values, results = run(case, dtype, dynamic=False)
    for i, result in enumerate(results):
        for wrong in (spoiled(result), result.unsqueeze(0), result.to(torch.complex64)):
            if wrong is not None:
                with pytest.raises(AssertionError):
                    check(case, dtype, values, [*results[:i], wrong, *results[i + 1 :]])


def spoiled(result):
    """One element off by a twentieth of the largest; None for an empty tensor."""
    if not result.numel():
        return None
    flat = result.flatten().clone()
    if result.dtype == torch.bool:
        flat[0] = ~flat[0]
    elif result.is_floating_point():
        wide = flat.float()
        finite = wide[wide.isfinite()].abs()
        place = int(wide.isfinite().nonzero()[0]) if finite.numel() else 0
        wide[place] = wide[place] + 0.05 * float(finite.max()) + 0.01 if finite.numel() else 1.0
        flat = wide.to(result.dtype)
    else:
        flat[0] += 1
    return flat.reshape(result.shape)


def test_names_are_unique():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_runs_can_be_repeated_and_observed(case):
    """A run changes neither its feeds nor folded constants, and an observed one sees each needed tensor."""
    dtype = case.dtypes[0]
    net, names = case.network(dtype)
    values = case.values(dtype)
    feeds = dict(zip(names, values, strict=True))
    before = [value.clone() for value in values]
    interpreter = Interpreter(net.network)
    seen = {}
    runs = [interpreter.run(feeds), interpreter.run(feeds, observe=seen.__setitem__), interpreter.run(feeds)]
    for value, copy in zip(values, before, strict=True):
        assert torch.equal(value.nan_to_num(), copy.nan_to_num())
    assert set(feeds) <= set(seen)
    for name, value in runs[0].items():
        for other in (runs[1][name], runs[2][name], seen[name]):
            assert torch.equal(wide(other), wide(value)) or wide(value).isnan().any()
