"""Step 5: a plan as a module."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trtconv import tensorrt as trt
from trtconv.dtypes import from_engine, to_engine
from trtconv.errors import EngineError, InputError
from trtconv.misfits import label
from trtconv.places import warn
from trtconv.plan import Plan, Segment
from trtconv.reference import Graph, Interpreter
from trtconv.runtime import Engine, EngineRunner
from trtconv.signature import Signature
from trtconv.structure import as_plain


class TRTModule(torch.nn.Module):
    """A converted module: called, saved and loaded like the module it replaces.

    On CUDA tensors the engine runs, if TensorRT is installed and supports the GPU; elsewhere the
    reference interpreter runs the network that the engine was built from.

    An empty one, `TRTModule()`, is there to load a state dict into.
    """

    def __init__(self, plan: Plan | None = None) -> None:
        super().__init__()
        self.plan = plan
        self._runners: dict[torch.device, list[_SegmentRunner]] = {}
        self._told_of_gradients = False
        self.eval()

    # -- calling --------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the converted module.

        Args: as the module that was converted takes them: tensors of the same shapes and dtypes, nested
        in the same way, all on one device. Under autocast, floats of its other dtypes are cast to those.

        Returns: what that module returns, with the same nesting, dtypes and device. The tensors are new:
        none is an input or a view of one, whatever that module does.

        Raises:
            InputError: an input has another shape, dtype, device or place than the plan was built for.
            EngineError: the engine can't be loaded or run here.
        """
        plan = self._loaded_plan()
        tensors = plan.signature.bind(args, kwargs)
        if any(type(tensor) is not torch.Tensor for tensor in tensors):
            tensors = list(map(as_plain, tensors))
        if not self._told_of_gradients and torch.is_grad_enabled():
            self._tell_of_gradients(tensors)
        device = self._device_of(tensors)
        if plan.signature.written_inputs:
            plan.signature.check_written(tensors)
        runners = self._runners.get(device) or self._prepare(device)
        signature = plan.signature
        with torch.no_grad():
            feeds = list(map(to_engine, tensors)) if signature.is_cast else tensors
            values = {spec.name: tensor for spec, tensor in zip(signature.inputs, feeds, strict=True)}
            for runner in runners:
                runner(values)
            outputs = [values[spec.name] for spec in signature.outputs]
            if signature.is_cast:
                outputs = [
                    from_engine(value, spec.dtype) for value, spec in zip(outputs, signature.outputs, strict=True)
                ]
            for place, new in zip(reversed(plan.signature.written_inputs), reversed(outputs), strict=False):
                tensors[place].copy_(new)
        return plan.signature.result.fill(outputs)

    def _tell_of_gradients(self, tensors: list[torch.Tensor]) -> None:
        """Warn once where a gradient would end here."""
        place = next((index for index, tensor in enumerate(tensors) if tensor.requires_grad), None)
        if place is None:
            return
        self._told_of_gradients = True
        warn(
            f"{label(self._loaded_plan().signature, place)} requires a gradient, which ends here: a converted module "
            "computes none. Train the original module; to run this one, call it under torch.no_grad()"
        )

    def _device_of(self, tensors: list[torch.Tensor]) -> torch.device:
        if not tensors:
            return torch.device("cpu")
        device = tensors[0].device
        for index, tensor in enumerate(tensors):
            if tensor.device != device:
                signature = self._loaded_plan().signature
                raise InputError(
                    f"{label(signature, index)} is on {tensor.device}, {label(signature, 0)} on {device}; all inputs "
                    "have to be on one device: a GPU that TensorRT supports, or the CPU"
                )
        return device

    def _prepare(self, device: torch.device) -> list[_SegmentRunner]:
        runners = [_SegmentRunner(segment, device) for segment in self._loaded_plan().segments]
        self._runners[device] = runners
        return runners

    def backend(self, device: torch.device | str) -> str:
        """What runs calls on a device: "tensorrt" or "reference"."""
        device = torch.empty(0, device=device).device
        runners = self._runners.get(device) or self._prepare(device)
        return "tensorrt" if all(runner.uses_engine for runner in runners) else "reference"

    # -- what it holds --------------------------------------------------------------------------

    def _loaded_plan(self) -> Plan:
        if self.plan is None:
            raise RuntimeError("this TRTModule is empty; load a state dict into it: m.load_state_dict(...)")
        return self.plan

    @property
    def engine(self) -> Engine:
        """The engine, for C++ and other tools: `engine.serialize()`, `engine.save(path)`.

        Raises:
            ValueError: the plan has several engines; they are in `plan.segments`.
        """
        segments = self._loaded_plan().segments
        if len(segments) != 1:
            raise ValueError(f"the plan has {len(segments)} engines; they are in plan.segments")
        return Engine(segments[0].engine)

    def save_engine(self, path: str | Path) -> None:
        """Write the serialized engine to a file, for C++ and other tools."""
        self.engine.save(path)

    @property
    def network(self) -> Graph | None:
        """The network as plain data, as the reference interpreter runs it; None if it wasn't kept.

        It has weights of its own: the `trt.INetworkDefinition` that the engine was built from has views of the
        converted module's, and ends with the conversion.

        Raises:
            ValueError: the plan has several networks; they are in `plan.segments`.
        """
        segments = self._loaded_plan().segments
        if len(segments) != 1:
            raise ValueError(f"the plan has {len(segments)} networks; they are in plan.segments")
        return segments[0].graph

    def extra_repr(self) -> str:
        if self.plan is None:
            return "empty"
        inputs = ", ".join(f"{spec.name}: {spec}" for spec in self.plan.signature.inputs)
        outputs = ", ".join(f"{spec.name}: {spec}" for spec in self.plan.signature.outputs)
        return f"{inputs} -> {outputs}, engine of {len(self.plan.segments[0].engine)} bytes"

    # -- saving and loading ---------------------------------------------------------------------

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        if self.plan is not None:
            destination.update({prefix + name: value for name, value in self.plan.to_state().items()})

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        own = {name.removeprefix(prefix): value for name, value in state_dict.items() if name.startswith(prefix)}
        if "plan" not in own:
            missing_keys.append(prefix + "plan")
            if own:
                shown = ", ".join(sorted(own)[:3])
                error_msgs.append(
                    f"{prefix or 'the state'} holds {shown}, as the weights of an unconverted module "
                    "do: load them there, convert that module, and load the converted module's state_dict() here"
                )
            return
        try:
            plan = Plan.from_state(own)
        except ValueError as error:
            error_msgs.append(f"{prefix}plan: {error}")
            return
        if strict:
            unexpected_keys += [prefix + name for name in own.keys() - plan.to_state().keys()]
        if not local_metadata.get("assign_to_params_buffers", False):
            plan = copy.deepcopy(plan)
        self.plan, self._runners = plan, {}

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles take the plan; contexts belong to their process.
        return {**self.__dict__, "_runners": {}}


