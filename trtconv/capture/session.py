"""One capture: the two levels of interception at work, and the calls they find."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from types import FunctionType
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._ops import OpOverload
from torch._subclasses.functional_tensor import FunctionalTensor, disable_functional_mode
from torch.utils._python_dispatch import _disable_current_modes

from trtconv.capture import autocasting
from trtconv.capture.aten import FAKE_ERRORS, AtenLevel, WritesError, value_is_read
from trtconv.capture.compiled import uncompiled
from trtconv.capture.constants import READ_ONLY_SIZES, Constants, is_fixed
from trtconv.capture.escapes import make_real
from trtconv.capture.exporting import exporting
from trtconv.capture.fake_results import FAKE_RESULTS, fake_like
from trtconv.capture.forms import Forms, Given
from trtconv.capture.functions import TENSOR_PROPERTIES, VALUE_READERS, FunctionLevel
from trtconv.capture.interception import intercepted, is_seen, is_unseen
from trtconv.capture.names import canonical_name, is_inplace, property_name
from trtconv.capture.origin import OriginFinder
from trtconv.capture.packed import PackedSequences
from trtconv.capture.picked import PickedElements
from trtconv.capture.replaced_functions import first_of, replaced_functions, replaced_methods
from trtconv.capture.returned import NotingResults
from trtconv.capture.slicing import SLICED
from trtconv.capture.switch import Switch
from trtconv.capture.trace import Call, Origin, is_reached, map_tensors, tensors_in
from trtconv.capture.uniform import read_uniform
from trtconv.errors import CaptureError
from trtconv.sizes.ranges import SizeSpec
from trtconv.sizes.symbols import Symbols

IsTaken = Callable[[Callable[..., Any]], bool]


class Session:
    """Runs code on stand-ins for tensors and records the calls that depend on the inputs.

    The code sees functional tensors (they give in-place calls and views their meaning), which wrap
    fake tensors (they have shapes and dtypes but no values); the calls are recorded on the fake ones.

    Args:
        module: The module whose submodules name the origins of calls.
        takes: Tells which functions are recorded whole; all else is recorded as ATen operators.
        constant_values: Values for tensors that Python reads, by "file:line" of the user's code.
        symbols: The symbols for dynamic sizes, if there are any.
        by_python: Let torch take its Python code for composite functions where it has some: its C++ code takes
            numbers only in places. Always so with symbols.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        takes: IsTaken,
        constant_values: Mapping[str, Any],
        symbols: Symbols | None = None,
        *,
        by_python: bool = False,
    ) -> None:
        self.calls: list[Call] = []
        self.inputs: list[torch.Tensor] = []
        self.writes: dict[int, Origin] = {}
        """Where real tensors, by id, were first written to."""
        self.constants = Constants()
        self._takes = takes
        self._origins = OriginFinder(module, Session.run)
        self._constant_values = constant_values
        self._functions: list[str] = []
        self._in_recorded_call = Switch()
        self._numbers: dict[int, Any] = {}  # what Python read of constants
        self._entangled: set[Callable[..., Any]] = set()  # write to tensors, or return views of their arguments
        self.symbols = symbols
        self._by_python = by_python or symbols is not None
        self._aten = AtenLevel(self.constants, self._record_operator, self._read_value, self._origin)
        self._forms = Forms(self._aten, self.constants)
        self.value_of, self.keep = self._forms.value_of, self._forms.keep
        self._packed = PackedSequences(self.value_of, self._origin)
        self._picked = PickedElements(self.value_of, self._origin, self.calls)
        others = {**replaced_functions(self._origin), **replaced_methods(module)}
        own = self._picked.functions(), self._packed.functions()
        self._replaced = first_of(*own, SLICED if symbols else {}, others)
        if symbols is not None:
            self._aten.shape_env = symbols.env
            self._aten.static_shapes = False
        self.returned = NotingResults(self._handle, self._origins.find, self.value_of, self._depends_on_input)
        self._function_level = FunctionLevel(self.returned)
        self._stack = ExitStack()

    def __enter__(self) -> Session:
        stack = self._stack
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if self.symbols is not None:
            stack.enter_context(self.symbols.env.noting(self._origin, self.calls))
        stack.enter_context(self._aten)
        stack.enter_context(self._forms.mode)
        if self._by_python:
            stack.enter_context(enable_python_dispatcher())
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        whole_functions: Iterable[Callable[..., Any]] = (),
    ) -> Any:
        """Call `function` under both levels of interception; calls of `whole_functions` are recorded whole."""
        eager = uncompiled()

        def handler(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if func in eager:
                return eager[func](*args, **kwargs)
            return self.returned(self._function_level, func, args, kwargs)

        functions = [function for function in (*whole_functions, *self._replaced, *eager) if is_unseen(function)]
        with exporting(), self._function_level, intercepted(functions, handler):
            return function(*args, **kwargs)

    def input(self, example: torch.Tensor, sizes: Sequence[SizeSpec]) -> FunctionalTensor:
        """A stand-in for an input of the example's dtype and these sizes."""
        if tuple(sizes) == tuple(example.shape):
            fake = fake_like(self._aten, example)
        else:
            symbolic = sizes if self.symbols is None else [self.symbols.size(each) for each in sizes]
            with _disable_current_modes(), self._aten, self._aten.silenced:
                fake = torch.empty(symbolic, dtype=example.dtype, device=example.device)  # type: ignore[arg-type]
        self.inputs.append(fake)
        return self._forms.over(fake)

    def check_results(self, tensors: Sequence[torch.Tensor]) -> None:
        """Raise if these tensors can't be results.

        Raises:
            DataDependentError: how many elements there are isn't known.
        """
        self._packed.check_results(tensors)
        self._picked.check_results(tensors)

    def changed_constants(self) -> list[torch.Tensor]:
        """The parameters and buffers, or other tensors from outside, that the code wrote to."""
        return self._forms.written()

    def make_escaped_real(self, examples: Sequence[torch.Tensor], *, compute: bool = True) -> list[Origin]:
        """Make tensors of this session real that code keeps; return where those come from that depend on an input.

        Args:
            examples: The values of the inputs.
            compute: Compute what depends on them; it is zeros otherwise.
        """
        escaped = self._forms.release()
        if not escaped:
            return []
        with self:
            fakes = {tensor: self.value_of(tensor) for tensor in escaped}
        sizes = {} if self.symbols is None else self.symbols.sizes_of(self.inputs, examples)
        return make_real(fakes, self.constants, self.calls if compute else [], self.inputs, examples, sizes)

    def is_cache(self, before: torch.Tensor, after: torch.Tensor, outputs: Sequence[torch.Tensor]) -> bool:
        """Tell whether the code put a constant in the place of a tensor whose values it doesn't use."""
        fake = self._forms.stand_in(before)
        used = tensors_in([outputs, *((call.args, call.kwargs) for call in self.calls)])
        return (
            not self._depends_on_input(after)
            and not self.constants.is_read(fake)
            and not any(tensor is fake for tensor in used)
        )

    # -- what the two levels report -------------------------------------------------------------

    def _handle(
        self, level: FunctionLevel, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run a call by the first rule that applies: a rule that doesn't gives NotImplemented."""
        for rule in (self._describe, self._read, self._run_inside_recorded_call):
            result = rule(func, args, kwargs)
            if result is not NotImplemented:
                return result
        self._functions.append(canonical_name(func))
        try:
            for way in (self._record_whole, self._run_replaced, self._open, self._run_apart, self._run_functionalized):
                result = way(level, func, args, kwargs)
                if result is not NotImplemented:
                    break
            return result
        finally:
            self._functions.pop()

    def _describe(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What is known of a tensor without its values: its shape, its dtype, its text."""
        self._picked.check_description(func, args)
        if func is torch.ops.aten.lift_fresh.default:
            return func(*args, **kwargs)  # torch's own step in torch.from_numpy, with functionalization at work
        attribute = property_name(func)
        if attribute is not None and attribute not in TENSOR_PROPERTIES:
            return func(*args, **kwargs)
        if getattr(func, "__name__", "") in ("__repr__", "__str__") and args:
            return repr(self.value_of(args[0]))
        return NotImplemented

    def _read(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The values of a tensor, for Python."""
        name = getattr(func, "__name__", "")
        if name in VALUE_READERS and args and isinstance(args[0], torch.Tensor):
            return self._read_value(self.value_of(args[0]), name)
        return NotImplemented

    def _run_inside_recorded_call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that a recorded function makes isn't recorded."""
        if not self._in_recorded_call:
            return NotImplemented
        return func(*map_tensors(self._forms.seen, args), **map_tensors(self._forms.seen, kwargs))

    def _record_whole(
        self, level: FunctionLevel, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A call of a function that converters take."""
        if not self._takes(func) or not self._is_whole(func, args, kwargs):
            return NotImplemented
        tensors = tensors_in((args, kwargs))
        if is_unseen(func) or not autocasting.is_on(tensors):
            return self._record_function(func, args, kwargs)
        cast = self._autocast(func, args, kwargs)
        if cast is None:
            return NotImplemented
        with autocasting.off(tensors):
            return self._record_function(func, *cast)

    def _run_replaced(
        self, level: FunctionLevel, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A function whose own code reads what stand-ins don't have."""
        if func not in self._replaced:
            return NotImplemented
        args, kwargs = map_tensors(self._forms.seen, (args, kwargs))
        # The mode is off in the calls that it reports.
        with level if is_seen(func) else nullcontext():
            return self._replaced[func](self._depends_on_input, *args, **kwargs)

    def _open(
        self, level: FunctionLevel, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A function in Python: the calls that it makes come here too."""
        return level.open(func, args, kwargs) if level.opens(func) else NotImplemented

    def _depends_on_input(self, tensor: torch.Tensor) -> bool:
        return not self.constants.is_constant(self.value_of(tensor))

    def _is_whole(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        tensors = tensors_in((args, kwargs))
        apart = not is_inplace(func, kwargs) and (is_unseen(func) or not self._picked.any(tensors))
        return apart and any(map(self._depends_on_input, tensors))

    def _autocast(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The arguments as autocast casts them for a function; None if it casts something inside the function."""
        args, kwargs = map_tensors(self._forms.seen, (args, kwargs))
        read_args, read_kwargs = map_tensors(self.value_of, (args, kwargs))
        casts = autocasting.casts(self._aten.silenced, func, read_args, read_kwargs)
        if casts is None:
            return None
        return map_tensors(lambda each: each.to(casts.get(id(self.value_of(each)), each.dtype)), (args, kwargs))

    def _record_function(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        read_args, read_kwargs = map_tensors(self.value_of, (args, kwargs))
        self._picked.check(func, read_args, read_kwargs, ())
        self._numbers.clear()
        if func not in self._entangled and not is_unseen(func):
            found, output = self._run_alone(func, read_args, read_kwargs)
            if found:
                self._append(func, *self._as_read(func, read_args, read_kwargs), output)
                return map_tensors(self._forms.over, output)
        args, kwargs = map_tensors(self._forms.seen, (args, kwargs))
        with self._aten.silenced:
            # The modes are off for torch's functions here, but not for the calls that a user's own makes.
            try:
                with self._in_recorded_call:
                    output = func(*args, **kwargs)
            except FAKE_ERRORS as error:
                raise self._aten.explained(error, canonical_name(func)) from error
            written = map_tensors(self.value_of, output)
            after = map_tensors(self.value_of, (args, kwargs))
        pairs = zip(tensors_in((read_args, read_kwargs)), tensors_in(after), strict=True)
        if any(before is not now for before, now in pairs):
            raise CaptureError(
                f"{self._origin()}: {canonical_name(func)} writes to one of its arguments, which a converter "
                "can't express; have the function return a new tensor, or register a converter for the "
                "functions that it calls instead"
            )
        self._append(func, *self._as_read(func, read_args, read_kwargs), written)
        return output

    def _as_read(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a function of torch's with numbers for tensors that it took for numbers.

        ``F.pad(x, (table[0], 1))`` is such a call.
        """
        if not self._numbers or is_unseen(func):
            return args, kwargs
        args, kwargs = map_tensors(lambda tensor: self._numbers.get(id(tensor), tensor), (args, kwargs))
        return args, kwargs

    def _run_apart(
        self, level: FunctionLevel, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A function whose operators write to nothing: they need no functionalization, which takes its time."""
        # Python code may make calls in turn, which expect to be functionalized.
        if func in self._entangled or is_inplace(func, kwargs) or isinstance(func, FunctionType):
            return NotImplemented
        args, kwargs = map_tensors(self.value_of, (args, kwargs))
        calls, constants = len(self.calls), self.constants.count()  # reading a view of what was written to records too
        given = Given((args, kwargs))
        try:
            with disable_functional_mode(), self._aten.refusing_writes:
                output = func(*args, **kwargs)
        except WritesError:
            pass
        else:
            if given.is_apart_from(output):
                return map_tensors(self._forms.over, output)
        del self.calls[calls:]
        self.constants.forget(constants)
        self._entangled.add(func)
        return NotImplemented

    def _run_functionalized(
        self, level: FunctionLevel, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Any other function of torch's: in-place operators and views get their meaning."""
        args, kwargs = map_tensors(self._forms.seen, (args, kwargs))
        writes = is_inplace(func, kwargs) and not all(map(self._depends_on_input, tensors_in((args, kwargs))))
        result = func(*args, **kwargs)
        if writes:
            for real in self._forms.written():
                self.writes.setdefault(id(real), self._origin())
        return result

    def _run_alone(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
        """Whether a function's results have nothing to do with its arguments' memory, and the results.

        Then it needs no functionalization, which takes two thirds of the time of a call.
        """
        given = Given((args, kwargs))
        with self._aten.silenced, disable_functional_mode():
            try:
                output = FAKE_RESULTS.get(func, func)(*args, **kwargs)
            except FAKE_ERRORS as error:
                raise self._aten.explained(error, canonical_name(func)) from error
        alone = given.is_apart_from(output)
        if not alone:
            self._entangled.add(func)
        return alone, output

    def _record_operator(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        args, kwargs = map_tensors(self._forms.stand_in, (args, kwargs))
        if self._picked.check(func, args, kwargs, output):
            return self._append(func, args, kwargs, output)
        if func in READ_ONLY_SIZES and all(isinstance(n, int) for t in tensors_in((args, kwargs)) for n in t.shape):
            args, kwargs = map_tensors(self._forms.of_its_sizes, (args, kwargs))
        if is_fixed(func, args, kwargs) and self.constants.all_constant((args, kwargs)):
            self.constants.define(func, args, kwargs, output, self._origin())
        else:
            self._append(func, args, kwargs, output)

    def _append(self, target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        origin = self._origin()
        self._packed.check(target, tensors_in((args, kwargs)), output, origin)
        self.calls.append(Call(target, args, kwargs, output, origin))

    def _read_value(self, tensor: torch.Tensor, reader: str) -> Any:
        tensor = self._forms.stand_in(tensor)
        if self.constants.is_constant(tensor):
            value = self.constants.read(tensor)
            with _disable_current_modes():
                result = value.numpy(force=True) if reader == "__array__" else getattr(value.clone(), reader)()
            self._numbers[id(tensor)] = result
            return result
        known = read_uniform(tensor, reader, self.calls)
        if known is not None:
            return known
        origin = self._origin()
        keys = origin.keys()
        for key in keys:
            if key in self._constant_values:
                return self._constant_values[key]
        raise value_is_read(origin, reader, keys[-1], tensor, of_input=is_reached(tensor, self.calls, self.inputs))

    def _origin(self) -> Origin:
        return self._origins.find(self._functions[0] if self._functions else "")
