"""Cases for converters: a torch function and its inputs on one line, with torch as the oracle."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

import trtconv
from trtconv.inspect import Comparison, compare, join

MOST_DRAWS = 24
"""The number of inputs after which a result that is less precise than PyTorch's is wrong."""

DEVICE = torch.device("cpu")
"""Where converted modules run: with ``--device cuda`` on engines, without TensorFloat-32."""

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class Varying(int):
    """A size that may vary; static cases have it at its value."""


B = Varying(2)
"""A batch size."""


@dataclasses.dataclass(frozen=True)
class Ints:
    """An input of integers from low to high - 1."""

    shape: tuple[int, ...]
    low: int = -5
    high: int = 6
    dtype: torch.dtype = torch.int64


@dataclasses.dataclass(frozen=True)
class Uniform:
    """An input of numbers from low to high, for functions that aren't defined everywhere."""

    shape: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0


@dataclasses.dataclass(frozen=True)
class Bools:
    """An input of truth values."""

    shape: tuple[int, ...]


class Function(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def draw(spec: Any, dtype: torch.dtype) -> Any:
    """New values for an input: a shape stands for normally distributed numbers of the case's dtype."""
    return _draw(spec, dtype).to(DEVICE)


def _draw(spec: Any, dtype: torch.dtype) -> Any:
    if isinstance(spec, Ints):
        return torch.randint(spec.low, spec.high, spec.shape, dtype=spec.dtype)
    if isinstance(spec, Uniform):
        return (torch.rand(spec.shape) * (spec.high - spec.low) + spec.low).to(dtype)
    if isinstance(spec, Bools):
        return torch.rand(spec.shape) < 0.5
    return torch.randn(spec).to(dtype)


def case(function: Any, *inputs: Any, id: str | None = None, dtypes: tuple[torch.dtype, ...] = FLOATS) -> list[Any]:
    """Parameters for `check`: one for each dtype. `function` may be a module; then its weights are cast."""
    name = id or getattr(function, "__name__", None) or repr(function)
    return [pytest.param(function, inputs, dtype, id=f"{name}-{str(dtype)[6:]}") for dtype in dtypes]


def cases(*rows: list[Any]) -> pytest.MarkDecorator:
    """Parametrize a test over rows of `case`."""
    return pytest.mark.parametrize("function, inputs, dtype", [param for row in rows for param in row])


def check(function: Any, inputs: tuple[Any, ...], dtype: torch.dtype, **options: Any) -> trtconv.TRTModule:
    """Convert on some inputs; on others compare shape, dtype and values with torch."""
    module = function if isinstance(function, torch.nn.Module) else Function(function)
    module = module.to(DEVICE, dtype).eval()
    _skip_without_kernel(module, tuple(draw(spec, dtype) for spec in inputs))
    converted = convert(module, tuple(draw(spec, dtype) for spec in inputs), **options)
    compare_draws(module, converted, lambda number: tuple(draw(spec, dtype) for spec in inputs), 2)
    if dtype is torch.float32 and not options:
        _check_dynamic(module, inputs)
    return converted


def _skip_without_kernel(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
    """Skip what PyTorch itself doesn't run on this device: products of integers on CUDA, for one."""
    if DEVICE.type != "cpu":
        try:
            module(*args)
        except (NotImplementedError, RuntimeError) as error:
            if "not implemented for" in str(error) or "Expected inputs of BF16 type" in str(error):
                pytest.skip(f"PyTorch doesn't run it on {DEVICE.type}: {error}")
            raise


def convert(module: torch.nn.Module, args: tuple[Any, ...], **options: Any) -> trtconv.TRTModule:
    """Convert for where the cases run."""
    if DEVICE.type == "cpu":
        return trtconv.convert(module, args, **options)
    converted = trtconv.convert(module, args, **{"tf32": False, **options})
    assert converted.backend(DEVICE) == "tensorrt"
    return converted


def compare_draws(
    module: torch.nn.Module, converted: trtconv.TRTModule, inputs: Callable[[int], tuple[Any, ...]], least: int
) -> None:
    """Compare on several inputs at once, by the largest errors of each side.

    On few numbers PyTorch's own error may be small by chance, a chance that differs from processor to
    processor. So an error that is too large is looked at on more inputs: what is less precise than
    PyTorch stays so. What isn't a matter of precision (shapes, dtypes, integers, NaNs) must be right at once.
    """
    results: list[Comparison] = []
    for number in range(MOST_DRAWS):
        results.append(compare(module, converted, inputs(number)))
        shown = "\n".join(map(str, results))
        assert results[0].outputs, "the function returns no tensor"
        assert not any(output.problem for output in results[-1].outputs), shown
        if len(results) >= least and join(results).correct:
            return
    pytest.fail(f"{shown}\nall together:\n{join(results)}")


def _check_dynamic(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
    """Convert for a range of each size that is marked as varying; compare at its ends, inside and at the middle."""
    limits = trtconv.Dim(min=1, opt=2, max=7)
    dynamic = {
        index: {axis: limits for axis, size in enumerate(_shape(spec)) if isinstance(size, Varying)}
        for index, spec in enumerate(inputs)
    }
    if not any(dynamic.values()):
        return
    example = tuple(draw(spec, torch.float32) for spec in inputs)
    shapes: dict[str, Any] = {}
    parameters = list(inspect.signature(module.forward).parameters.values())
    starred = next((i for i, p in enumerate(parameters) if p.kind is inspect.Parameter.VAR_POSITIONAL), len(inputs))
    for index, spec in dynamic.items():
        if index < starred:
            shapes[parameters[index].name] = spec
        else:
            shapes.setdefault(parameters[starred].name, {})[index - starred] = spec
    converted = convert(module, example, dynamic_shapes=shapes)
    sizes = (1, 2, 7, 5)
    compare_draws(
        module,
        converted,
        lambda number: tuple(draw(_resized(spec, sizes[number % len(sizes)]), torch.float32) for spec in inputs),
        len(sizes),
    )


def check_sizes(function: Any, *shapes: tuple[int, ...]) -> None:
    """Convert a function of one tensor for the ranges that these shapes span; compare at each of them."""
    module = (function if isinstance(function, torch.nn.Module) else Function(function)).eval()
    ends = [(min(sizes), max(sizes)) for sizes in zip(*shapes, strict=True)]
    limits = {axis: trtconv.Dim(min=low, max=high) for axis, (low, high) in enumerate(ends) if low != high}
    parameter = next(iter(inspect.signature(module.forward).parameters.values()))
    dynamic: Any = {0: limits} if parameter.kind is inspect.Parameter.VAR_POSITIONAL else limits
    module = module.to(DEVICE)
    converted = convert(module, (draw(shapes[0], torch.float32),), dynamic_shapes={parameter.name: dynamic})
    compare_draws(module, converted, lambda number: (draw(shapes[number % len(shapes)], torch.float32),), len(shapes))


def _shape(spec: Any) -> tuple[int, ...]:
    return spec if isinstance(spec, tuple) else spec.shape


def _resized(spec: Any, size: int) -> Any:
    shape = tuple(size if isinstance(n, Varying) else n for n in _shape(spec))
    return shape if isinstance(spec, tuple) else dataclasses.replace(spec, shape=shape)
