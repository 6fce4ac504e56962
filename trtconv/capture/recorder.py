"""Writing down how constants are computed, while a module is converted: for `trtconv.graph.recipes`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from trtconv.capture.source import weights_of
from trtconv.capture.trace import is_plain, map_tensors, tensors_in
from trtconv.graph.data import Graph, Layer, Part
from trtconv.graph.recipes import Program, Source, Step, operator, parts_in


class Recorder:
    """Knows of tensors which of a module's parameters and buffers they are computed of, and how.

    A tensor is known by its storage: what shares memory with a parameter is a view of it, whoever made it.

    Args:
        module: The module under conversion.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._numbers: dict[int, int] = {}
        """Of the storages by their addresses, which nothing else gets as long as there are weak references."""
        self._references: list[StorageWeakRef] = []
        self._sizes: dict[int, int] = {}
        self._sources: list[Source] = []
        self._names: list[str] = []
        self._literals: dict[int, torch.Tensor] = {}
        self._steps: list[Step] = []
        self._dependent: set[int] = set()
        """The storages whose contents depend on a parameter or buffer."""
        self._reads: dict[Part, torch.Tensor] = {}
        self._lent: list[torch.Tensor] = []
        self._held: list[torch.Tensor] = []
        unsaved = {
            f"{path}.{name}".removeprefix(".")
            for path, child in module.named_modules(remove_duplicate=False)
            for name in child._non_persistent_buffers_set
        }
        for path, (name, value) in weights_of(module).items():
            self._names.append(name)
            if is_plain(value) and _is_real(value):
                self._held.append(value.detach())
                part = self._part(value, self._number(value))
                self._sizes[part.storage] = value.untyped_storage().nbytes()
                self._dependent.add(part.storage)
                self._sources.append(Source(name, part, value.detach() if path in unsaved else None))

    # -- what happens -----------------------------------------------------------------------------

    def ran(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Take note of an operator that wrote to none of its arguments."""
        arguments = self._arguments(func, args, kwargs)
        if arguments is not None:
            self._finish(func, arguments, result)

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
        """A tensor over the same memory, if that is a parameter's, or was lent."""
        first, last = view.data_ptr(), view.data_ptr() + view.nbytes
        for tensor in (*self._lent, *self._held):
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
        with _Operators(self):
            yield

    def _arguments(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Arguments | None:
        """An operator's arguments, if there is something to note: none is a stand-in, and one is known."""
        kind = _kind(func)
        if kind.is_view:
            return None
        tensors = tensors_in((args, kwargs))
        is_known = not tensors
        for each in tensors:
            if not _is_real(each):
                return None
            is_known = is_known or each.untyped_storage()._cdata in self._numbers
        if not is_known:
            return None
        parts = {id(each): self._part(each, self._number(each, kind.is_mutable)) for each in tensors}
        is_plain = all(map(_can_be_saved, args)) and (not kwargs or _can_be_saved(kwargs))
        new_args = tuple([_with_parts(each, parts) for each in args])
        new_kwargs = {name: _with_parts(each, parts) for name, each in kwargs.items()} if kwargs else kwargs
        return _Arguments(tensors, parts, new_args, new_kwargs, is_plain)

    def _finish(self, func: OpOverload, given: _Arguments, result: Any) -> None:
        outputs = [result] if isinstance(result, torch.Tensor) else tensors_in(result)
        if not all(map(_is_real, outputs)):
            return
        storages = {part.storage for part in given.parts.values()}
        depends, kind = not storages.isdisjoint(self._dependent), _kind(func)
        if not outputs or kind.is_opaque or not given.is_plain:
            for tensor in given.tensors if depends else ():
                self.read(tensor)
            return
        if not storages and all(output.numel() <= _FEW for output in outputs):
            return  # kept with its contents, if it comes to be used
        made = tuple([self._made(output, storages) for output in outputs])
        written = _written(func, given.args) if kind.is_mutable else set()
        if not written and all(part is None for part in made):
            return  # a view
        if depends:
            self._dependent.update(written, (part.storage for part in made if part is not None))
        self._steps.append(Step(kind.name, given.args, given.kwargs, made))

    def _made(self, output: torch.Tensor, known: set[int]) -> Part | None:
        number = self._numbers.get(output.untyped_storage()._cdata)
        return None if number in known else self._part(output, self._new_number(output))

    # -- tensors ----------------------------------------------------------------------------------

    def part(self, tensor: torch.Tensor) -> Part | None:
        """Where a tensor lies that depends on a parameter or buffer; None for others."""
        if not _is_real(tensor):
            return None
        number = self._numbers.get(tensor.untyped_storage()._cdata)
        return self._part(tensor, number) if number is not None and number in self._dependent else None

    @staticmethod
    def _part(tensor: torch.Tensor, number: int) -> Part:
        shape, stride, offset = tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())
        return Part(tensor.dtype, number, shape, stride, offset, tensor.is_conj(), tensor.is_neg())

    def _number(self, tensor: torch.Tensor, will_change: bool = False) -> int:
        """The number of a tensor's storage; one that wasn't known yet is kept with its contents."""
        number = self._numbers.get(tensor.untyped_storage()._cdata)
        if number is None:
            number = self._new_number(tensor)
            with _disable_current_modes():
                content = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())
                self._literals[number] = content.clone() if will_change else content
        return number

    def _new_number(self, tensor: torch.Tensor) -> int:
        storage = tensor.untyped_storage()
        self._references.append(StorageWeakRef(storage))  # type: ignore[no-untyped-call]  # torch leaves it untyped
        number = self._numbers[storage._cdata] = len(self._references)
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


