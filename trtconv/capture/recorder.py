"""Writing down how constants are computed, while a module is converted: for `trtconv.graph.recipes`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from trtconv.capture.functions import VALUE_READERS
from trtconv.capture.trace import is_plain, map_tensors, tensors_in
from trtconv.graph.recipes import Program, Source, Step, operator, parts_in
from trtconv.graph.recipes import is_plain as can_be_saved
from trtconv.reference.graph import Graph, Layer, Part


class Recorder:
    """Knows of tensors which of a module's parameters and buffers they are computed of, and how.

    A tensor is known by its storage: what shares memory with a parameter is a view of it, whoever made it.

    Args:
        module: The module under conversion.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._numbers: dict[StorageWeakRef, int] = {}
        self._sizes: dict[int, int] = {}
        self._sources: list[Source] = []
        self._names: list[str] = []
        self._literals: dict[int, torch.Tensor] = {}
        self._steps: list[Step] = []
        self._dependent: set[int] = set()
        """The storages whose contents depend on a parameter or buffer."""
        self._reads: dict[Part, torch.Tensor] = {}
        self._lent: list[torch.Tensor] = []
        saved = module.state_dict(keep_vars=True)
        held = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
        for name, value in held:
            self._names.append(name)
            if is_plain(value) and _is_real(value):
                part = self._part(value, self._number(value))
                self._sizes[part.storage] = value.untyped_storage().nbytes()
                self._dependent.add(part.storage)
                self._sources.append(Source(name, part, None if name in saved else value.detach()))

    # -- what happens -----------------------------------------------------------------------------

    def ran(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Take note of an operator that wrote to none of its arguments."""
        arguments = self._arguments(func, args, kwargs)
        if arguments is not None:
            self._finish(func, arguments, tensors_in((args, kwargs)), result)

    def read(self, tensor: torch.Tensor) -> None:
        """Take note that Python read the values of a tensor, to decide by."""
        part = self.part(tensor)
        if part is not None and part not in self._reads:
            with _disable_current_modes():
                self._reads[part] = tensor.detach().to("cpu", copy=True)

    def lend(self, tensor: torch.Tensor) -> None:
        """Take note that Python got the memory of a tensor, to compute with or as a layer's weights."""
        self._lent.append(tensor.detach())

    def owner(self, view: torch.Tensor) -> torch.Tensor | None:
        """The tensor over the same memory among those that were lent."""
        first, last = view.data_ptr(), view.data_ptr() + view.nbytes
        for tensor in self._lent:
            storage = tensor.untyped_storage()
            start = storage.data_ptr()
            if start <= first and last <= start + storage.nbytes() and not (first - start) % view.itemsize:
                with _disable_current_modes():
                    whole = torch.empty(0, dtype=view.dtype)
                    return whole.set_(storage, (first - start) // view.itemsize, view.shape, view.stride())
        return None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """A context in which all operators on real tensors are noted."""
        with _Operators(self), _Reads(self):
            yield

    def _arguments(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The arguments with parts for tensors; None if there is nothing to note."""
        inputs = tensors_in((args, kwargs))
        if not all(map(_is_real, inputs)):
            return None
        numbers = [self._numbers.get(_key(each)) for each in inputs]
        if inputs and all(number is None for number in numbers):
            return None
        return map_tensors(
            lambda tensor: self._part(tensor, self._number(tensor, func._schema.is_mutable)), (args, kwargs)
        )

    def _finish(
        self,
        func: OpOverload,
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        inputs: list[torch.Tensor],
        result: Any,
    ) -> None:
        outputs, (args, kwargs) = tensors_in(result), arguments
        if not all(map(_is_real, outputs)):
            return
        given = parts_in((args, kwargs))
        depends = any(part.storage in self._dependent for part in given)
        depends_on_values = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & {*func.tags}
        if not outputs or depends_on_values or func.namespace != "aten" or not can_be_saved((args, kwargs)):
            for tensor in inputs if depends else ():
                self.read(tensor)
            return
        known = {part.storage for part in given}
        written = {
            part.storage
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
            for part in parts_in(value)
        }
        made = [self._made(output, known) for output in outputs]
        if not written and all(part is None for part in made):
            return  # a view
        if depends:
            self._dependent |= written | {part.storage for part in made if part is not None}
        self._steps.append(Step(str(func).removeprefix("aten."), args, kwargs, tuple(made)))

    def _made(self, output: torch.Tensor, known: set[int]) -> Part | None:
        number = self._numbers.get(_key(output))
        return None if number in known else self._part(output, self._new_number(output))

    # -- tensors ----------------------------------------------------------------------------------

    def part(self, tensor: torch.Tensor) -> Part | None:
        """Where a tensor lies that depends on a parameter or buffer; None for others."""
        if not _is_real(tensor):
            return None
        number = self._numbers.get(_key(tensor))
        return self._part(tensor, number) if number is not None and number in self._dependent else None

    @staticmethod
    def _part(tensor: torch.Tensor, number: int) -> Part:
        shape, stride, offset = tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())
        return Part(tensor.dtype, number, shape, stride, offset, tensor.is_conj(), tensor.is_neg())

    def _number(self, tensor: torch.Tensor, will_change: bool = False) -> int:
        """The number of a tensor's storage; one that wasn't known yet is kept with its contents."""
        key = _key(tensor)
        if key not in self._numbers:
            number = self._new_number(tensor)
            with _disable_current_modes():
                content = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())
                self._literals[number] = content.clone() if will_change else content
        return self._numbers[key]

    def _new_number(self, tensor: torch.Tensor) -> int:
        number = self._numbers[_key(tensor)] = len(self._numbers)
        return number

    # -- the result -------------------------------------------------------------------------------

    def with_recipes(self, graph: Graph) -> Graph:
        """A graph with the recipes of its weights."""
        used = {value.untyped_storage().data_ptr() for value in graph.weights()}
        for tensor in self._lent:
            if tensor.untyped_storage().data_ptr() not in used:
                self.read(tensor)
        layers: list[Layer] = []
        wanted: list[Part] = []
        for layer in graph.layers:
            values = {name: value for name, value in layer.attributes.items() if isinstance(value, torch.Tensor)}
            recipes = {name: part for name, value in values.items() if (part := self.part(value)) is not None}
            wanted += recipes.values()
            layers.append(dataclasses.replace(layer, recipes=recipes) if recipes else layer)
        return dataclasses.replace(graph, layers=tuple(layers), program=self._program(wanted))

    def _program(self, wanted: list[Part]) -> Program:
        reads = {part: value for part, value in self._reads.items() if part.storage in self._dependent}
        needed = {part.storage for part in (*wanted, *reads)}
        steps = []
        for step in reversed(self._steps):
            parts = parts_in((step.args, step.kwargs, step.outputs))
            changed = parts if operator(step.operator)._schema.is_mutable else parts_in(step.outputs)
            if any(part.storage in needed for part in changed):
                needed.update(part.storage for part in parts)
                steps.append(step)
        sources = [source for source in self._sources if source.part.storage in needed]
        names = {source.name for source in sources}
        return Program(
            tuple(sources),
            tuple(name for name in self._names if name not in names),
            {number: value.cpu() for number, value in self._literals.items() if number in needed - self._sizes.keys()},
            {number: size for number, size in self._sizes.items() if number in needed},
            tuple(steps[::-1]),
            tuple(reads.items()),
        )


def _key(tensor: torch.Tensor) -> StorageWeakRef:
    """What equals another only where it is of the same storage, whatever has its address by then."""
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _is_real(tensor: torch.Tensor) -> bool:
    return not isinstance(tensor, FakeTensor) and tensor.layout is torch.strided and tensor.device.type != "meta"


_current: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


def current() -> Recorder | None:
    """The recorder of the conversion under way, if there is one."""
    return _current.get()


@contextmanager
def recording(module: torch.nn.Module) -> Iterator[Recorder]:
    """A context in which it is noted how constants follow from a module's parameters and buffers."""
    recorder = Recorder(module)
    token = _current.set(recorder)
    try:
        yield recorder
    finally:
        _current.reset(token)


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        arguments = self._recorder._arguments(func, args, kwargs)
        result = func(*args, **kwargs)
        if arguments is not None:
            self._recorder._finish(func, arguments, tensors_in((args, kwargs)), result)
        return result


class _Reads(TorchFunctionMode):
    """Notes what reads the values of tensors in C++, past their operators."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in VALUE_READERS and args and isinstance(args[0], torch.Tensor):
            (self._recorder.lend if name in ("numpy", "__array__") else self._recorder.read)(args[0])
        return func(*args, **(kwargs or {}))
