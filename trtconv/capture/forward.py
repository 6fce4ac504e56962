"""Capturing a module's forward pass."""

from __future__ import annotations

import dataclasses
import functools
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch

from trtconv.calling.structure import Nesting, Structure, take_apart
from trtconv.capture.given_objects import GivenObjects
from trtconv.capture.kept import now_in_places_of
from trtconv.capture.quiet import quiet
from trtconv.capture.relations import hints_to_try, relations_in, runs_without, with_relation
from trtconv.capture.repetition import State, warn_of_frozen_values
from trtconv.capture.returned import Returned
from trtconv.capture.session import Session
from trtconv.capture.trace import Call, Origin, Trace, live_calls
from trtconv.capture.varying import check_all_sizes
from trtconv.errors import CaptureError, ConversionError
from trtconv.shortened import raised_at
from trtconv.sizes.ranges import Range, SizeSpec, at_sizes, ranges_in
from trtconv.sizes.symbols import Symbols

_TRAINS = (
    torch.nn.modules.dropout._DropoutNd,
    torch.nn.modules.batchnorm._BatchNorm,
)


@dataclasses.dataclass(frozen=True)
class Captured:
    """A captured forward pass.

    Attributes:
        trace: The calls. `trace.outputs` holds the tensors of the result, then the new contents of
            the inputs in `written_inputs`.
        result: The result, nested as the module returned it; its tensors are the first of `trace.outputs`.
        written_inputs: The places, among the inputs, of those that the forward pass writes to.
        ranges: The range of each sympy symbol in the trace's sizes: the size is the symbol times `multiple_of`.
        sizes: Those of the inputs: as they were asked for, or as the forward pass makes them follow from one another.
        returned: What each torch function gave that the code called, in order.
    """

    trace: Trace
    result: Structure
    written_inputs: tuple[int, ...]
    ranges: Mapping[Any, Range]
    sizes: Sequence[tuple[SizeSpec, ...]]
    returned: Sequence[Returned] = ()


@quiet()
def capture(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    takes: Callable[[Callable[..., Any]], bool],
    whole_functions: Iterable[Callable[..., Any]] = (),
    constant_values: Mapping[str, Any] | None = None,
    shapes: Sequence[Sequence[SizeSpec]] | None = None,
    state: Mapping[str, torch.Tensor] | None = None,
    open_session: Callable[..., Session] = Session,
) -> Captured:
    """Run `module(*args, **kwargs)` once on fake tensors and return the calls it made.

    Args:
        module: In eval mode, wherever that makes a difference. Nothing of it is changed.
        args, kwargs: Example inputs, nested as the module takes them. Only their shapes and dtypes count.
        takes: Tells for a torch function whether its calls are recorded whole. What isn't taken is
            recorded as the ATen operators that it runs.
        whole_functions: Functions that aren't torch's and are recorded whole.
        constant_values: For lines where Python reads a tensor's value: "file:line" -> the value.
        shapes: The sizes of each example tensor, in order; a `Range` becomes a symbol, a `Relation` an expression. By
            default those they have.
        state: Buffers by their names, which are inputs too: behind the others, in this order.
        open_session: Makes the sessions that run the forward pass, as `Session` does.

    Raises:
        CaptureError: the module is in training mode, reads the values of tensors, writes to other buffers than `state`,
            or does something else for some sizes in a range.
    """
    _check_eval_mode(module)
    leaves, nesting = take_apart((args, dict(kwargs)))
    given = iter([leaf.shape for leaf in leaves if isinstance(leaf, torch.Tensor)] if shapes is None else shapes)
    sizes = [tuple(next(given)) if isinstance(leaf, torch.Tensor) else None for leaf in leaves]
    kept = state or {}
    opened = functools.partial(open_session, module, takes, constant_values or {})
    run = functools.partial(_run, module, leaves, nesting, opened, whole_functions, kept)
    before = State.of(module)
    captured, after = _capture_sizes(run, leaves, sizes, kept.values())
    if before.moved(after):

        def call() -> Trace:
            result = run([tuple(leaf.shape) if isinstance(leaf, torch.Tensor) else None for leaf in leaves])
            result.left.restore_attributes()
            return result.trace()

        warn_of_frozen_values(module, before, after, call)
    return captured


