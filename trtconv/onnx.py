"""ONNX models, read by TensorRT's own parser, as converted modules."""

from __future__ import annotations

import dataclasses
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.build import Clock, build_plan, storages
from trtconv.calibration.ranges import check_calibration, kept_of
from trtconv.calling.signature import Signature, TensorSpec
from trtconv.default_device import default_device
from trtconv.dtypes import to_torch
from trtconv.emit.network import Network
from trtconv.errors import BuildError, ConversionError
from trtconv.module import TRTModule
from trtconv.onnx_sizes import listing, sizes_of
from trtconv.onnx_weights import with_initializers
from trtconv.options import check_compute_capabilities, check_cuda_graphs, check_flag, check_refittable, check_save
from trtconv.passes import run_graph_passes
from trtconv.passes.precision_choice import Choice, provenance_of
from trtconv.places import warn
from trtconv.progress import check_progress
from trtconv.reference import Graph
from trtconv.runtime import CudaGraphs
from trtconv.runtime.cache import Store
from trtconv.shortened import shortened
from trtconv.sizes.ranges import SizeSpec
from trtconv.tensorrt.exclusion import alone
from trtconv.tensorrt.interruptible import interruptible
from trtconv.tensorrt.logger import Messages, collect_messages, logger

Model = str | os.PathLike[str] | bytes | bytearray | memoryview


@shortened
def from_onnx(
    model: Model,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dynamic_shapes: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    precision: str | Mapping[str, str] | None = None,
    calibration: Any = None,
    tf32: bool = True,
    compute_capabilities: Sequence[str] | None = None,
    keep_network: bool = True,
    cuda_graphs: CudaGraphs = "auto",
    cache: bool | str | PathLike[str] = True,
    save: str = "all",
    refittable: bool = False,
    progress: bool | None = None,
) -> TRTModule:
    """Convert an ONNX model to a TensorRT engine and return it as a module.

    The module takes the model's inputs as tensors, in the model's order, or by name where all names can
    be those of Python arguments. It returns the output, or a tuple of the outputs in the model's order.
    ONNX's double tensors are float32 in TensorRT.

    Args:
        model: A file's path, or its content. Weights in files of their own are found beside the file.
        shapes: The shapes of inputs with dynamic dimensions, as ``{"x": (1, 3, 224, 224)}``.
        dynamic_shapes: Which of them may vary, and how far, by the names of the inputs: ``{"x": {0: (1, 8, 32)}}``, as
            for `trtconv.convert`. What is given for a dimension with a name holds for all with that name, and those
            whose name is an expression of others ("past + 1") follow from them.
        precision: As for `trtconv.convert`; patterns are over the names of the model's nodes.
        calibration: As for `trtconv.convert`, where it isn't True; a dict has the model's inputs by name.
        tf32, compute_capabilities, keep_network, cuda_graphs, cache, save, refittable, progress: As
            for `trtconv.convert`.

    Raises:
        BuildError: TensorRT's parser doesn't take the model; the message lists each error with its node.
        ConversionError: the model's shapes are not known, or depend on the values of inputs.
        OSError: the file can't be read.
        TensorRTNotFoundError: no TensorRT is installed.
        TypeError: `model` is neither a path nor bytes.
        ValueError: an option has a value that isn't allowed.
    """
    _check_readable(model)
    trt.load()
    check_flag("tf32", tf32)
    check_flag("keep_network", keep_network)
    check_refittable(refittable, keep_network)
    check_cuda_graphs(cuda_graphs)
    check_save(save, keep_network)
    check_progress(progress)
    check_compute_capabilities(compute_capabilities)
    choice = Choice.of(precision)
    check_calibration(calibration, choice)
    clock = Clock()
    with alone(), collect_messages() as messages, default_device("cpu"):
        network = _parse(model, messages)
        clock.lap("parse")
        sizes = sizes_of(_inputs(network), shapes or {}, dynamic_shapes or {})
        _set_sizes(network, sizes)
        signature = _signature(network, sizes)
        graph = network.graph()
        parsed = storages(graph.weights())  # they are the parser's
        if keep_network:
            graph = _with_initializers(graph, model)
    kept = kept_of(calibration, choice, graph, signature)
    with alone(), collect_messages() as messages, default_device("cpu"):
        graph = run_graph_passes(graph, choice, kept, clock.note)
        plan = build_plan(
            graph,
            signature,
            messages,
            clock,
            source={"onnx": _name(model), "passes": clock.take_effects(), **provenance_of(choice)},
            tf32=tf32,
            compute_capabilities=compute_capabilities,
            refittable=refittable,
            keep_network=keep_network,
            store=Store.of(cache),
            progress=progress,
            owned=parsed,
        )
    return TRTModule(plan, cuda_graphs=cuda_graphs, cache=cache, save=save)


# -- reading the model ----------------------------------------------------------------------------


class _ParsedNetwork(Network):
    """A network with the parser that fills it: the parser owns the memory of the weights."""

    def __init__(self, messages: Messages) -> None:
        super().__init__(messages)
        self.parser = trt.OnnxParser(self.definition, logger())

    def _given(self, view: torch.Tensor) -> torch.Tensor:
        return view


