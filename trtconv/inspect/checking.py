"""What of a module would convert: all of its calls are looked at, and nothing is built."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch._ops import OpOverload

from trtconv import tensorrt as trt
from trtconv.calling.arguments import Parameters
from trtconv.capture.fake_results import fake_like
from trtconv.capture.forward import capture
from trtconv.capture.session import Session
from trtconv.capture.source import module_of, plain_inputs
from trtconv.capture.trace import Trace, describe, live_calls, map_tensors, tensors_in
from trtconv.capture.unseen import unseen
from trtconv.default_device import default_device
from trtconv.dtypes import name_of
from trtconv.emit import registry
from trtconv.emit.obstacles import obstacles, without_converter
from trtconv.errors import ConversionError, DataDependentError
from trtconv.passes import run_trace_passes
from trtconv.places import Origin
from trtconv.shown.table import Table
from trtconv.tensorrt.exclusion import alone
from trtconv.tensorrt.logger import collect_messages

CONVERTS = "converter"
TORCH_ONLY = "torch only"
READS = "Python reads values"
STOPS = "the check ends here"


@dataclasses.dataclass(frozen=True)
class CheckedCall:
    """A call of the forward pass.

    Attributes:
        status: "converter" if it converts; "torch only", "Python reads values", or "the check ends here" where what
            comes after it isn't known.
        call: The function and what it was given.
        origin: Its line and module; None where that isn't known.
        reason: Why it doesn't convert; "" if it does.
    """

    status: str
    call: str
    origin: Origin | None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Check:
    """What would convert; a table of what doesn't where it is printed, as HTML in a notebook.

    Attributes:
        calls: All calls that results need, in order; then what Python reads, and where the check had to end.
        whole: The paths of the largest submodules that convert whole, with the numbers of their calls, the largest
            first; "" is the module itself.
        is_thorough: Whether the arguments of calls were checked too, for which TensorRT has to be installed.
    """

    calls: tuple[CheckedCall, ...]
    whole: Mapping[str, int]
    is_thorough: bool

    @property
    def converts(self) -> bool:
        """Whether all calls do."""
        return not self.problems

    @property
    def problems(self) -> list[CheckedCall]:
        """Those that don't convert."""
        return [call for call in self.calls if call.status != CONVERTS]

    def table(self, calls: Iterable[CheckedCall] | None = None) -> Table:
        """All calls, or those that are given, with their lines."""
        chosen = self.calls if calls is None else calls
        rows = [(each.status, each.call, str(each.origin or "?"), each.reason) for each in chosen]
        return Table(("status", "call", "line", "reason"), rows)

    def summary(self) -> Table:
        """How many calls have each status."""
        return Table(("status", "calls"), list(Counter(each.status for each in self.calls).items()), numbers=("calls",))

    def _remarks(self) -> list[str]:
        remarks = []
        if self.whole and "" not in self.whole:
            named = ", ".join(f"{path} ({count} calls)" for path, count in self.whole.items())
            remarks.append(f"Largest submodules that convert whole: {named}")
        if "" in self.whole:
            remarks.append("The module converts whole.")
        if not self.is_thorough:
            remarks.append("TensorRT isn't installed: arguments that a converter may refuse weren't checked.")
        return remarks

    def __str__(self) -> str:
        tables = [self.summary()] + ([self.table(self.problems)] if self.problems else [])
        return "\n\n".join([*map(str, tables), *self._remarks()])

    def _repr_html_(self) -> str:
        tables = [self.summary()] + ([self.table(self.problems)] if self.problems else [])
        return "".join([*(table._repr_html_() for table in tables), *(f"<p>{each}</p>" for each in self._remarks())])