def _capture_sizes(
    run: Callable[..., _Run],
    leaves: Sequence[Any],
    sizes: Sequence[Sequence[SizeSpec] | None],
    kept: Collection[torch.Tensor],
) -> tuple[Captured, State]:
    """Capture for these sizes; the state is that after the first pass."""
    examples = [leaf for leaf, each in zip(leaves, sizes, strict=True) if each is not None]
    ranges = ranges_in(sizes)
    if not ranges:
        result = run(sizes)
        return result.captured(sizes), result.left
    shapes = (*sizes, *(tensor.shape for tensor in kept))
    fixed = {size for each in shapes if each for size in each if type(size) is int}
    inputs = [*examples, *kept]

    def run_at(numbers: Mapping[Range, int]) -> _Run:
        return run(at_sizes(sizes, numbers), by_python=True)

    errors: list[Exception] = []
    waiting = hints_to_try(ranges, sizes, examples)
    while waiting:
        symbols = Symbols(fixed, waiting.pop(0))
        try:
            symbolic = run(sizes, symbols)
            has_to_hold = None
            for relation in relations_in(symbols):
                otherwise = runs_without(relation, symbols, functools.partial(_runs, run, sizes))
                if otherwise is None:
                    has_to_hold = relation
                    break
                waiting.insert(0, otherwise)  # it holds by chance at these sizes, and not at those
            if has_to_hold is None:
                check_all_sizes(
                    symbolic, symbols, lambda numbers: run(at_sizes(sizes, numbers), by_python=True), inputs
                )
                return symbolic.captured(sizes), symbolic.left
        except Exception as error:  # the module's own code may raise anything at sizes that it doesn't take
            errors.append(error)
        else:
            return _capture_sizes(run, leaves, with_relation(sizes, examples, has_to_hold), kept)
    # Some modules take only some of the sizes, multiples of 32 for one; those to optimize for are among them.
    first = errors[min(1, len(errors) - 1)]
    if isinstance(first, ConversionError):
        raise first
    run_at({limits: limits.opt for limits in ranges})  # may say more
    line, names = raised_at(first) or "the forward pass", ", ".join(limits.name for limits in ranges)
    raise CaptureError(_NO_NUMBER.format(line=line, kind=type(first).__name__, error=first, names=names)) from first


def _runs(run: Callable[..., _Run], sizes: Sequence[Sequence[SizeSpec] | None], numbers: Mapping[Range, int]) -> bool:
    """Whether the forward pass runs on these sizes of the ranges."""
    try:
        run(at_sizes(sizes, numbers), by_python=True)
    except Exception:  # the module's own code may raise anything
        return False
    return True


_NO_NUMBER = (
    "{line}: {kind}: {error} (what varies, {names}, is a torch.SymInt while a module is converted, not a number; with "
    "fixed sizes the line runs). Write it by what a torch.SymInt can do, or leave the size out of dynamic_shapes."
)


@dataclasses.dataclass
class _Run:
    """A forward pass that was run on stand-ins."""

    session: Session
    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    result: Structure
    written: tuple[int, ...]
    left: State
    """What the forward pass left in the module and the generators, before it was undone."""

    def live_calls(self) -> list[Call]:
        """The calls that the outputs need."""
        return live_calls(self.session.calls, self.outputs)

    def all_calls(self) -> list[Call]:
        """All calls, in the order in which they were made."""
        return self.session.calls

    def trace(self) -> Trace:
        """The trace, with constants' values in the place of their stand-ins."""
        constants = self.session.constants
        calls = [constants.settled_call(call) for call in self.live_calls()]
        return Trace(self.inputs, [constants.settled(tensor) for tensor in self.outputs], calls)

    def captured(self, sizes: Sequence[Sequence[SizeSpec] | None]) -> Captured:
        """What it gave, for these sizes of the inputs."""
        symbols = self.session.symbols
        ranges = symbols.ranges if symbols else {}
        inputs = [tuple(each) for each in sizes if each is not None]
        return Captured(self.trace(), self.result, self.written, ranges, inputs, self.session.returned.calls)


