"""Which layers a half-precision type is too small or too coarse for, by what a network computes on samples.

One run in float32 tells for each layer what would go wrong in a type T, of which u = 2^-11 (fp16) or 2^-8 (bf16) is
the largest relative error of rounding:

- **Overflow**: a magnitude beyond a half of T's largest number, the rest being left to data that weren't seen. Of
  products, and of sums and means, the sum of the magnitudes counts, sum |a| |b|: kernels may add up in T.
- **Subnormals**: numbers below T's smallest normal one have fewer digits, or become 0. They count where rounding a
  whole tensor costs `BITS` bits more than its digits do, and where one divides by them or takes their logarithm.
- **Cancelling sums**: rounding the terms x_i of a sum y changes y by about u sqrt(sum x_i^2) (N. J. Higham, Accuracy
  and Stability of Numerical Algorithms, 2nd edition, section 4.2, for errors that are independent). They count where
  that is more than `BITS` bits beyond u |y|, over a whole tensor: the terms, and what makes them, stay in fp32.
- **Exponents**: a softmax turns the absolute error u |x| of a logit into a relative one. It counts where logits that
  differ by little, so that their order matters, are wrong by more than `LOGIT_ERROR`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trtconv.calibration.observing import Observer, State, observe
from trtconv.calibration.samples import check_data, example_samples, samples
from trtconv.calibration.work import terms_of
from trtconv.calling.signature import Signature
from trtconv.default_device import default_device
from trtconv.graph.data import DataType, Graph, Layer
from trtconv.graph.index import makers_of, readers_of
from trtconv.passes.precision import prepared
from trtconv.passes.precision_choice import NAMES, Choice
from trtconv.reference.layers.registry import Kernel, axes_of, prepare
from trtconv.tensorrt.exclusion import alone

BITS = 3
"""How many bits a tensor may lose beyond the digits that the type has."""
LOGIT_ERROR = 1 / 8
"""How far a logit may be off in a softmax."""
MARGIN = 2
"""How many times larger the numbers of other data may be."""

_MOVES = {"CAST", "CONCATENATION", "GATHER", "IDENTITY", "PADDING", "REVERSE_SEQUENCE", "SELECT", "SHUFFLE", "SLICE"}
_MOVES |= {"ATTENTION_OUTPUT", "SQUEEZE", "UNSQUEEZE", "LOOP_OUTPUT", "CONDITIONAL_OUTPUT", "RECURRENCE", "ITERATOR"}
_MOVES |= {"ELEMENTWISE", "SCALE"}
"""Layers that hand on what they get, and its errors with it: moved, scaled or added to something."""
_ROUNDING = 2.1e-4
"""The usual relative error of a tensor that is rounded to fp16: 2^-11 / sqrt(3), over a mantissa's mean of 1.4."""


def find_ranges(
    graph: Graph, calls: Iterable[Sequence[Tensor]], state: State | None = None, device: torch.device | None = None
) -> Ranges:
    """What a network in fp32 computes on the inputs of calls; arguments and errors as for `observe`."""
    observer = _RangeObserver(graph)
    count = observe(graph, calls, [observer], state, device)
    measures = {key: float(value) for key, value in observer.measures.items()}
    return Ranges(graph, count, measures)


def kept_of(
    calibration: Any,
    choice: Choice | None,
    graph: Graph,
    signature: Signature,
    state: Mapping[str, Tensor] | None = None,
    example: tuple[tuple[Any, ...], dict[str, Any]] | None = None,
) -> dict[str, str] | None:
    """The layers that the options `calibration` and `precision` of a conversion keep in fp32, each with the reason.

    Args:
        graph: The network before `precision` changes it.
        state: The buffers that calls read and write, by their names.
        example: The conversion inputs, (args, kwargs), which True stands for.

    Raises: as `find_ranges` and `trtconv.calibration.samples`.
    """
    if calibration is None or choice is None or {choice.default, *dict(choice.patterns).values()} == {DataType.FLOAT}:
        return None
    with alone(), default_device("cpu"):
        graph = prepared(graph, choice)
    calls: Iterable[Sequence[Tensor]]
    if calibration is True and example is not None:
        calls = example_samples(signature, *example)
    else:
        calls = samples(calibration, signature)
    return find_ranges(graph, calls, State.of(signature, state or {})).kept(choice)


