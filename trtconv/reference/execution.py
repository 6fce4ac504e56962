"""Scheduled steps bound to kernels on a device, and how loops and conditionals run them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trtconv.graph.data import Graph, Layer, TensorType
from trtconv.reference.errors import LayerError
from trtconv.reference.layers.registry import Kernel, prepare
from trtconv.reference.schedule import Block, ConditionalStep, LayerStep, LoopStep, Step, produced

Values = dict[str, Tensor]
Observer = Callable[[str, Tensor], object]
Watch = Callable[[Layer, Sequence["Tensor | None"], Sequence[Tensor]], object]
"""Is called with each layer that a kernel computes, and the values of its inputs and outputs."""
Around = Callable[[Layer], AbstractContextManager[object]]
"""Gives a context in which the kernel of a layer runs."""


class Execution(Protocol):
    """A step that can run: it reads and writes tensors by name."""

    def __call__(self, values: Values, observe: Observer | None) -> None: ...


@dataclass(frozen=True)
class Binding:
    """What steps are bound to."""

    graph: Graph
    device: torch.device
    max_loop_iterations: int
    watch: Watch | None = None
    around: Around | None = None

    def block(self, block: Block) -> list[Execution]:
        """Bind the steps of a block."""
        return [self._step(step) for step in block]

    def _step(self, step: Step) -> Execution:
        if isinstance(step, LayerStep):
            return LayerExecution(step, self)
        if isinstance(step, LoopStep):
            return LoopExecution(step, self)
        return ConditionalExecution(step, self)


def run_block(block: Sequence[Execution], values: Values, observe: Observer | None) -> None:
    """Run the steps of a block in order."""
    for execution in block:
        execution(values, observe)


class LayerExecution:
    """A layer's kernel with the names of its tensors and the types that its outputs must have."""

    def __init__(self, step: LayerStep, binding: Binding) -> None:
        layer = self.layer = step.layer
        self.kernel: Kernel = prepare(layer, binding.graph, binding.device)
        if binding.watch is not None:
            self.kernel = _watched(self.kernel, layer, binding.watch)
        if binding.around is not None:
            self.kernel = _surrounded(self.kernel, layer, binding.around)
        self.inputs = layer.inputs
        types = [(name, binding.graph.tensors[name]) for name in layer.outputs]
        self.outputs = [(name, kind, kind.dtype.carrier, kind.shape) for name, kind in types]
        self.release = step.release

    def __call__(self, values: Values, observe: Observer | None) -> None:
        arguments = [None if name is None else values[name] for name in self.inputs]
        try:
            results = self.kernel(*arguments)
            if isinstance(results, Tensor):
                results = (results,)
            for (name, expected, dtype, shape), result in zip(self.outputs, results, strict=True):
                if result.dtype is not dtype or result.shape != shape:
                    check_result(name, result, expected)
                values[name] = result
        except NotImplementedError as error:
            raise NotImplementedError(describe_failure(self.layer, arguments, error)) from error
        except Exception as error:
            raise LayerError(describe_failure(self.layer, arguments, error)) from error
        if observe is not None:
            for name in self.layer.outputs:
                observe(name, values[name])
        for name in self.release:
            del values[name]


def _watched(kernel: Kernel, layer: Layer, watch: Watch) -> Kernel:
    def run(*arguments: Tensor | None) -> tuple[Tensor, ...]:
        results = kernel(*arguments)
        results = (results,) if isinstance(results, Tensor) else tuple(results)
        watch(layer, arguments, results)
        return results

    return run


def _surrounded(kernel: Kernel, layer: Layer, around: Around) -> Kernel:
    def run(*arguments: Tensor | None) -> Tensor | tuple[Tensor, ...]:
        with around(layer):
            return kernel(*arguments)

    return run


def check_result(name: str, result: Tensor, expected: TensorType) -> None:
    """Compare a result with what TensorRT inferred for it.

    Raises:
        ValueError: they differ, so either the network's feeds or the interpreter is wrong.
    """
    if result.dtype != expected.dtype.carrier or not expected.admits(tuple(result.shape)):
        raise ValueError(f"output {name!r} came out as {result.dtype} {list(result.shape)}, TensorRT infers {expected}")


def describe_failure(layer: Layer, arguments: Sequence[Tensor | None], error: Exception) -> str:
    """The layer, what it was given and what went wrong."""
    given = ", ".join(
        "none" if argument is None else f"{str(argument.dtype).removeprefix('torch.')} {list(argument.shape)}"
        for argument in arguments
    )
    return f"{layer}, given ({given}): {error}"


