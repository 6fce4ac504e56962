"""The main function: a module in, a converted module out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.build import Clock, build_plan, storages
from trtconv.calibration.ranges import check_calibration, kept_of
from trtconv.calling.arguments import Parameters
from trtconv.calling.dynamic import DynamicShapes
from trtconv.calling.signature import Signature, TensorSpec
from trtconv.calling.structure import Structure
from trtconv.capture import capture
from trtconv.capture.forward import Captured
from trtconv.capture.kept import kept_buffers
from trtconv.capture.recorder import recording
from trtconv.capture.source import module_of, plain_inputs
from trtconv.capture.trace import is_plain
from trtconv.default_device import default_device
from trtconv.emit import registry
from trtconv.emit.emitter import emit
from trtconv.errors import ConversionError
from trtconv.module import TRTModule
from trtconv.options import (
    ConstantValues,
    check_compute_capabilities,
    check_cuda_graphs,
    check_flag,
    check_names,
    check_refittable,
    check_save,
)
from trtconv.passes import run_graph_passes, run_trace_passes
from trtconv.passes.precision_choice import Choice, provenance_of
from trtconv.plan import own_copy
from trtconv.progress import check_progress
from trtconv.runtime import CudaGraphs
from trtconv.runtime.cache import Store
from trtconv.shortened import shortened
from trtconv.sizes import Size, expression, is_static
from trtconv.sizes.ranges import Range
from trtconv.sizes.symbols import readable
from trtconv.tensorrt.exclusion import alone
from trtconv.tensorrt.logger import collect_messages


@shortened
@torch.inference_mode(False)
def convert(
    module: torch.nn.Module | Callable[..., Any] | torch.export.ExportedProgram,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_shapes: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    constant_values: Mapping[str, Any] | None = None,
    precision: str | Mapping[str, str] | None = None,
    calibration: Any = None,
    state: Sequence[str] = (),
    tf32: bool = True,
    compute_capabilities: Sequence[str] | None = None,
    keep_network: bool = True,
    cuda_graphs: CudaGraphs = "auto",
    cache: bool | str | PathLike[str] = True,
    save: str = "all",
    refittable: bool = False,
    progress: bool | None = None,
) -> TRTModule:
    """Convert a module to a TensorRT engine and return it as a module.

    Args:
        module: The module, in eval mode, or a function, a method of a module or an exported program. Nothing of it is
            changed. What torch.compile made is converted as what it was made of.
        args: Example inputs: a tensor, or a tuple or list of positional arguments. They may be nested in
            tuples, lists and dicts. Their shapes and dtypes are those that the result takes.
        kwargs: Example keyword arguments.
        input_names: Names of the engine's inputs, one for each tensor in `args` and `kwargs`, in order.
            By default input_0, input_1, ...
        output_names: Names of the engine's outputs, one for each tensor in the result, in order. By
            default output_0, output_1, ...
        dynamic_shapes: For parameters of the module's forward by name, nested as their values, which sizes of
            a tensor may vary: ``{"x": {0: Dim(min=1, opt=8, max=32), 2: (224, 224, 640)}}``. A size is a
            `trtconv.Dim`, a tuple (min, opt, max) or a `torch.export.Dim`. Equal names are equal sizes. For a tensor
            there may also be its least, best and largest shape: ``{"x": ((1, 3, 224, 224), (8, 3, 224, 224),
            (32, 3, 640, 640))}``. Dimensions given for a container are those of all tensors in it. A list of such
            dicts makes an optimization profile of each, and a call may have the sizes of any.
            `trtconv.infer_dynamic_shapes` finds the ranges in a data set.
        constant_values: For lines where Python reads the value of a tensor that depends on an input:
            "file.py:line" -> the value that it always has. Errors name the lines.
        precision: In which type to compute: "fp16" or "bf16" where that keeps the answers, and float32 where it
            doesn't, or "fp32". By default layers have the types that the module gives them. Arguments and results keep
            their dtypes, and what the module itself computes in half precision, or casts to float32, stays so. A dict
            gives types by patterns over module paths and torch functions, of which the last that matches counts:
            ``{"default": "fp16", "layer4.*": "fp32", "torch.softmax": "fp32"}``. `TRTModule.precision_report` says
            which layer computes in which type, and why.
        calibration: Inputs that the network is run on once, by the interpreter, to find what leaves the range of
            `precision` or loses its digits in it: that stays in fp32. A DataLoader, a data set, a tensor of samples,
            `trtconv.calibration.pictures(folder, transform)`, or anything else that gives what the module is called
            with, or single items of a batch; labels are left out. `trtconv.calibration.samples` says all of it. True
            stands for the example inputs.
        state: The buffers that calls are to keep, by their names: what a call writes to them, or puts in their place,
            the next one finds. They are buffers of the result under the same names; others may only be read.
            `TRTModule.reset_state` gives them the contents again that they have now.
        tf32: Let fp32 convolutions and products round their factors to TensorFloat-32 on the GPU, as PyTorch's
            convolutions do by default: a relative error of 3e-4 to 8e-4 a layer. False computes them in fp32, as
            exactly as PyTorch does without TensorFloat-32, and slowly on TensorRT-RTX, which has no kernels for it.
            A `PrecisionWarning` names the layers that it has no effect on, and why.
        compute_capabilities: For TensorRT-RTX: the GPUs to build for, as ``["8.6", "12.0"]``. By default
            8.0, 8.6, 8.9, 12.0 and 12.1.
        keep_network: Keep the network in the result and in what is saved of it, so that it also runs where
            the engine can't. It takes as much room as the engine.
        cuda_graphs: When calls on a GPU are captured in CUDA graphs, which take the host a few microseconds where an
            engine takes hundreds: "auto" where a call comes a second time with the same shapes on the same stream,
            True at the first, False never. `TRTModule.cuda_graphs` changes it later.
        cache: Where engines, and the kernels that TensorRT-RTX compiles for a GPU, are kept for other processes: True
            for the default folder (`trtconv.runtime.cache.folder()`), a path for another, False for none.
        save: What is saved of the result: "all", or only the "network", of which the engine is built at the first use
            after a load: half as many bytes.
        refittable: Build an engine that takes new weights: `TRTModule.update_weights` then changes those of the engine
            in place of building another. Such an engine may be slower, and isn't built everywhere: TensorRT-RTX needs
            a CUDA driver for it.
        progress: Show a bar while TensorRT builds: None where somebody looks, on a terminal and in a notebook, True
            always, False never.

    Returns: A `TRTModule` that is called like `module`.

    Raises:
        ConversionError: the module can't be converted; its subclasses in `trtconv.errors` say why.
        TensorRTNotFoundError: no TensorRT is installed.
        TypeError: an option doesn't exist, or the arguments don't fit the module's forward.
        ValueError: an option has a value that isn't allowed; a pattern of `precision` matches nothing.
    """
    trt.load()
    check_names("input_names", input_names)
    check_names("output_names", output_names)
    check_flag("tf32", tf32)
    check_flag("keep_network", keep_network)
    check_refittable(refittable, keep_network)
    check_cuda_graphs(cuda_graphs)
    check_save(save, keep_network)
    check_progress(progress)
    check_compute_capabilities(compute_capabilities)
    choice = Choice.of(precision)
    check_calibration(calibration, choice, has_example=True)
    constants = ConstantValues(constant_values)
    module = module_of(module)
    parameters = Parameters.of(module)
    args, kwargs = plain_inputs(*parameters.bind(_as_tuple(args), kwargs or {}))
    arguments, _ = Structure.of(parameters.with_defaults(args, kwargs), "the example input")
    dynamic = DynamicShapes(dynamic_shapes, parameters.named(args, kwargs))
    kept = kept_buffers(module, state)
    clock = Clock()
    with recording(module) as recorder:
        captured = capture(
            module,
            args,
            kwargs,
            takes=registry.takes,
            whole_functions=registry.users_functions(),
            constant_values=constants,
            shapes=dynamic.sizes,
            state=kept,
        )
        constants.check_used()
        with default_device("cpu"), recorder.watching():
            trace = run_trace_passes(captured.trace, clock.note)
        clock.lap("capture")
        names = [*_names("input_names", input_names, len(trace.inputs) - len(kept), "input"), *kept]
        results = len(trace.outputs) - len(captured.written_inputs)
        out_names = [
            *_names("output_names", output_names, results, "output"),
            *(f"{names[index]}.written" for index in captured.written_inputs),
        ]
        _check_distinct([*names, *out_names])
        signature = _signature(parameters, arguments, captured, names, out_names, len(kept))
        calls = Counter(call.origin.module for call in trace.calls)
        with alone(), collect_messages() as messages, default_device("cpu"), recorder.watching():
            graph = emit(trace, names, out_names, messages, captured.returned)
        graph = recorder.with_recipes(graph)
    del captured, trace, recorder  # the graph has what it needs of their weights
    in_float32 = kept_of(calibration, choice, graph, signature, kept, (args, kwargs))
    with alone(), collect_messages(), default_device("cpu"):
        graph = run_graph_passes(graph, choice, in_float32, clock.note)
    clock.lap("emit")
    with alone(), collect_messages() as messages, default_device("cpu"):
        plan = build_plan(
            graph,
            signature,
            messages,
            clock,
            source={
                "module": f"{type(module).__module__}.{type(module).__qualname__}",
                "calls": sum(calls.values()),
                "calls_by_module": dict(calls),
                "passes": clock.take_effects(),
                **provenance_of(choice),
            },
            tf32=tf32,
            compute_capabilities=compute_capabilities,
            refittable=refittable,
            keep_network=keep_network,
            store=Store.of(cache),
            progress=progress,
            owned=_storages(module),
        )
    plan.state = {name: own_copy(buffer) for name, buffer in kept.items()}
    result = TRTModule(plan, cuda_graphs=cuda_graphs, cache=cache, save=save)
    result.put_state(kept)
    return result


def _storages(module: torch.nn.Module) -> frozenset[int]:
    """The addresses of a module's weights."""
    weights = filter(is_plain, (*module.parameters(), *module.buffers()))
    return storages(each for each in weights if each.layout is torch.strided)