def check(
    module: torch.nn.Module | Callable[..., Any] | torch.export.ExportedProgram,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Check:
    """Say which calls of a module's forward pass convert, without building an engine.

    Where Python reads the value of a tensor, or a size follows from values, the pass goes on with what the example
    inputs give.

    Args: as for `trtconv.convert`.

    Raises:
        CaptureError: the module is in training mode.
        TypeError: the arguments don't fit the module's forward.
    """
    module = module_of(module)
    parameters = Parameters.of(module)
    given = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    args, kwargs = plain_inputs(*parameters.bind(given, kwargs or {}))
    examples = tensors_in((args, dict(kwargs)))
    sessions: list[_OnExamples] = []

    def opened(*arguments: Any, **options: Any) -> Session:
        sessions.append(_OnExamples(*arguments, examples=examples, **options))
        return sessions[-1]

    ends: list[CheckedCall] = []
    try:
        takes, whole = registry.takes, registry.users_functions()
        trace = capture(module, args, kwargs, takes=takes, whole_functions=whole, open_session=opened).trace
    except ConversionError as error:
        if not sessions:  # the forward pass wasn't begun: the module is in training mode
            raise
        trace = sessions[-1].trace()
        origin = sessions[-1].last_origin
        ends = [CheckedCall(STOPS, "", origin, _told(error, origin))]
    with default_device("cpu"):
        trace = run_trace_passes(trace)
    found = (*_checked(trace, sessions[-1].unsized), *sessions[-1].reads, *ends)
    return Check(found, _whole_modules(module, found), trt.is_available())


class _OnExamples(Session):
    """A session that goes on with what the example inputs give where values decide.

    Args:
        examples: The values of the inputs.

    Attributes:
        reads: What Python read of values that depend on inputs.
        unsized: Tensors whose sizes follow from values, by their ids, and the reasons.
        last_origin: Of the last call.
    """

    def __init__(self, *arguments: Any, examples: Sequence[torch.Tensor], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.reads: list[CheckedCall] = []
        self.unsized: dict[int, tuple[torch.Tensor, str]] = {}
        self.last_origin: Origin | None = None
        self._examples = examples
        self._values: dict[int, torch.Tensor] = {}
        """What tensors of the calls so far are for the examples, by their ids, as far as somebody asked."""
        self._aten.on_failure = self._run_on_examples

    def trace(self) -> Trace:
        """The calls so far; what none of them reads are the outputs."""
        read = {id(tensor) for call in self.calls for tensor in call.input_tensors()}
        made = [tensor for call in self.calls for tensor in call.output_tensors()]
        outputs = [tensor for tensor in made if id(tensor) not in read]
        return Trace(list(self.inputs), outputs, [self.constants.settled_call(call) for call in self.calls])

    def _origin(self) -> Origin:
        self.last_origin = super()._origin()
        return self.last_origin

    def _read_value(self, tensor: torch.Tensor, reader: str) -> Any:
        try:
            return super()._read_value(tensor, reader)
        except DataDependentError as error:
            origin = self._origin()
            value = self._value(self._forms.stand_in(tensor), error)
            read = f"{reader} of {name_of(value.dtype)}{list(value.shape)}"
            self.reads.append(CheckedCall(READS, read, origin, _told(error, origin)))
            with _apart():
                return value.numpy(force=True) if reader == "__array__" else getattr(value.clone(), reader)()

    def _run_on_examples(
        self, error: Exception, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        explained = self._aten.explained(error, func)
        args, kwargs = map_tensors(lambda tensor: self._value(tensor, explained), (args, kwargs))
        with _apart():
            result = func(*args, **kwargs)
        output = map_tensors(lambda real: fake_like(self._aten, real), result)
        why = _told(explained, self._origin())
        self.unsized.update({id(tensor): (tensor, why) for tensor in tensors_in(output)})
        self._values.update(zip(map(id, tensors_in(output)), tensors_in(result), strict=True))
        return output

    def _value(self, tensor: torch.Tensor, error: ConversionError) -> torch.Tensor:
        """What a tensor is for the examples; the error is raised where that can't be computed."""
        known = self._values
        known.update({id(fake): real for fake, real in zip(self.inputs, self._examples, strict=True)})
        try:
            for call in live_calls(self.calls, [tensor]):
                made = call.output_tensors()
                if any(id(each) not in known for each in made):
                    settled = self.constants.settled_call(call)
                    args, kwargs = map_tensors(lambda each: known.get(id(each), each), (settled.args, settled.kwargs))
                    with _apart():
                        known.update(zip(map(id, made), tensors_in(call.target(*args, **kwargs)), strict=True))
        except Exception:  # functions of the user's may raise anything
            raise error from None
        return known.get(id(tensor), self.constants.settled(tensor))


@contextmanager
def _apart() -> Iterator[None]:
    """A context in which torch computes with real tensors, and nothing is recorded."""
    with unseen(), torch.no_grad(), torch.random.fork_rng([]):
        yield


def _checked(trace: Trace, unsized: Mapping[int, tuple[torch.Tensor, str]]) -> Iterator[CheckedCall]:
    """The calls of a trace."""
    errors: list[ConversionError | None] = list(map(without_converter, trace.calls))
    if trt.is_available():
        with alone(), collect_messages() as messages, default_device("cpu"):
            errors = list(obstacles(trace, messages))
    for call, error in zip(trace.calls, errors, strict=True):
        known = next((unsized[id(each)][1] for each in call.output_tensors() if id(each) in unsized), "")
        why = known or (_told(error, call.origin, describe(call)) if error else "")
        yield CheckedCall(TORCH_ONLY if why else CONVERTS, describe(call), call.origin, why)


def _told(error: ConversionError, origin: Origin | None, call: str = "") -> str:
    """The first sentence of an error, without the place and the call, which stand beside it."""
    text = str(error).removeprefix(f"{origin}: ").removeprefix(f"{call}: ").splitlines()[0]
    return text.partition(". ")[0]


def _whole_modules(module: torch.nn.Module, calls: Iterable[CheckedCall]) -> dict[str, int]:
    """The largest submodules without problems, and how many calls each makes."""
    counts: Counter[str] = Counter()
    with_problems: set[str] = set()
    for call in calls:
        path = call.origin.module if call.origin else ""
        around = _around(path)
        counts.update(around)
        if call.status != CONVERTS:
            with_problems.update(around)
    found: dict[str, int] = {}
    for path, child in module.named_modules():
        is_called = type(child).forward is not torch.nn.Module.forward  # a list of modules isn't
        is_inside = any(each in found for each in _around(path)[:-1])
        if counts[path] and path not in with_problems and is_called and not is_inside:
            found[path] = counts[path]
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _around(path: str) -> list[str]:
    """The modules around one, the outermost, "", first, and itself."""
    names = path.split(".") if path else []
    return [".".join(names[:end]) for end in range(len(names) + 1)]