def _run(
    module: torch.nn.Module,
    leaves: list[Any],
    nesting: Nesting,
    open_session: Callable[..., Session],
    whole_functions: Iterable[Callable[..., Any]],
    kept: Mapping[str, torch.Tensor],
    sizes: Sequence[Sequence[SizeSpec] | None],
    symbols: Symbols | None = None,
    *,
    by_python: bool = False,
) -> _Run:
    session = open_session(symbols, by_python=by_python)
    examples = [*(leaf for leaf, size in zip(leaves, sizes, strict=True) if size is not None), *kept.values()]
    with _nothing_left_behind(session, examples), _attributes_restored(module):
        return _run_on(session, module, leaves, nesting, whole_functions, kept, sizes)


def _run_on(
    session: Session,
    module: torch.nn.Module,
    leaves: list[Any],
    nesting: Nesting,
    whole_functions: Iterable[Callable[..., Any]],
    kept: Mapping[str, torch.Tensor],
    sizes: Sequence[Sequence[SizeSpec] | None],
) -> _Run:
    state = [*module.named_parameters(), *module.named_buffers()]
    with session:
        seen = [leaf if size is None else session.input(leaf, size) for leaf, size in zip(leaves, sizes, strict=True)]
        taken = [leaf for leaf, size in zip(seen, sizes, strict=True) if size is not None]
        taken += map(session.keep, kept.values())
        session.inputs = inputs = list(map(session.value_of, taken))
        seen_args, seen_kwargs = nesting.fill(iter(seen))
        objects = GivenObjects(seen_args, seen_kwargs)
        result = session.run(module, seen_args, seen_kwargs, whole_functions)
        objects.check(result)
        structure, tensors = Structure.of(result, "the module's result")
        outputs = [session.value_of(tensor) for tensor in tensors]
        session.check_results(outputs)
        taken[len(taken) - len(kept) :] = now_in_places_of(kept, module, functools.partial(_made_at, session))
        after = list(map(session.value_of, taken))
        written = tuple(place for place, value in enumerate(after) if value is not inputs[place])
        outputs += [after[place] for place in written]
        _check_unchanged(state, kept, module, session, outputs)
        left = State.of(module, lambda tensor: session.constants.like(session.value_of(tensor)))
    return _Run(session, inputs, outputs, structure, written, left)


@contextmanager
def _nothing_left_behind(session: Session, examples: Sequence[torch.Tensor]) -> Iterator[None]:
    """Make tensors of the capture real that code keeps beyond it.

    Raises:
        CaptureError: some of them depend on an input; nothing fills such a place when the converted module is called.
    """
    try:
        yield
    except BaseException as error:
        is_interruption = not isinstance(error, Exception)
        if is_interruption or isinstance(error, ConversionError):
            traceback.clear_frames(error.__traceback__)  # they hold tensors of the capture too
        with suppress(RuntimeError):  # torch can't make all of them real; what went wrong at first is what counts
            session.make_escaped_real(examples, compute=not is_interruption)
        raise
    kept = session.make_escaped_real(examples)
    if kept:
        lines = "\n".join(f"  {origin}" for origin in dict.fromkeys(map(str, kept)))
        raise CaptureError(
            f"the forward pass keeps tensors that depend on an input beyond the call (a hook that stores them, a dict "
            f"outside of the module, functools.lru_cache):\n{lines}\nA converted module keeps nothing between calls: "
            "return them from the module, or take the hook off while it is converted."
        )