def _as_tuple(args: Any) -> tuple[Any, ...]:
    return tuple(args) if isinstance(args, (tuple, list)) else (args,)


def _names(option: str, given: Sequence[str] | None, count: int, stem: str) -> list[str]:
    if given is None:
        return [f"{stem}_{index}" for index in range(count)]
    if len(given) != count:
        raise ValueError(
            f"{option}={given!r}: {len(given)} names for {count} {stem} tensor{'s' * (count != 1)}; each takes one"
        )
    return list(given)


def _check_distinct(names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1 or not name})
    if repeated:
        raise ValueError(f"input_names and output_names must be distinct and not empty; {repeated} are not")


def _signature(
    parameters: Parameters,
    arguments: Structure,
    captured: Captured,
    input_names: list[str],
    output_names: list[str],
    kept: int,
) -> Signature:
    trace = captured.trace
    if not trace.outputs:
        raise ConversionError("the module returns no tensor, and writes to none of its inputs")
    taken = [_spec(n, value, captured) for n, value in zip(input_names, trace.inputs, strict=True)]
    inputs = len(taken) - kept
    return Signature(
        parameters=parameters,
        arguments=arguments,
        inputs=tuple(
            dataclasses.replace(spec, shape=shape) for spec, shape in zip(taken[:inputs], captured.sizes, strict=True)
        ),
        result=captured.result,
        outputs=tuple(_spec(n, value, captured) for n, value in zip(output_names, trace.outputs, strict=True)),
        written_inputs=captured.written_inputs,
        state=tuple(taken[inputs:]),
    )


def _spec(name: str, value: torch.Tensor, captured: Captured) -> TensorSpec:
    """What a tensor of the trace is outside: a range for a symbol, the text of any other expression."""

    def outside(size: Size) -> int | Range | str:
        if is_static(size):
            return int(expression(size))
        known = (
            limits for symbol, limits in captured.ranges.items() if expression(size) == symbol * limits.multiple_of
        )
        return next(known, None) or readable(expression(size), captured.ranges)

    return TensorSpec(name, value.dtype, tuple(outside(size) for size in value.shape))