def check_calibration(calibration: Any, choice: Choice | None, has_example: bool = False) -> None:
    """Raise unless an option `calibration` is data, or nothing, or the example inputs, and something uses it.

    Raises:
        TypeError: it gives no samples.
        ValueError: nothing uses it.
    """
    if calibration is None:
        return
    if choice is None:
        raise ValueError('calibration has no effect without precision: add precision="fp16" or "bf16"')
    if not (calibration is True and has_example):
        check_data(calibration)


@dataclasses.dataclass(frozen=True)
class Ranges:
    """What was seen of a network.

    Attributes:
        graph: The network.
        samples: How many samples it ran on.
        measures: For a kind of measure and the name of a tensor, or of a layer, the worst of all samples.
    """

    graph: Graph
    samples: int
    measures: Mapping[tuple[str, str], float]

    def kept(self, choice: Choice) -> dict[str, str]:
        """The layers that can't do with the type that was chosen for them, and why; both for the pass on precision.

        Raises:
            ValueError: a pattern of the choice matches no layer.
        """
        concerned = _Concerned(self.graph)
        types = {name: dtype for name, (dtype, _) in choice.types(self.graph).items() if dtype is not DataType.FLOAT}
        reasons: dict[str, str] = {}
        for (kind, name), value in self.measures.items():
            for layer in concerned.by(kind, name):
                dtype = types.get(layer)
                reason = "" if dtype is None else _TELL[kind](value, torch.finfo(dtype.carrier), NAMES[dtype])
                if reason:
                    reasons.setdefault(
                        layer, reason if kind in _OF_TENSORS or layer == name else f"read by {name!r}: {reason}"
                    )
        return reasons


class _Concerned:
    """Which layers of a graph a measure is about."""

    def __init__(self, graph: Graph) -> None:
        self._layers = {layer.name: layer for layer in graph.layers}
        self._makers = makers_of(graph.layers)
        self._readers = readers_of(graph.layers)

    def by(self, kind: str, name: str) -> list[str]:
        """The names of the layers that a measure of a tensor, or of a layer, is about."""
        if kind in _OF_TENSORS:
            maker = self._makers.get(name)
            found = [*([] if maker is None else [maker]), *self._readers.get(name, ())]
        else:
            layer = self._layers[name]
            found = [layer, *self._made_for(layer)] if kind in _OF_TERMS else [layer]
        # Both ends of an attention have one type.
        ends = [end for each in found if each.type == "ATTENTION_INPUT" for end in self._readers[each.outputs[0]]]
        return [each.name for each in (*found, *ends)]

    def _made_for(self, layer: Layer) -> list[Layer]:
        """The layers that compute what a layer reads, moved or scaled on the way."""
        pending, found = [*layer.inputs], dict[str, Layer]()
        while pending:
            maker = self._makers.get(str(pending.pop()))
            if maker is not None and maker.name not in found and maker.type != "CONSTANT":
                found[maker.name] = maker
                pending += maker.inputs if maker.type in _MOVES else ()
        return list(found.values())


# -- what a measure tells ------------------------------------------------------------------------


def _overflow(what: str) -> Callable[[float, torch.finfo, str], str]:
    def tell(value: float, limits: torch.finfo, name: str) -> str:
        if value * MARGIN <= limits.max:
            return ""
        return f"{what} reach {value:.3g}; {name} ends at {limits.max:.3g}"

    return tell


def _lost(value: float, limits: torch.finfo, name: str) -> str:
    if name != "fp16" or value <= _ROUNDING * 2**BITS:
        return ""
    return f"numbers too small for fp16: rounding them is an error of {value:.1%}"


