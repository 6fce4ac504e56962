"""What a conversion results in: plain data that can be saved, moved and run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from trtconv.calling.signature import Signature
from trtconv.reference import Graph, from_state, to_state

FORMAT, WITH_STATE = 2, 3
READ = (1, 2, 3)
"""The formats that can be read: 2 has the defaults of parameters, and weights stored by columns; 3 has state."""


class Outdated(NamedTuple):
    """Weights of a network that its engine doesn't have yet.

    Attributes:
        layers: The layers whose weights are others now.
        tf32: What the engine was built with.
    """

    layers: tuple[str, ...]
    tf32: bool


@dataclasses.dataclass
class Segment:
    """A part of a plan that runs as one TensorRT engine.

    Attributes:
        inputs, outputs: The names of the tensors that it reads and writes.
        engine: The serialized engine, a uint8 tensor.
        graph: The network that the engine was built from, for the reference interpreter; None if it was
            not kept.
        kernels: What TensorRT-RTX compiled of the engine for the GPU that it last ran on, a uint8 tensor; with it
            the engine is loaded many times faster there. None before a call.
        kernels_of: The TensorRT and the GPU that the kernels are for.
        outdated: What the engine lacks of the network, and is given where it is loaded; None if it is built of it.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    engine: torch.Tensor
    graph: Graph | None
    kernels: torch.Tensor | None = None
    kernels_of: str = ""
    outdated: Outdated | None = None


@dataclasses.dataclass
class Plan:
    """A converted module as data: segments that run one after the other, passing tensors by name.

    Attributes:
        signature: How the module is called.
        segments: What is run, in order.
        provenance: What made the plan: versions, options, times in seconds.
        state: What the buffers of `signature.state` hold at first, by their names, on the CPU.
    """

    signature: Signature
    segments: tuple[Segment, ...]
    provenance: dict[str, Any]
    state: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)

    def to_state(self, *, engines: bool = True) -> dict[str, torch.Tensor]:
        """The plan as a flat dict of tensors, for a state dict; without its engines where they can be built again."""
        state: dict[str, torch.Tensor] = {}
        segments = []
        for number, segment in enumerate(self.segments):
            entry: dict[str, Any] = {"inputs": segment.inputs, "outputs": segment.outputs, "graph": None}
            if engines or segment.graph is None:
                state[f"segment_{number}.engine"] = segment.engine
            else:
                entry["engine"] = None
            if engines and segment.outdated is not None:
                entry["outdated"] = segment.outdated
            if segment.graph is not None:
                entry["graph"], weights = to_state(segment.graph)
                state |= {f"segment_{number}.weights.{name}": value for name, value in weights.items()}
            if segment.kernels is not None and engines:
                state[f"segment_{number}.kernels"] = segment.kernels
                entry["kernels_of"] = segment.kernels_of
            segments.append(entry)
        header = {
            "format": WITH_STATE if self.state else FORMAT,
            "signature": self.signature.to_json(),
            "segments": segments,
            "provenance": self.provenance,
        }
        state["plan"] = torch.frombuffer(bytearray(json.dumps(header).encode()), dtype=torch.uint8)
        return state | self.state

    @staticmethod
    def from_state(state: Mapping[str, torch.Tensor], copies: bool = False, read: set[str] | None = None) -> Plan:
        """The inverse of `to_state`.

        Args:
            state: May hold more.
            copies: Whether the plan gets copies of the tensors.
            read: To it the names of what is read are added.

        Raises:
            ValueError: the state is damaged, or of a format that this version doesn't know.
        """
        state = _Reading(state, copies, set() if read is None else read)
        try:
            header = json.loads(bytes(state["plan"].cpu().numpy()))
            if not isinstance(header, dict) or "format" not in header:
                raise ValueError("this is no saved plan of trtconv: its header has no format")
            if header["format"] not in READ:
                raise ValueError(
                    f"the plan has format {header['format']}; this trtconv reads {READ}: convert the module again, "
                    "or install the version of trtconv that saved it"
                )
            segments = []
            for number, entry in enumerate(header["segments"]):
                prefix = f"segment_{number}.weights."
                graph = None if entry["graph"] is None else from_state(entry["graph"], state.under(prefix))
                is_left_out = "engine" in entry and graph is not None
                engine = _NO_ENGINE if is_left_out else state[f"segment_{number}.engine"]
                kernels = state.get(f"segment_{number}.kernels")
                names = tuple(entry["inputs"]), tuple(entry["outputs"])
                outdated = _outdated(*entry["outdated"]) if entry.get("outdated") and graph is not None else None
                segments.append(Segment(*names, engine, graph, kernels, str(entry.get("kernels_of", "")), outdated))
            signature = Signature.from_json(header["signature"])
            kept = {spec.name: own_copy(state[spec.name]) for spec in signature.state}
            plan = Plan(signature, tuple(segments), header["provenance"], kept)
            _check(plan)
            return plan
        except _DAMAGE as error:
            raise ValueError(f"this is no saved plan of trtconv, or a damaged one: {error!r}") from error