def load_engine(path: str | Path, device: torch.device | str = "cuda") -> TRTModule:
    """Load an engine file as a module that takes the engine's inputs in order.

    It returns the engine's output, or a tuple of them where there are several.

    Args:
        path: A file that `TRTModule.save_engine`, or another tool with the same TensorRT, wrote.
        device: The GPU to load it on.

    Raises:
        EngineError: there is no GPU, or TensorRT doesn't load the engine on it.
        OSError: the file can't be read.
    """
    content = Path(path).read_bytes()
    if not torch.cuda.is_available():
        raise EngineError(
            f"{path}: an engine file runs on a GPU only, and torch finds none here; a saved module "
            "(torch.save(trt_module.state_dict(), ...)) carries its network and runs anywhere"
        )
    device = torch.empty(0, device=device).device
    runner = EngineRunner(content, device)
    engine = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    names = [tuple(spec.name for spec in specs) for specs in (runner.inputs, runner.outputs)]
    signature = Signature.of_tensors(runner.inputs, runner.outputs)
    segment = Segment(names[0], names[1], engine, graph=None)
    return TRTModule(Plan(signature, (segment,), {"file": str(path)}))


class _SegmentRunner:
    """A segment made ready for one device."""

    def __init__(self, segment: Segment, device: torch.device) -> None:
        self._segment = segment
        self._engine = self._load_engine(segment, device)
        self._interpreter = None
        if self._engine is None:
            if segment.graph is None:
                raise EngineError(f"the engine can't run on {device}, and the network wasn't kept for the interpreter")
            self._interpreter = Interpreter(segment.graph)

    @property
    def uses_engine(self) -> bool:
        return self._engine is not None

    @staticmethod
    def _load_engine(segment: Segment, device: torch.device) -> EngineRunner | None:
        if device.type != "cuda" or not trt.is_available():
            return None
        try:
            return EngineRunner(Engine(segment.engine).serialize(), device)
        except EngineError as error:
            if segment.graph is None:
                raise
            warn(f"the reference interpreter runs in place of the engine: {error}")
            return None

    def __call__(self, values: dict[str, torch.Tensor]) -> None:
        if self._engine is not None:
            results = self._engine.run([values[spec.name] for spec in self._engine.inputs])
            values.update(zip((spec.name for spec in self._engine.outputs), results, strict=True))
        else:
            assert self._interpreter is not None
            values.update(self._interpreter.run({name: values[name] for name in self._segment.inputs}))