def _cancelled(value: float, limits: torch.finfo, name: str) -> str:
    return f"terms that cancel: {math.log2(value):.1f} bits are lost" if value > 2**BITS else ""


def _logits(value: float, limits: torch.finfo, name: str) -> str:
    error = value * limits.eps / 2
    return f"logits of {value:.3g}: {name} is wrong there by {error:.2g}" if error > LOGIT_ERROR else ""


def _divisor(value: float, limits: torch.finfo, name: str) -> str:
    return f"divides by, or takes the logarithm of, {value:.2g}: too small for {name}" if value < limits.tiny else ""


def _whole(value: float, limits: torch.finfo, name: str) -> str:
    exact = 2 / limits.eps
    return f"whole numbers up to {value:.0f}; {name} has all of them up to {exact:.0f} only" if value > exact else ""


_TELL: Mapping[str, Callable[[float, torch.finfo, str], str]] = {
    "peak": _overflow("its numbers"),
    "lost": _lost,
    "sum": _overflow("sums of magnitudes"),
    "cancelled": _cancelled,
    "logits": _logits,
    "divisor": _divisor,
    "whole": _whole,
}
_OF_TENSORS = ("peak", "lost")
_OF_TERMS = ("cancelled", "logits", "divisor", "whole")
"""Measures of a layer's inputs, which have to be in fp32 where they are made."""


# -- measuring -----------------------------------------------------------------------------------