def from_module_state(
    state: Mapping[str, Any],
    prefix: str,
    copies: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> Plan | None:
    """The plan under a prefix of a state dict, as `torch.nn.Module._load_from_state_dict` reads; None if there is none.

    What is wrong is added to the three lists.
    """
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if "plan" not in own:
        missing_keys.append(prefix + "plan")
        if own:
            shown = ", ".join(sorted(own)[:3])
            error_msgs.append(
                f"{prefix or 'the state'} holds {shown}, as the weights of an unconverted module "
                "do: load them there, convert that module, and load the converted module's state_dict() here"
            )
        return None
    read: set[str] = set()
    try:
        plan = Plan.from_state(own, copies, read)
    except ValueError as error:
        error_msgs.append(f"{prefix}plan: {error}")
        return None
    unexpected_keys += [prefix + name for name in own if name not in read]
    return plan


def own_copy(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a tensor on the CPU; equal numbers take the memory of one."""
    copy = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if copy.numel() < 2:
        return copy
    numbers = copy.view(-1)
    bits = numbers.view(torch.uint8).view(len(numbers), -1)
    return numbers[:1].clone().expand(copy.shape) if torch.equal(bits, bits[:1].expand_as(bits)) else copy


class _Reading(Mapping[str, torch.Tensor]):
    """A state whose tensors are copied, and their names noted, as they are read."""

    def __init__(self, state: Mapping[str, torch.Tensor], copies: bool, read: set[str], prefix: str = "") -> None:
        self._state, self._copies, self._read, self._prefix = state, copies, read, prefix

    def __getitem__(self, name: str) -> torch.Tensor:
        value = self._state[self._prefix + name]
        self._read.add(self._prefix + name)
        return value.clone() if self._copies and isinstance(value, torch.Tensor) else value

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self._prefix) for name in self._state if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def under(self, prefix: str) -> _Reading:
        """What stands under a prefix."""
        return _Reading(self._state, self._copies, self._read, prefix)


def _outdated(layers: Sequence[str], tf32: bool) -> Outdated:
    return Outdated(tuple(map(str, layers)), bool(tf32))


_NO_ENGINE = torch.empty(0, dtype=torch.uint8)
"""In the place of an engine that wasn't saved."""

_DAMAGE = (
    AttributeError,
    KeyError,
    IndexError,
    OverflowError,
    RecursionError,
    RuntimeError,
    StopIteration,
    TypeError,
    UnicodeDecodeError,
    json.JSONDecodeError,
)
"""What reading damaged data raises in Python and torch."""


def _check(plan: Plan) -> None:
    """Raise `ValueError` unless the parts of a plan fit together."""
    signature = plan.signature
    signature.arguments.check_tensors(len(signature.inputs))
    signature.result.check_tensors(len(signature.outputs))
    if not all(type(place) is int and 0 <= place < len(signature.taken) for place in signature.written_inputs):
        raise ValueError(f"the plan writes to inputs {signature.written_inputs}; there are {len(signature.taken)}")
    for spec in signature.state:
        if not spec.admits(plan.state[spec.name], {}):
            raise ValueError(f"the state {spec.name!r} isn't {spec}")
    known = {spec.name for spec in signature.taken}
    for number, segment in enumerate(plan.segments):
        for what, value in (("engine", segment.engine), ("kernels", segment.kernels)):
            is_bytes = isinstance(value, torch.Tensor) and value.dtype is torch.uint8
            if not is_bytes and (what == "engine" or value is not None):
                raise ValueError(f"the {what} of segment {number} isn't a tensor of bytes")
        graph = segment.graph
        if graph is not None and (
            set(graph.inputs) != set(segment.inputs) or set(graph.outputs) != set(segment.outputs)
        ):
            raise ValueError(f"segment {number} has other inputs or outputs than its network")
        if unknown := set(segment.inputs) - known:
            raise ValueError(f"segment {number} reads {sorted(unknown)}, which nothing before it makes")
        known |= set(segment.outputs)
    if unknown := {spec.name for spec in signature.outputs} - known:
        raise ValueError(f"no segment makes the outputs {sorted(unknown)}")