def _check_eval_mode(module: torch.nn.Module) -> None:
    training = [
        f"  {path or '(the module itself)'}: {type(child).__name__}"
        for path, child in module.named_modules()
        if child.training and isinstance(child, _TRAINS) and not _is_idle(child)
    ]
    if training:
        listed = "\n".join(training[:10]) + (f"\n  and {len(training) - 10} more" if len(training) > 10 else "")
        raise CaptureError(
            f"the module is in training mode, in which these submodules act at random or update themselves:\n"
            f"{listed}\nCall module.eval() before converting."
        )


def _is_idle(module: torch.nn.Module) -> bool:
    return getattr(module, "p", None) == 0.0


def _check_unchanged(
    state: list[tuple[str, torch.Tensor]],
    kept: Mapping[str, torch.Tensor],
    module: torch.nn.Module,
    session: Session,
    outputs: list[torch.Tensor],
) -> None:
    """Refuse a forward pass that wrote to tensors it wasn't given, none of those kept, or put others in their place.

    A table that it made anew, for sizes other than those of the last call, isn't state but a cache.
    """
    held = set(map(id, kept.values()))
    changed = {id(tensor) for tensor in session.changed_constants()} - held
    buffers = dict(module.named_buffers())
    state = [(name, tensor) for name, tensor in state if id(tensor) not in held]
    replaced = {n: t for n, t in state if n in buffers and buffers[n] is not t}
    names = [
        n for n, t in state if id(t) in changed or (n in replaced and not session.is_cache(t, buffers[n], outputs))
    ]
    if not changed and not names:
        return
    origins = [session.writes.get(each) for each in changed]
    origins += [_made_at(session, buffers[name]) for name in names if name in replaced]
    lines = dict.fromkeys(str(each) for each in origins if each)
    where = f"{', '.join(lines)}: " if lines else ""
    unnamed = len(changed) > sum(id(t) in changed for _, t in state)
    if unnamed or any(name not in buffers for name in names):
        written = ", ".join([*names, *["a tensor that is no buffer of the module"] * unnamed])
        advice = "Make it a buffer (register_buffer), and name that in state=, or make it an input and an output"
    else:
        written, advice = ", ".join(names), f"Say that calls are to keep it: state={[*kept, *names]!r}"
    raise CaptureError(
        f"{where}the forward pass writes to {written}: a converted module keeps only those buffers from call to call "
        f"that it is told of. {advice}. Or convert the submodules around the write."
    )


def _made_at(session: Session, tensor: torch.Tensor) -> Origin | None:
    """Where a tensor was made, if a call of the code made it."""
    fake = session.value_of(tensor)
    made = (call.origin for call in session.calls if any(each is fake for each in call.output_tensors()))
    return next(made, session.constants.origin(fake))


_EMPTY: dict[Any, Any] = {}
"""What most of a module's lists and dicts hold."""


@contextmanager
def _attributes_restored(module: torch.nn.Module) -> Iterator[None]:
    """Undo what the forward pass keeps in modules, as attributes or in lists and dicts there: fake tensors."""
    before = [
        (container, (list if isinstance(container, list) else dict)(container) if container else _EMPTY)
        for child in module.modules()
        for container in (child.__dict__, *child.__dict__.values())
        if isinstance(container, (dict, list))
    ]
    try:
        yield
    finally:
        for container, saved in before:
            _restore(container, saved)


def _restore(container: Any, saved: Any) -> None:
    """Give a dict or list its saved contents again."""
    if isinstance(container, list):
        if list(map(id, container)) != list(map(id, saved)):
            container[:] = saved
    elif container.keys() != saved.keys() or any(container[key] is not value for key, value in saved.items()):
        container.clear()
        container.update(saved)


__all__ = ["Captured", "capture"]
