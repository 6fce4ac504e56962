"""Compute in half precision what loses nothing by it, and the rest in float32.

TensorRT 11 and TensorRT-RTX compute each layer in the type that the network says. This pass decides for each layer of a
float32 network, by the table of `precision_rules`, by what the user asks for and by what stays for other reasons, and
`precision_casts` writes it down. The network's inputs and outputs keep their types, and so does what the module itself
computes in another type: what follows a cast from half precision to float32 is meant to be in float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch

from trtconv.graph.data import DataType, Graph, Layer
from trtconv.graph.index import makers_of, readers_of
from trtconv.graph.order import in_order
from trtconv.passes.precision_casts import with_types
from trtconv.passes.precision_choice import NAMES, Choice
from trtconv.passes.precision_constants import HALVES, is_too_large, misfit
from trtconv.passes.precision_rules import ARITHMETIC, OWN_TYPE, SUMS_OF_PRODUCTS, Rule, Way, operation, rule_of
from trtconv.passes.precision_scores import has_small_heads, scale_scores_before_products


@dataclasses.dataclass(frozen=True)
class Assignment:
    """In which type each layer with float32 tensors computes, and why; both by its name."""

    types: Mapping[str, DataType]
    reasons: Mapping[str, str]


def prepared(graph: Graph, choice: Choice) -> Graph:
    """The float32 graph in the form in which it keeps its answers best: exact where nothing is rounded.

    What is kept in float32 is named by the layers of this graph; preparing it again leaves it as it is.

    Raises: as `use_precision`.
    """
    types = choice.types(graph)
    return scale_scores_before_products(graph, {name for name, (dtype, _) in types.items() if dtype is DataType.HALF})


def use_precision(graph: Graph, choice: Choice, kept: Mapping[str, str] | None = None) -> Graph:
    """The graph with the types that were chosen; its notes say of each layer for what reason.

    Raises:
        ValueError: a pattern of the choice matches no layer.
    """
    graph = prepared(graph, choice)
    assignment = assign(graph, choice, kept)
    return dataclasses.replace(with_types(graph, assignment.types), notes=assignment.reasons)


def assign(graph: Graph, choice: Choice, kept: Mapping[str, str] | None = None) -> Assignment:
    """Decide in which type each layer computes; the graph has its float32 form.

    Raises: as `use_precision`.
    """
    return _Deciding(graph, choice, kept or {}).assignment()


class _Deciding:
    """Layers are decided in the order of their data, then some once more in view of what reads them.

    Three properties of tensors pass from layer to layer: `_wide` ones may be larger than half precision holds;
    `_explicit` ones were cast to float32 by the module; `_unsettled` ones are steps of a formula, statistics for one,
    which have to keep their digits until it is complete.
    """

    def __init__(self, graph: Graph, choice: Choice, kept: Mapping[str, str]) -> None:
        self.graph, self.kept = graph, kept
        self.order = in_order(graph.layers)
        self.makers = makers_of(graph.layers)
        self.readers = readers_of(graph.layers)
        self.allowed = choice.types(graph)
        self.types: dict[str, DataType] = {}
        self.reasons: dict[str, str] = {}
        self._free: dict[str, bool] = {}
        self._scores: set[str] = set()
        self._moved: set[str] = set()
        self._steps: set[str] = set()
        self._wide: set[str] = set()
        self._explicit: set[str] = set()
        self._unsettled = {name for name in graph.inputs if self.is_float(name)}

    def assignment(self) -> Assignment:
        for layer in self.order:
            if self.concerns(layer):
                self._decide(layer)
        # What a layer's readers decide, from the last to the first.
        for layer in reversed(self.order):
            if layer.name in self.types:
                self._pull(layer)
        for layer in reversed(self.order):
            if layer.name in self.types or self.is_free(layer):
                self._give_way(layer)
        return Assignment(self.types, self.reasons)

    # -- what layers are ------------------------------------------------------------------------

    def is_float(self, name: str | None) -> bool:
        return name is not None and self.graph.tensors[name].dtype is DataType.FLOAT

    def operands(self, layer: Layer) -> list[str]:
        """The float32 tensors that a layer reads in the type that it computes in."""
        own = OWN_TYPE.get(layer.type, ())
        return [str(name) for place, name in enumerate(layer.inputs) if place not in own and self.is_float(name)]

    def concerns(self, layer: Layer) -> bool:
        """Whether a layer computes with float32 tensors; casts and constants are what others need."""
        if layer.type in ("CAST", "CONSTANT"):
            return layer.type == "CAST" and (self.is_float(layer.inputs[0]) or self.is_float(layer.outputs[0]))
        return bool(self.operands(layer)) or any(map(self.is_float, layer.outputs))

    def constant(self, name: str) -> torch.Tensor | None:
        """The values of a tensor that is a constant, or a constant moved."""
        maker = self.makers.get(name)
        while maker is not None and maker.type in ("SHUFFLE", "SQUEEZE", "UNSQUEEZE", "IDENTITY"):
            maker = self.makers.get(str(maker.inputs[0]))
        return maker.attributes["weights"] if maker is not None and maker.type == "CONSTANT" else None

    def is_free(self, layer: Layer) -> bool:
        """Whether a layer makes a float32 tensor in either type alike: small integers, constants that are moved."""
        if layer.name not in self._free:
            self._free[layer.name] = self._is_free(layer)
        return self._free[layer.name]

    def _is_free(self, layer: Layer) -> bool:
        if layer.type == "CONSTANT":
            return False
        if layer.type == "CAST":
            source = self.graph.tensors[str(layer.inputs[0])].dtype
            return source in (DataType.BOOL, DataType.UINT8, DataType.INT8) and self.is_float(layer.outputs[0])
        if rule_of(layer).way is not Way.MOVES or layer.type == "GATHER" or layer.name in self.kept:
            return False  # of a table the rows that are read have half the bytes
        operands = self.operands(layer)
        return bool(operands) and all(self.is_neutral(name) for name in operands)

    def is_neutral(self, name: str) -> bool:
        """Whether a tensor is had in either type."""
        maker = self.makers.get(name)
        return maker is not None and (maker.type == "CONSTANT" or self.is_free(maker))

    def numbers(self, layer: Layer) -> list[str]:
        """The operands that aren't to be had in either type."""
        return [name for name in self.operands(layer) if not self.is_neutral(name)]

    def is_half(self, name: str) -> bool:
        """Whether the layer that makes a tensor was given half precision."""
        maker = self.makers.get(name)
        return maker is not None and self.types.get(maker.name) in HALVES

    def is_bias(self, layer: Layer) -> bool:
        """Whether a layer adds a constant to a sum of products: kernels do both at once."""
        if operation(layer) != "ELEMENTWISE.SUM":
            return False
        kinds = {self.makers[name].type for name in self.operands(layer) if name in self.makers}
        return "CONSTANT" in kinds and not kinds.isdisjoint(SUMS_OF_PRODUCTS)

    # -- deciding -------------------------------------------------------------------------------

    def _decide(self, layer: Layer) -> None:
        if layer.type == "CAST":
            self._follow_cast(layer)
            return
        if self.is_free(layer):
            return  # its readers decide
        rule = rule_of(layer)
        reason = self._why_float32(layer, rule)
        half, pattern = self.allowed[layer.name]
        if reason:
            self._set(layer, DataType.FLOAT, reason)
        elif rule.way is Way.AS_MADE:
            numbers = self.numbers(layer)
            self._set(layer, self._made(numbers[0]) if numbers else DataType.FLOAT, rule.reason)
        else:
            self._set(layer, half, rule.reason + (f" (asked for by {pattern!r})" if pattern else ""))
        self._pass_on(layer, rule)

    def _why_float32(self, layer: Layer, rule: Rule) -> str:
        """Why a layer has to compute in float32; "" if it needn't."""
        operands = self.operands(layer)
        half, pattern = self.allowed[layer.name]
        if layer.name in self.kept:
            return self.kept[layer.name]
        if half is DataType.FLOAT:
            return f"asked for by {pattern!r}" if pattern else "asked for"
        if self._explicit.intersection(operands):
            return "the module casts to float32 before it"
        if rule.way is Way.STAYS:
            return rule.reason
        if has_small_heads(layer, self.makers, self.readers, self.graph.tensors):
            return "TensorRT has no kernel for so small heads that keeps their scores in float32"
        if self._wide.intersection(operands):
            return f"it reads numbers that {NAMES[half]} can't hold"
        constants = self._why_by_constants(layer, half)
        if constants and rule.way is Way.FOLLOWS:
            self._steps.add(layer.name)
        if constants or rule.way is Way.AS_MADE:
            return constants
        if rule.way is Way.MOVES:
            return self._why_moved(layer)
        return self._why_by_formula(layer) if rule.way is Way.FOLLOWS else ""

    def _why_by_constants(self, layer: Layer, half: DataType) -> str:
        """Weights and constants that the type doesn't hold."""
        given = [value for value in layer.attributes.values() if isinstance(value, torch.Tensor)]
        given += [value for name in self.operands(layer) if (value := self.constant(name)) is not None]
        is_factor = layer.type == "SCALE" or operation(layer) in ("ELEMENTWISE.PROD", "ELEMENTWISE.DIV")
        for value in given:
            if value.is_floating_point() and (why := misfit(value, half, is_factor)):
                return why
        return ""

    def _why_moved(self, layer: Layer) -> str:
        numbers = self.numbers(layer)
        if not numbers or any(self.is_half(name) for name in numbers):
            return ""
        self._moved.add(layer.name)
        return "what it moves is in float32"

    def _why_by_formula(self, layer: Layer) -> str:
        """Whether a layer computes a step of a formula whose digits have to be kept."""
        numbers = self.numbers(layer)
        unsettled = self._unsettled.intersection(numbers)
        if unsettled and not self._adds_like_to_like(layer, numbers):
            return "it goes on with what is in float32 for its digits or range"
        if not numbers:
            return "it computes a few constants"
        if layer.type in ARITHMETIC and not self.is_bias(layer):
            if layer.origin is not None and self._in_formula(layer):
                return f"{layer.origin.function} is several layers here; they are rounded once"
            if self._is_affine(layer) or any(self._is_affine(other) for other in self._arithmetic_before(layer)):
                return "a factor and an addend that are constants: their sum may be small where both are large"
        return ""

    def _adds_like_to_like(self, layer: Layer, numbers: list[str]) -> bool:
        """Whether a layer adds what is unsettled to results in half precision of its own size, as a residual."""
        if operation(layer) != "ELEMENTWISE.SUM" or not any(self.is_half(name) for name in numbers):
            return False
        shape = self.graph.tensors[layer.outputs[0]].shape
        return all(self.graph.tensors[name].shape == shape for name in numbers)

    def _in_formula(self, layer: Layer) -> bool:
        """Whether one call became a formula of this layer and others beside it, three or more."""
        found, pending = {layer.name}, [layer]
        while pending and len(found) < _FORMULA:
            at = pending.pop()
            near = [*self._arithmetic_before(at), *self._arithmetic_after(at)]
            new = [other for other in near if other.origin == layer.origin and other.name not in found]
            found.update(other.name for other in new)
            pending += new
        return len(found) >= _FORMULA

    def _arithmetic_before(self, layer: Layer) -> Iterator[Layer]:
        for name in self.numbers(layer):
            maker = self.makers.get(name)
            if maker is not None and maker.type in ARITHMETIC and not self.is_bias(maker):
                yield maker

    def _arithmetic_after(self, layer: Layer) -> Iterator[Layer]:
        for name in layer.outputs:
            yield from (reader for reader in self.readers.get(name, ()) if reader.type in ARITHMETIC)

    def _is_affine(self, layer: Layer) -> bool:
        """Whether a layer is a product with a constant to which, and nothing else, a constant is added."""
        if operation(layer) != "ELEMENTWISE.PROD" or len(self.numbers(layer)) != 1:
            return False
        readers = self.readers.get(layer.outputs[0], [])
        if len(readers) != 1 or layer.outputs[0] in self.graph.outputs:
            return False
        return operation(readers[0]) in ("ELEMENTWISE.SUM", "ELEMENTWISE.SUB") and len(self.numbers(readers[0])) == 1

    def _follow_cast(self, layer: Layer) -> None:
        """A cast of the module's own: it stays, in front of what it is for."""
        given = str(layer.inputs[0])
        source, result = self.graph.tensors[given].dtype, self.graph.tensors[layer.outputs[0]].dtype
        if self.is_free(layer):
            return
        if source is not DataType.FLOAT:
            self._set(layer, DataType.FLOAT, "the module casts to float32")
            if source in HALVES and not self._is_given(given):
                self._explicit.add(layer.outputs[0])
            self._unsettled.add(layer.outputs[0])
        elif result in _INDICES:
            self._set(layer, DataType.FLOAT, "an integer off by one is another integer")
        else:
            self._set(layer, self._made(given), _CAST)

    def _made(self, name: str) -> DataType:
        """The type in which a float32 tensor is made."""
        maker = self.makers.get(name)
        return DataType.FLOAT if maker is None else self.types.get(maker.name, DataType.FLOAT)

    def _is_given(self, name: str) -> bool:
        """Whether a tensor is an input of the network, or one moved."""
        while (maker := self.makers.get(name)) is not None and rule_of(maker).way is Way.MOVES:
            name = str(maker.inputs[0])
        return name in self.graph.inputs

    def _set(self, layer: Layer, dtype: DataType, reason: str) -> None:
        self.types[layer.name], self.reasons[layer.name] = dtype, reason

    def _pass_on(self, layer: Layer, rule: Rule) -> None:
        """Give a layer's results the properties of its operands, as far as they hold for these."""
        operands, outputs = set(self.operands(layer)), [name for name in layer.outputs if self.is_float(name)]
        if self._explicit.intersection(operands):
            self._explicit.update(outputs)
        if self.types[layer.name] is not DataType.FLOAT:
            return
        if rule.way is Way.MOVES or layer.type in ARITHMETIC:
            half = self.allowed[layer.name][0]
            constants = [value for name in operands if (value := self.constant(name)) is not None]
            grows = operation(layer) in _WIDENING and any(is_too_large(value, half) for value in constants)
            if grows or (self._wide.intersection(operands) and operation(layer) not in _NARROWING):
                self._wide.update(outputs)
        is_step = rule.way is Way.STAYS or layer.name in self._steps or bool(self._unsettled.intersection(operands))
        if is_step and not rule.settles:
            self._unsettled.update(outputs)

    # -- in view of the readers -----------------------------------------------------------------

    def _pull(self, layer: Layer) -> None:
        """Compute in float32 the factors and differences that only statistics read, and scores before their softmax."""
        if self.types[layer.name] is DataType.FLOAT or rule_of(layer).way is not Way.FOLLOWS or self.is_bias(layer):
            return
        readers = self.readers.get(layer.outputs[0], [])
        if not readers or layer.outputs[0] in self.graph.outputs:
            return
        if any(self.types.get(reader.name) is not DataType.FLOAT for reader in readers):
            return
        if all(reader.name in self._scores or self._takes_scores(reader) for reader in readers):
            self._scores.add(layer.name)
            self._set(
                layer, DataType.FLOAT, "what comes before a softmax or an index is computed in float32, as that is"
            )
        elif operation(layer) in _PULLED and all(self._loses_by_rounding(layer, reader) for reader in readers):
            self._set(layer, DataType.FLOAT, "only what is in float32 for its digits or range reads it")

    def _loses_by_rounding(self, layer: Layer, reader: Layer) -> bool:
        """Whether a reader needs the digits or the range of a product or a difference."""
        if operation(reader) == "REDUCE.AVG" and operation(layer) == "ELEMENTWISE.PROD":
            return layer.inputs[0] == layer.inputs[1]  # a mean of squares, not one of gated activations
        return not rule_of(reader).settles

    def _takes_scores(self, layer: Layer) -> bool:
        return layer.type in ("SOFTMAX", "RAGGED_SOFTMAX") or self._makes_indices(layer)

    def _makes_indices(self, layer: Layer) -> bool:
        return layer.type == "CAST" and self.graph.tensors[layer.outputs[0]].dtype in _INDICES

    def _give_way(self, layer: Layer) -> None:
        """What is moved is cast before where all that read it are in half precision."""
        free = self.is_free(layer)
        if layer.type == "CAST" and not free and self.is_float(layer.inputs[0]):
            self.types[layer.name] = self._made(str(layer.inputs[0]))  # which may have been pulled
        if not free and layer.name not in self._moved:
            return
        readers = [reader for name in layer.outputs for reader in self.readers.get(name, ())]
        types = {self.types.get(reader.name, DataType.FLOAT) for reader in readers}
        given = any(name in self.graph.outputs for name in layer.outputs)
        if len(types) == 1 and not given and (only := types.pop()) is not DataType.FLOAT:
            self._set(layer, only, "all that read it are in half precision")
        elif free:
            self._set(layer, DataType.FLOAT, "something that reads it is in float32")


_FORMULA = 3
"""Layers of one call that are a formula."""
_CAST = "a cast of the module's own"
_INDICES = (DataType.INT32, DataType.INT64)
_PULLED = ("ELEMENTWISE.PROD", "ELEMENTWISE.SUB", "ELEMENTWISE.DIV")
"""What loses digits or leaves the range before a sum: products, quotients and differences."""
_WIDENING = ("ELEMENTWISE.PROD", "ELEMENTWISE.SUM", "ELEMENTWISE.SUB", "SELECT")
"""What gives results as large as a constant operand."""
_NARROWING = ("ELEMENTWISE.MIN", "ELEMENTWISE.DIV", "ACTIVATION.SIGMOID", "ACTIVATION.TANH", "ACTIVATION.CLIP")