class _Arguments(NamedTuple):
    """The tensors among an operator's arguments, the parts that they are by their ids, and the arguments with these."""

    tensors: list[torch.Tensor]
    parts: dict[int, Part]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    is_plain: bool
    """They can be saved."""


class _Kind(NamedTuple):
    """What holds for all calls of an operator."""

    name: str
    is_mutable: bool
    is_view: bool
    is_opaque: bool
    """It gives other shapes for other values, or is none of ATen's."""


@functools.cache
def _kind(func: OpOverload) -> _Kind:
    depends_on_values = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & {*func.tags}
    is_opaque = bool(depends_on_values) or func.namespace != "aten"
    schema = func._schema
    is_view = bool(schema.returns) and all(each.alias_info is not None for each in schema.returns)
    return _Kind(str(func).removeprefix("aten."), schema.is_mutable, is_view and not schema.is_mutable, is_opaque)


def _written(func: OpOverload, args: tuple[Any, ...]) -> set[int]:
    """The storages that an operator writes to."""
    pairs = zip(func._schema.arguments, args, strict=False)
    writes = [value for each, value in pairs if each.alias_info is not None and each.alias_info.is_write]
    return {part.storage for part in parts_in(writes)}


def _with_parts(value: Any, parts: dict[int, Part]) -> Any:
    if isinstance(value, torch.Tensor):
        return parts[id(value)]
    if type(value) in (list, tuple, dict):
        return map_tensors(lambda each: parts[id(each)], value)
    return value


_FEW = 4096
_SAVABLE = {bool, int, float, complex, str, type(None), torch.dtype, torch.device, torch.layout} | {torch.memory_format}


def _can_be_saved(structure: Any) -> bool:
    """Whether `trtconv.graph.recipes.encode` takes arguments."""
    kind = type(structure)
    if kind is tuple or kind is list:
        return all(map(_can_be_saved, structure))
    if kind is dict:
        return all(map(_can_be_saved, structure.values()))
    return kind in _SAVABLE or isinstance(structure, torch.Tensor)


def _is_real(tensor: torch.Tensor) -> bool:
    return not (tensor.is_meta or isinstance(tensor, FakeTensor)) and tensor.layout is torch.strided


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
            self._recorder._finish(func, arguments, result)
        return result
