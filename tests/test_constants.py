"""Constants have exactly the values that torch computes, in-place operators and views among them included."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils import _pytree as pytree

import trtconv
from trtconv.capture import capture
from trtconv.emit import registry

SAMPLES = 4
"""Samples of each operator of torch's own database."""
OPERATORS = [op for op in op_db if torch.float32 in op.supported_dtypes("cpu") and "empty" not in op.name]
FROM_OTHERS = "writes to"
"""What is refused: a write to what the module keeps."""


class OfConstants(torch.nn.Module):
    """A function of constants alone, beside an input that passes through."""

    def __init__(self, function, arguments):
        super().__init__()
        self.function = function
        self.arguments = arguments

    def forward(self, x):
        args, kwargs = self.arguments
        return self.function(*args, **kwargs), x


def tensors_of(result):
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]


def computed(function, arguments):
    args, kwargs = copy.deepcopy(arguments)
    return tensors_of(function(*args, **kwargs))


def traced(function, arguments):
    module = OfConstants(function, copy.deepcopy(arguments)).eval()
    return capture(module, (torch.ones(2),), {}, takes=registry.takes).trace


def check(function, arguments):
    try:
        trace = traced(function, arguments)
    except trtconv.ConversionError as error:
        assert FROM_OTHERS in str(error)
        return
    if trace.calls:  # random numbers are new at each call, and all else is computed of them
        assert torch.Tag.nondeterministic_seeded in trace.calls[0].target.tags
        return
    values, expected = trace.outputs[:-1], computed(function, arguments)
    assert len(values) == len(expected)
    for value, wanted in zip(values, expected, strict=True):
        torch.testing.assert_close(value.detach(), wanted.detach(), equal_nan=True)  # dtype and shape as well


def samples(operator):
    for sample in itertools.islice(operator.sample_inputs("cpu", torch.float32), SAMPLES):
        yield ((sample.input, *sample.args), sample.kwargs)


def is_constant_in_torch(function, arguments):
    """Whether torch itself takes a sample, and computes the same twice."""
    try:
        first, second = computed(function, arguments), computed(function, arguments)
        for pair in zip(first, second, strict=True):
            torch.testing.assert_close(*pair, equal_nan=True, rtol=0, atol=0)
    except Exception:  # whatever torch says of what it doesn't take
        return False
    return all(tensor.layout is torch.strided for tensor in first)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.full_name)
def test_operators_on_constants(operator):
    for arguments in samples(operator):
        if is_constant_in_torch(operator.op, arguments):
            check(operator.op, arguments)


INPLACE = [op for op in OPERATORS if op.inplace_variant and op.name != "addbmm"]  # which resizes what it writes to


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operator", INPLACE, ids=lambda operator: operator.full_name)
def test_inplace_operators_on_constants(operator):
    def written(x, *args, **kwargs):
        whole = x.clone()
        part = whole.unsqueeze(0)[0]
        operator.inplace_variant(part, *args, **kwargs)
        return whole

    for arguments in samples(operator):
        if isinstance(arguments[0][0], torch.Tensor) and is_constant_in_torch(written, arguments):
            check(written, arguments)


def through_views(x):
    y = x.clone()
    y.view(-1)[::2].mul_(2)
    y[0] += 1
    y.t()[1].fill_(7)
    return y, y.sum(0)


def read_before_and_after(x):
    y = x.clone()
    view = y[1]
    before = view + 0
    y.zero_()
    return before, view, y


def with_out(x):
    y = torch.empty_like(x)
    torch.add(x, 1, out=y)
    torch.mul(y, 2, out=y)
    return y


def by_index(x):
    y = x.clone()
    y[x > 0] = -1
    y.index_add_(0, torch.tensor([0, 0]), torch.ones(2, x.shape[1]))
    y.scatter_(1, torch.zeros(x.shape[0], 1, dtype=torch.int64), 5.0)
    return y


def mask_by_steps(x):
    mask = torch.ones(x.shape[0], x.shape[0], dtype=torch.bool)
    for row in range(x.shape[0]):
        mask[row, :row] &= False
    return mask, x[mask.any(1)]


WRITING = {
    "combinations": lambda x: torch.combinations(x[0], 2, True),
    "pad": lambda x: F.pad(x[None], (1, 1), mode="circular"),
    "diff": lambda x: torch.diff(x, prepend=x[:, :1]),
    "nanmean": torch.nanmean,
    "hinge": lambda x: F.hinge_embedding_loss(x, x.sign()),
    "poisson": lambda x: F.poisson_nll_loss(x, x.abs(), full=True),
    "stft": lambda x: torch.view_as_real(torch.stft(x.flatten(), 4, return_complex=True, window=torch.ones(4))),
    "quantile": lambda x: torch.quantile(x, 0.5),
    "vector-matrix": lambda x: x[0] @ x.T,
    "views": through_views,
    "order": read_before_and_after,
    "out": with_out,
    "index": by_index,
    "mask": mask_by_steps,
}


@pytest.mark.parametrize("name", WRITING)
def test_writes_among_constants(name):
    x = torch.randn(4, 5)
    arguments = ((x,), {})
    values, expected = traced(WRITING[name], arguments).outputs[:-1], computed(WRITING[name], arguments)
    for value, wanted in zip(values, expected, strict=True):
        torch.testing.assert_close(value, wanted, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("name", WRITING)
def test_constants_beside_an_input_are_converted(name):
    constant = torch.randn(4, 5)

    class Module(torch.nn.Module):
        def forward(self, x):
            results = WRITING[name](constant)
            first = results[0] if isinstance(results, tuple) else results
            return x.sum() + first.to(x.dtype)

    x = torch.randn(3)
    torch.testing.assert_close(trtconv.convert(Module().eval(), [torch.ones(3)])(x), Module()(x))