class _RangeObserver(Observer):
    """Takes the worst of each measure over all samples; measures stay on the device until the end."""

    def __init__(self, graph: Graph) -> None:
        self.measures: dict[tuple[str, str], Tensor] = {}
        self._graph = graph
        self._magnitudes: dict[str, Kernel] = {}

    def see_tensor(self, name: str, value: Tensor) -> None:
        if value.dtype is not torch.float32 or not value.numel():
            return
        finite = value.nan_to_num(0.0, 0.0, 0.0)
        peak = finite.abs().amax()
        self._worst("peak", name, peak)
        inside = finite.clamp(-_HALF_MAX, _HALF_MAX)
        self._worst("lost", name, _norm(inside.half().float() - inside) / _norm(inside))

    def see_layer(self, layer: Layer, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> None:
        measure = _MEASURES.get(layer.type)
        given = [x for x in inputs if x is not None]
        if measure is None or not given or given[0].dtype is not torch.float32 or not all(x.numel() for x in given):
            return
        for kind, value in measure(self, layer, given, outputs).items():
            self._worst(kind, layer.name, value)

    def _worst(self, kind: str, name: str, value: Tensor) -> None:
        value = value.nan_to_num(0.0)
        known = self.measures.get((kind, name))
        pick = torch.minimum if kind == "divisor" else torch.maximum
        self.measures[kind, name] = value if known is None else pick(known, value)

    def magnitudes(self, layer: Layer, inputs: Sequence[Tensor]) -> Tensor:
        """What a product gives for the magnitudes of its factors, without a bias."""
        kernel = self._magnitudes.get(layer.name)
        if kernel is None:
            attributes = {
                name: _magnitude(name, value) if isinstance(value, Tensor) else value
                for name, value in layer.attributes.items()
            }
            kernel = prepare(dataclasses.replace(layer, attributes=attributes), self._graph, inputs[0].device)
            self._magnitudes[layer.name] = kernel
        result = kernel(*(x.abs() for x in inputs[:2]))
        return result if isinstance(result, Tensor) else result[0]


_HALF_MAX = torch.finfo(torch.float16).max


def _magnitude(name: str, weights: Tensor) -> Tensor:
    return torch.zeros_like(weights) if name == "bias" else weights.abs()


def _norm(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dtype=torch.float64)
    return norm


def _product(
    observer: _RangeObserver, layer: Layer, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Of sums y of K products with sum |a| |b| = s, sqrt(sum (a b)^2) is at least s / sqrt(K)."""
    sums = observer.magnitudes(layer, inputs)
    return {
        "sum": sums.amax(),
        "cancelled": _norm(sums) / math.sqrt(terms_of(layer, inputs, outputs)) / _norm(outputs[0]),
    }


def _attention(
    observer: _RangeObserver, layer: Layer, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[str, Tensor]:
    query, key = (x.transpose(0, 1) if x.dim() == 3 else x for x in inputs[:2])  # packed: [tokens, heads, size]
    key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    if query.dim() != key.dim():
        return {}
    sums = query.abs() @ key.abs().mT
    measures = {"sum": sums.amax()}
    if layer.attributes["norm_op"] == "SOFTMAX":
        measures["logits"] = _largest_in_play(query @ key.mT, -1)
    return measures


def _softmax(
    observer: _RangeObserver, layer: Layer, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[str, Tensor]:
    return {"logits": _largest_in_play(inputs[0], *axes_of(layer.attributes["axes"]))}


def _largest_in_play(logits: Tensor, axis: int) -> Tensor:
    """The largest magnitude of logits that another one comes so near to that both have a probability, if rounded."""
    if logits.shape[axis] < 2:
        return logits.new_zeros(())
    first, second = logits.topk(2, axis).values.unbind(axis)
    reach = 16 + 16 * 2**-8 * first.abs()
    inside = first.abs() <= _HALF_MAX  # a row that is masked throughout has nothing in play
    return torch.where(inside & (first - second <= reach), first.abs(), 0.0).amax()


def _elementwise(
    observer: _RangeObserver, layer: Layer, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[str, Tensor]:
    operation = layer.attributes["op"]
    if operation in ("SUM", "SUB"):
        both = torch.hypot(*map(_root_mean_square, inputs))
        return {"cancelled": both / _root_mean_square(outputs[0])}
    return {"divisor": _least(inputs[1])} if operation in ("DIV", "FLOOR_DIV") else {}


def _root_mean_square(x: Tensor) -> Tensor:
    return _norm(x) / math.sqrt(x.numel())


def _least(x: Tensor) -> Tensor:
    size = x.abs()
    return torch.where(size > 0, size, math.inf).amin()


def _unary(
    observer: _RangeObserver, layer: Layer, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[str, Tensor]:
    return {"divisor": _least(inputs[0])} if layer.attributes["op"] in ("RECIP", "LOG") else {}


def _reduce(
    observer: _RangeObserver, layer: Layer, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[str, Tensor]:
    x, axes = inputs[0], axes_of(layer.attributes["axes"])
    if layer.attributes["op"] not in ("SUM", "AVG"):
        return {}
    return {"sum": x.abs().sum(axes).amax()}


def _normalization(
    observer: _RangeObserver, layer: Layer, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[str, Tensor]:
    """The mean is taken off: a sum that cancels where it is large."""
    x, groups = inputs[0], layer.attributes["num_groups"]
    axes = axes_of(layer.attributes["axes"])
    if groups > 1:
        x, axes = x.reshape(x.shape[0], groups, -1), (2,)
    return {"cancelled": (x.double().square().mean() / x.double().var(axes, correction=0).mean()).sqrt()}


def _cast(
    observer: _RangeObserver, layer: Layer, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[str, Tensor]:
    is_whole = not outputs[0].is_floating_point() and outputs[0].dtype is not torch.bool
    return {"whole": inputs[0].abs().amax()} if is_whole else {}


_Measure = Callable[[_RangeObserver, Layer, Sequence[Tensor], Sequence[Tensor]], Mapping[str, Tensor]]
_MEASURES: Mapping[str, _Measure] = {
    "MATRIX_MULTIPLY": _product,
    "EINSUM": _product,
    "CONVOLUTION": _product,
    "DECONVOLUTION": _product,
    "ATTENTION_INPUT": _attention,
    "SOFTMAX": _softmax,
    "ELEMENTWISE": _elementwise,
    "UNARY": _unary,
    "REDUCE": _reduce,
    "NORMALIZATION": _normalization,
    "CAST": _cast,
}
