"""A case: a network of one or a few layers, its inputs, and what must come out by an independent rule."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch

from trtconv.inspect import compare_tensors

from .network import Net

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
INTS = (torch.int32, torch.int64)
ALL = (*FLOATS, *INTS)


@dataclass(frozen=True)
class Sample:
    """Random values of the case's dtype: floats uniform in [low, high], integers in the same range."""

    shape: tuple[int, ...]
    low: float
    high: float

    def draw(self, dtype, generator):
        if dtype == torch.bool:
            return torch.randint(0, 2, self.shape, generator=generator).bool()
        if not dtype.is_floating_point:
            low, high = int(self.low), int(self.high)
            return torch.randint(low, high + 1, self.shape, generator=generator).to(dtype)
        unit = torch.rand(self.shape, generator=generator, dtype=torch.float64)
        return (self.low + (self.high - self.low) * unit).to(dtype)


def uniform(*shape, low=-3.0, high=3.0):
    return Sample(shape, low, high)


@dataclass(frozen=True)
class Case:
    """``build(net, *tensors)`` adds the layers, ``expected(*values)`` says what they compute.

    Inputs are samples, drawn in each of ``dtypes``, or tensors; both functions give one result or
    several. ``expected`` is given float64 in place of the floats, and the values themselves to see how
    far torch is off in their type; ``steps`` is what the layer's own roundings add to that, in units in
    the last place.

    ``dynamic`` says whether the first dimension may be open, ``engine`` whether TensorRT-RTX builds it. An
    engine may differ from the interpreter by ``units`` epsilons of the largest value, or by ``slack``.
    """

    name: str
    build: Callable
    expected: Callable
    inputs: tuple = ()
    dtypes: tuple = (torch.float32,)
    dynamic: bool = True
    engine: bool = True
    steps: float = 1.0
    units: float = 8.0
    slack: float = 0.0

    def values(self, dtype, seed=0):
        generator = torch.Generator().manual_seed(zlib.crc32(self.name.encode()) + seed)
        return [item.draw(dtype, generator) if isinstance(item, Sample) else item for item in self.inputs]

    def network(self, dtype, dynamic=False):
        """The network and its inputs' names."""
        net = Net(dtype)
        names = [f"x{i}" for i in range(len(self.inputs))]
        tensors = [net.input(name, value, dynamic) for name, value in zip(names, self.values(dtype), strict=True)]
        for i, output in enumerate(several(self.build(net, *tensors))):
            tensor = output if hasattr(output, "is_network_input") else output.get_output(0)
            net.mark(tensor, f"y{i}")
        return net, names


def several(results):
    return results if isinstance(results, (tuple, list)) else (results,)


def wide(value):
    return value.double() if value.is_floating_point() else value


def check(case, dtype, values, results):
    """Shape and dtype first, then values: the rule of DESIGN.md, "Correct means"."""
    exact = several(case.expected(*map(wide, values)))
    try:
        own = several(case.expected(*values))
    except (RuntimeError, NotImplementedError):  # torch has no such kernel in this dtype
        own = [None] * len(exact)
    assert len(results) == len(exact)
    for result, want, eager in zip(results, exact, own, strict=True):
        assert tuple(result.shape) == tuple(want.shape)
        expected_dtype = dtype if want.dtype == torch.float64 else want.dtype
        assert result.dtype == expected_dtype
        if not result.dtype.is_floating_point or result.dtype.itemsize == 1:
            assert torch.equal(wide(result), wide(want))
            continue
        compare(result, want, eager, case.steps)


def compare(result, want, eager, steps=1.0):
    """The error is at most twice torch's own plus `steps` units in the last place of the largest value."""
    own = eager if eager is not None and eager.dtype == result.dtype else want.to(result.dtype)
    found = compare_tensors(want.double(), own, result)
    assert not found.problem, str(found)
    for measure in found.measures.values():
        assert measure.error <= 2 * measure.torch_error + steps * measure.unit, str(found)
