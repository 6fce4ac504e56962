"""A network definition under construction: names, origins, constants, operands."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sympy
import torch
from torch.utils._python_dispatch import _disable_current_modes

from trtconv import tensorrt as trt
from trtconv.capture.recorder import current
from trtconv.capture.trace import Call, Origin, describe, is_constant
from trtconv.dtypes import to_torch, to_trt
from trtconv.errors import BuildError, UnsupportedArgumentError
from trtconv.graph.data import Graph
from trtconv.graph.reader import read
from trtconv.sizes import Size, Sizes, is_static, settled
from trtconv.sizes.text import as_text
from trtconv.tensorrt.logger import Messages, logger, quiet

Scalar = bool | int | float


class Definition:
    """A network definition whose layers have names and origins.

    It has all that a `trt.INetworkDefinition` has. By an ``add_*`` method the layer gets a name and an origin, the
    arguments are kept alive until the build, and a refusal is an error.

    Args:
        messages: An open collector of TensorRT's messages.

    Attributes:
        definition: The `trt.INetworkDefinition`.
        call: The call under conversion.
    """

    def __init__(self, messages: Messages) -> None:
        self.builder = trt.Builder(logger())
        self.definition = self.builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self.call: Call | None = None
        self._origins: list[Origin | None] = []
        self._messages = messages
        self._tensors: dict[int, Any] = {}
        self._later: dict[int, Callable[[], Any]] = {}
        self._shapes: dict[int, tuple[Any, Sizes]] = {}
        self._constants: dict[tuple[int, int], tuple[torch.Tensor, Any]] = {}
        self._symbols: dict[sympy.Expr, tuple[Any, int]] = {}
        self._lines: dict[sympy.Expr, tuple[sympy.Expr, int, int]] = {}
        self._expressions: dict[Any, Any] = {}
        self._spans: dict[sympy.Symbol, tuple[int, int]] = {}
        self._kept: list[Any] = []
        self._weights: dict[tuple[int, int], torch.Tensor] = {}
        self._names: dict[str, int] = {}

    # -- the call under conversion --------------------------------------------------------------

    @contextmanager
    def converting(self, call: Call) -> Iterator[None]:
        """Attribute the layers added in this context to a call."""
        self._origins += [None] * (self.definition.num_layers - len(self._origins))
        self.call = call
        try:
            yield
        finally:
            self.call = None
            self._origins += [call.origin] * (self.definition.num_layers - len(self._origins))

    @property
    def target(self) -> Any:
        """What the call under conversion calls."""
        assert self.call is not None
        return self.call.target

    @property
    def output(self) -> torch.Tensor:
        """The first tensor of the call's result, for its shape and dtype."""
        assert self.call is not None
        return self.call.output_tensors()[0]

    def bind(self, value: torch.Tensor, tensor: Any) -> None:
        """Say which TensorRT tensor carries an activation."""
        self._tensors[id(value)] = tensor
        self.known(tensor, value.shape)

    def is_given(self, value: torch.Tensor) -> bool:
        """Whether an activation has a TensorRT tensor, or is going to have one as soon as it is used."""
        return id(value) in self._tensors or id(value) in self._later

    def bind_later(self, value: torch.Tensor, make: Callable[[], Any]) -> None:
        """Say what adds the layers of an activation, if anything comes to use it."""
        self._later[id(value)] = make

    def known(self, tensor: Any, shape: Sequence[Size]) -> Any:
        """Say which shape a TensorRT tensor has, so that its dynamic sizes are known as symbols."""
        self._shapes[id(tensor)] = (tensor, settled(shape))
        return tensor

    def bound(self, value: torch.Tensor) -> Any:
        """The TensorRT tensor of an activation, or None."""
        return self._tensors.get(id(value))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "definition":
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        found = getattr(self.definition, name)
        return functools.partial(self._add, found) if name.startswith("add_") else found

    def _add(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # trt.Weights points to the caller's memory and doesn't own it.
        self._kept.append((args, kwargs))
        result = method(*args, **kwargs)
        if result is None:
            raise self._refused(f"{method.__name__} returned nothing")
        if hasattr(result, "num_outputs"):
            self._name(result)
        return result

    def _name(self, layer: Any) -> None:
        origin = self.call.origin if self.call else Origin("", "", 0, "")
        stem = ".".join(filter(None, (origin.module, origin.function.rpartition(".")[2] or layer.type.name.lower())))
        count = self._names[stem] = self._names.get(stem, -1) + 1
        layer.name = f"{stem}_{count}" if count else stem

    def _refused(self, what: str) -> BuildError:
        where = f"{self.call.origin}: {describe(self.call)}: " if self.call else ""
        return BuildError(f"{where}{what}. {self._messages.words()}")

    def graph(self) -> Graph:
        """The network as plain data, with the origins of its layers and the symbols in its sizes.

        It is whole then: nothing may be added. Weights are those that the definition was given, not copies, where these
        are tensors.
        """
        self._later.clear()  # they hold this object, which would live on with all weights
        with quiet(), _disable_current_modes():  # views of weights compute nothing that a mode should see
            graph = read(self.definition, copy=False)
            graph.map_weights(self._given)
        origins = itertools.chain(self._origins, itertools.repeat(None))
        layers = [dataclasses.replace(layer, origin=each) for layer, each in zip(graph.layers, origins, strict=False)]
        sizes = {
            tensor.name: as_text(shape) for tensor, shape in self._shapes.values() if not all(map(is_static, shape))
        }
        return dataclasses.replace(graph, layers=tuple(layers), sizes=sizes)

    def _given(self, view: torch.Tensor) -> torch.Tensor:
        if not view.numel():
            return view.clone()
        given, recorder = self._weights.get((view.data_ptr(), view.nbytes)), current()
        if given is None and recorder is not None:
            given = recorder.owner(view)
        return view.clone() if given is None else given.view(view.dtype).reshape(view.shape)

    # -- operands -------------------------------------------------------------------------------

    def tensor(self, x: Any, dtype: torch.dtype | None = None, rank: int | None = None) -> Any:
        """The TensorRT tensor of an operand, cast to `dtype` and with 1s put before its shape up to `rank`."""
        if is_constant(x):
            return self._constant_of(x, dtype or x.dtype, rank if rank is not None else x.dim())
        if isinstance(x, torch.Tensor) and id(x) in self._later:
            self.bind(x, self._later.pop(id(x))())
        result = self._tensors.get(id(x)) if isinstance(x, torch.Tensor) else x
        if result is None:
            raise UnsupportedArgumentError("it uses a result that the converter of the call before doesn't give")
        if dtype is not None and self.dtype(result) is not dtype:
            result = self.known(self.add_cast(result, to_trt(dtype)).get_output(0), self.shape(result))
        if rank is not None:
            shape = self.shape(result)
            if rank > len(shape):
                result = self._with_leading_ones(result, rank)
        return result

    def _with_leading_ones(self, tensor: Any, rank: int) -> Any:
        shape = self.shape(tensor)
        layer = self.add_shuffle(tensor)
        missing = rank - len(shape)
        # 0 copies the size of the same place, so the dynamic ones are shifted by a transposition.
        if all(map(is_static, shape)):
            layer.reshape_dims = (1,) * missing + shape
        else:
            layer.reshape_dims = (*(0,) * len(shape), *(1,) * missing)
            layer.second_transpose = (*range(len(shape), rank), *range(len(shape)))
        return self.known(layer.get_output(0), (1,) * missing + shape)

    def constant(self, value: torch.Tensor) -> Any:
        """A constant layer with the values of a real tensor."""
        value = self._keep(value)
        data_type = to_trt(value.dtype)
        if value.numel() == 0:
            weights = trt.Weights(data_type)
        else:
            weights = trt.Weights(data_type, value.data_ptr(), value.numel())
        return self.known(self.add_constant(tuple(value.shape), weights).get_output(0), value.shape)

    def weights(self, value: torch.Tensor | None) -> Any:
        """The `trt.Weights` over a real tensor's values; empty ones for None."""
        if value is None:
            return trt.Weights()
        value = self._keep(value)
        return trt.Weights(to_trt(value.dtype), value.data_ptr(), value.numel())

    def _keep(self, value: torch.Tensor) -> torch.Tensor:
        """The values in memory that stays as it is."""
        kept = value.detach().cpu().contiguous()
        self._weights[kept.data_ptr(), kept.nbytes] = kept
        return kept

    def _constant_of(self, x: torch.Tensor, dtype: torch.dtype, rank: int) -> Any:
        key = (id(x), rank)
        _, cached = self._constants.get(key, (x, None))
        if cached is None or self.dtype(cached) is not dtype:
            value = x.detach().to(dtype)
            cached = self.constant(value.reshape((1,) * (rank - value.dim()) + tuple(value.shape)))
            self._constants[key] = x, cached
        return cached

    def scalar(self, value: Scalar, dtype: torch.dtype, rank: int = 0) -> Any:
        """A constant of shape (1, ..., 1)."""
        return self.constant(torch.full((1,) * rank, value, dtype=dtype))

    def operands(self, *values: Any, dtype: torch.dtype) -> list[Any]:
        """TensorRT tensors of one dtype and one rank, as layers with several inputs want them."""
        rank = max([len(self.shape(x)) for x in values if not isinstance(x, Scalar)], default=0)
        return [self.scalar(x, dtype, rank) if isinstance(x, Scalar) else self.tensor(x, dtype, rank) for x in values]

    def shape(self, x: Any) -> Sizes:
        """The shape of an operand, symbols where it is dynamic."""
        if isinstance(x, torch.Tensor):
            return settled(x.shape)
        if id(x) in self._shapes:
            return self._shapes[id(x)][1]
        shape = self.built_shape(x)
        if -1 in shape:
            raise BuildError(
                f"a converter adds a layer whose result has dynamic sizes, {list(shape)}, and doesn't say which; "
                "it has to call net.known(tensor, shape)"
            )
        return shape

    def built_shape(self, tensor: Any) -> tuple[int, ...]:
        """The shape that TensorRT infers for a tensor, -1 where it is dynamic."""
        try:
            return tuple(tensor.shape)
        except RuntimeError as error:  # TensorRT infers shapes when they are read
            raise self._refused("a layer doesn't take these inputs") from error

    def dtype(self, x: Any) -> torch.dtype:
        """The torch dtype of an operand."""
        return x.dtype if isinstance(x, torch.Tensor) else to_torch(x.dtype)