class LoopExecution:
    """A loop, as ILoop describes it.

    It ends after the smallest COUNT trip limit, or when a WHILE limit is false; both are tested before
    each iteration, the first too.
    """

    def __init__(self, step: LoopStep, binding: Binding) -> None:
        self.step = step
        self.condition = binding.block(step.condition)
        self.body = binding.block(step.body)
        self.limit = binding.max_loop_iterations
        self.types = binding.graph.tensors
        self.device = binding.device
        inner = (*step.condition, *step.body)
        self.inner = [name for other in inner for name in produced(other)]
        self.inner += [layer.outputs[0] for layer in (*step.recurrences, *step.iterators)]

    def __call__(self, values: Values, observe: Observer | None) -> None:
        step = self.step
        trips = min((int(values[name]) for name in step.counts), default=None)
        state = [values[name] for layer in step.recurrences if (name := layer.inputs[0]) is not None]
        collected: list[list[Tensor]] = [[] for _ in step.outputs]
        iteration = 0
        while trips is None or iteration < trips:
            if trips is None and iteration >= self.limit:
                raise LayerError(
                    f"loop {step.name!r} has no COUNT trip limit and its WHILE condition still holds after "
                    f"{self.limit} iterations"
                )
            self._begin(values, observe, state, iteration, trips)
            run_block(self.condition, values, observe)
            if not all(bool(values[name]) for name in step.whiles):
                break
            run_block(self.body, values, observe)
            for layer, items in zip(step.outputs, collected, strict=True):
                if layer.attributes["kind"] == "LAST_VALUE":
                    items.clear()
                items.append(values[str(layer.inputs[0])])
            state = [values[str(layer.inputs[1])] for layer in step.recurrences]
            iteration += 1
        self._finish(values, observe, state, collected)

    def _begin(
        self, values: Values, observe: Observer | None, state: list[Tensor], iteration: int, trips: int | None
    ) -> None:
        """Set the recurrences to their state and the iterators to this iteration's slice."""
        for layer, value in zip(self.step.recurrences, state, strict=True):
            name = layer.outputs[0]
            check = self.types[name]
            if not check.admits(tuple(value.shape)) or value.dtype != check.dtype.carrier:
                raise LayerError(
                    f"{layer}: iteration {iteration} gives {value.dtype} {list(value.shape)}, TensorRT infers {check}"
                )
            self._set(values, observe, name, value)
        for layer in self.step.iterators:
            source = values[str(layer.inputs[0])]
            axis, index = layer.attributes["axis"], iteration
            if layer.attributes["reverse"]:
                if trips is None:
                    raise LayerError(f"{layer}: a reverse iterator needs a COUNT trip limit")
                index = trips - 1 - iteration
            if index >= source.shape[axis]:
                raise LayerError(f"{layer}: iteration {index} is outside axis {axis} of shape {list(source.shape)}")
            self._set(values, observe, layer.outputs[0], source.select(axis, index))

    def _finish(
        self, values: Values, observe: Observer | None, state: list[Tensor], collected: list[list[Tensor]]
    ) -> None:
        step = self.step
        final = {layer.outputs[0]: value for layer, value in zip(step.recurrences, state, strict=True)}
        results = []
        for layer, items in zip(step.outputs, collected, strict=True):
            try:
                results.append(self._output(layer, items, final, values))
            except ValueError as error:
                raise LayerError(f"{layer}: {error}") from error
        for name in self.inner:
            values.pop(name, None)
        for layer, result in zip(step.outputs, results, strict=True):
            self._set(values, observe, layer.outputs[0], result)
        for name in step.release:
            del values[name]

    def _output(self, layer: Layer, items: list[Tensor], final: Values, values: Values) -> Tensor:
        source = str(layer.inputs[0])
        if layer.attributes["kind"] == "LAST_VALUE":
            if source in final:
                result = final[source]
            elif items:
                result = items[0]
            else:
                raise ValueError("the loop ran no iteration, so there is no last value")
        else:
            if len(layer.inputs) < 2 or layer.inputs[1] is None:
                raise ValueError("a concatenating output has no second input, its length")
            length = int(values[layer.inputs[1]])
            result = self._stack(layer, items, length)
        check_result(layer.outputs[0], result, self.types[layer.outputs[0]])
        return result

    def _stack(self, layer: Layer, items: list[Tensor], length: int) -> Tensor:
        """Stack the iterations' values in ``length`` places; places of iterations not run hold zeros."""
        if len(items) > length:
            raise ValueError(f"{len(items)} iterations ran, its length is {length}")
        axis, expected = layer.attributes["axis"], self.types[layer.outputs[0]]
        if not items:
            shape = [length if i == axis else size for i, size in enumerate(expected.shape)]
            if min(shape, default=0) < 0:
                raise ValueError("no iteration ran, and TensorRT does not know the shape of one")
            return torch.zeros(shape, dtype=expected.dtype.carrier, device=self.device)
        items = items + [torch.zeros_like(items[0])] * (length - len(items))
        return torch.stack(items[::-1] if layer.attributes["kind"] == "REVERSE" else items, axis)

    @staticmethod
    def _set(values: Values, observe: Observer | None, name: str, value: Tensor) -> None:
        values[name] = value
        if observe is not None:
            observe(name, value)


class ConditionalExecution:
    """An if-conditional: only the branch taken runs."""

    def __init__(self, step: ConditionalStep, binding: Binding) -> None:
        self.step = step
        self.branches = {True: binding.block(step.if_true), False: binding.block(step.if_false)}
        self.inner = {
            branch: [name for other in block for name in produced(other)]
            for branch, block in ((True, step.if_true), (False, step.if_false))
        }
        self.types = binding.graph.tensors

    def __call__(self, values: Values, observe: Observer | None) -> None:
        step = self.step
        branch = bool(values[step.condition])
        run_block(self.branches[branch], values, observe)
        results = [values[str(layer.inputs[0 if branch else 1])] for layer in step.outputs]
        for name in self.inner[branch]:
            values.pop(name, None)
        for layer, result in zip(step.outputs, results, strict=True):
            name = layer.outputs[0]
            try:
                check_result(name, result, self.types[name])
            except ValueError as error:
                raise LayerError(f"{layer}: {error}") from error
            values[name] = result
            if observe is not None:
                observe(name, result)
        for name in step.release:
            del values[name]