def _is_content(model: Any) -> bool:
    return isinstance(model, (bytes, bytearray, memoryview))


def _check_readable(model: Any) -> None:
    if _is_content(model):
        return
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(
            f"from_onnx takes a path or the bytes of a model, not a {type(model).__module__}.{type(model).__qualname__}"
            + ("; pass model.SerializeToString()" if hasattr(model, "SerializeToString") else "")
        )
    with open(model, "rb"):
        pass


def _parse(model: Any, messages: Messages) -> Network:
    network = _ParsedNetwork(messages)
    parser = network.parser

    def run() -> bool:
        return bool(parser.parse(model) if _is_content(model) else parser.parse_from_file(os.fspath(model)))

    if not interruptible(run):
        raise BuildError(_explain(model, list(_errors(parser)), messages))
    # The parser takes any bytes in which protobuf finds no fault, also those without a graph.
    if not network.definition.num_outputs:
        raise BuildError(f"{_place(model)} is no ONNX model, or one without outputs")
    if messages.errors():
        warn(f"TensorRT's parser took {_place(model)} all the same. {messages.words()}")
    return network


def _name(model: Any) -> str:
    return f"a model of {memoryview(model).nbytes} bytes" if _is_content(model) else Path(model).name


def _place(model: Any) -> str:
    return _name(model) if _is_content(model) else str(model)


def _errors(parser: Any) -> Iterator[Any]:
    return (parser.get_error(index) for index in range(parser.num_errors))


def _explain(model: Any, errors: list[Any], messages: Messages) -> str:
    lines = [f"TensorRT's parser doesn't take {_place(model)}. It reports:"]
    lines += [_describe(error) for error in errors]
    general = [error for error in errors if error.node() < 0]
    if general:
        lines.append(messages.words())
    if _is_content(model) and any(error.code() == trt.ErrorCode.INVALID_GRAPH for error in general):
        lines.append("If the model's weights are in files of their own, pass its path, not its content.")
    return "\n".join(lines)


def _describe(error: Any) -> str:
    if error.node() < 0:
        where = "the model"
    else:
        where = f"node {error.node()}, {error.node_operator()}"
        where += f" {error.node_name()!r}" if error.node_name() else " (no name)"
    called = "".join(f", in {function}" for function in error.local_function_stack())
    words = error.desc().replace("\n", "\n    ")
    return f"  {where}{called}: {error.code().name} in {error.func()}: {words}"


def _with_initializers(graph: Graph, model: Any) -> Graph:
    if _is_content(model):
        return with_initializers(graph, memoryview(model).cast("B"))
    with open(model, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        view = memoryview(content)
        try:
            return with_initializers(graph, view)
        finally:
            view.release()


# -- shapes ---------------------------------------------------------------------------------------


def _inputs(network: Network) -> list[Any]:
    return [network.definition.get_input(index) for index in range(network.definition.num_inputs)]


def _outputs(network: Network) -> list[Any]:
    return [network.definition.get_output(index) for index in range(network.definition.num_outputs)]


def _set_sizes(network: Network, sizes: Sequence[tuple[SizeSpec, ...]]) -> None:
    """Give the inputs their sizes; TensorRT infers all others from them."""
    for tensor, shape in zip(_inputs(network), sizes, strict=True):
        built = tuple(size if isinstance(size, int) else -1 for size in shape)
        if built != tuple(tensor.shape):
            tensor.shape = built


# -- the signature --------------------------------------------------------------------------------


def _signature(network: Network, sizes: Sequence[tuple[SizeSpec, ...]]) -> Signature:
    values = [tensor.name for tensor in _inputs(network) if tensor.is_shape_tensor]
    if values:
        raise ConversionError(
            f"shapes in the model depend on the values of {values}; trtconv takes models whose shapes follow from "
            "those of the inputs: make these inputs constants of the model"
        )
    inputs = [
        dataclasses.replace(_spec(network, tensor), shape=shape)
        for tensor, shape in zip(_inputs(network), sizes, strict=True)
    ]
    try:
        outputs = [_spec(network, tensor) for tensor in _outputs(network)]
    except BuildError as error:
        raise BuildError(
            f"the model doesn't take inputs of these shapes, {listing(_inputs(network))}: {error}"
        ) from error
    open_ended = [f"{spec.name!r}: {spec}" for spec in outputs if -1 in spec.shape]
    if open_ended and all(spec.is_static for spec in inputs):
        raise ConversionError(
            f"the shapes of outputs depend on values: {', '.join(open_ended)} (-1 for a size that isn't known); "
            "trtconv takes models whose shapes follow from those of the inputs"
        )
    # How they follow from those of the inputs is TensorRT's business.
    outputs = [dataclasses.replace(each, shape=tuple("?" if n == -1 else n for n in each.shape)) for each in outputs]
    return Signature.of_tensors(inputs, outputs)


def _spec(network: Network, tensor: Any) -> TensorSpec:
    try:
        return TensorSpec(tensor.name, to_torch(tensor.dtype), network.built_shape(tensor))
    except TypeError as error:
        raise ConversionError(f"{tensor.name!r}: {error}") from error
