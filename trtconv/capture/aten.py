"""The lower level of interception: ATen operators on fake tensors, a closed set of functional calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)

from trtconv.capture.constants import Constants
from trtconv.capture.fake_results import FAKE_RESULTS_OF_OPERATORS, fake_like
from trtconv.capture.reasons import SIZE, reason
from trtconv.capture.switch import Switch
from trtconv.capture.trace import Origin, map_tensors
from trtconv.dtypes import name_of
from trtconv.errors import CaptureError, DataDependentError

Record = Callable[[OpOverload, tuple[Any, ...], dict[str, Any], Any], None]
ReadValue = Callable[[torch.Tensor, str], Any]


class WritesError(Exception):
    """An operator that writes to its arguments came where none is expected."""


FAKE_ERRORS = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException)


class AtenLevel(FakeTensorMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """A fake tensor mode that reports each operator it runs.

    It stands below functionalization, so that no operator it sees writes to its arguments. Where functionalization is
    left out `refusing_writes` proves it.

    Attributes:
        silenced: While it is on, operators run but aren't reported: they are part of a recorded call.
        refusing_writes: While it is on, operators that write to their arguments raise `WritesError` before they run.
        on_failure: Gives what an operator returns that can't be run without data, for one of `FAKE_ERRORS`, the
            operator and its arguments: raises what that means to the user, unless another function is put there.
    """

    def __init__(
        self, constants: Constants, record: Record, read_value: ReadValue, origin: Callable[[], Origin]
    ) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self._constants = constants
        self._record = record
        self._read_value = read_value
        self._origin = origin
        self.on_failure: Callable[[Exception, OpOverload, tuple[Any, ...], dict[str, Any]], Any] = self._raise
        self.silenced = Switch()
        self.refusing_writes = Switch()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            return self._read_value(args[0], "item")
        if func is torch.ops.aten._linalg_check_errors.default:
            return None  # it only checks values
        if self.silenced or not isinstance(func, OpOverload) or func.namespace == "prim":
            return super().__torch_dispatch__(func, types, args, kwargs)
        if self.refusing_writes and func._schema.is_mutable:
            raise WritesError(str(func))
        depends_on_values = _depends_on_values(func)
        if depends_on_values and self._constants.all_constant((args, kwargs)):
            return self._run_on_constants(func, args, kwargs)
        try:
            with self.silenced:
                output = super().__torch_dispatch__(func, types, args, kwargs)
        except FAKE_ERRORS as error:
            output = self.on_failure(error, func, args, kwargs)
        self._record(func, args, kwargs, output)
        return output

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator on fake tensors."""
        if func in _LIFTING and type(args[0]) is torch.Tensor:
            return fake_like(self, args[0])
        if func in FAKE_RESULTS_OF_OPERATORS:
            with self.silenced:
                output = FAKE_RESULTS_OF_OPERATORS[func](*args, **(kwargs or {}))
            if output is not NotImplemented:
                return output
        return super().dispatch(func, types, args, kwargs)

    def _raise(self, error: Exception, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise self.explained(error, func) from error

    def explained(self, error: Exception, func: object) -> CaptureError:
        """What one of torch's errors about fake tensors (`FAKE_ERRORS`) means to the user."""
        if isinstance(error, UnsupportedOperatorException):
            return CaptureError(f"{self._origin()}: {func} can't be run without data: {error}")
        why = reason(func)
        if why and why != SIZE:
            return DataDependentError(_ADVICE.format(origin=self._origin(), func=func, reason=why))
        message = _SHAPE_DEPENDS.format(origin=self._origin(), func=func)
        return DataDependentError(message + (_SUPPRESSION if "nms" in str(func) else ""))

    def _run_on_constants(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = map_tensors(self._constants.read, (args, kwargs))
        return map_tensors(lambda real: self._constants.stand_in(self, real), func(*args, **kwargs))


def value_is_read(origin: Origin, reader: str, key: str, tensor: torch.Tensor, *, of_input: bool) -> DataDependentError:
    """The error for a value that Python reads by a method of this name, in a line that options call `key`.

    Args:
        of_input: The value depends on an input; else it is random.
    """
    shown = f"{name_of(tensor.dtype)}{list(tensor.shape)}"
    message = _READS_VALUE if of_input else _READS_RANDOM
    return DataDependentError(message.format(origin=origin, reader=reader, key=key, tensor=shown))


_LIFTING = (torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default)
"""What torch.tensor and the like call with a tensor that no mode has seen."""


def _depends_on_values(func: OpOverload) -> bool:
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags


_READS_VALUE = (
    "{origin}: Python reads the value of a tensor ({reader} of {tensor}) that depends on an input. A TensorRT "
    "engine always runs the same layers, so the value can't decide what is computed. Convert the submodules "
    "around this line and leave the line in PyTorch, replace it by tensor operations (torch.where), or, if "
    "the value is always the same, say so: constant_values={{{key!r}: VALUE}}."
)
_READS_RANDOM = (
    "{origin}: Python reads the value of a random tensor ({reader} of {tensor}), which is another one in each call. A "
    "TensorRT engine always runs the same layers: make the value an input of the module, or say what it shall always "
    "be: constant_values={{{key!r}: VALUE}}."
)
_ADVICE = "{origin}: {func}: {reason}. Or convert the submodules around this line and leave the line in PyTorch."
_SHAPE_DEPENDS = (
    "{origin}: the size of the result of {func} depends on the values of an input, and an engine's layers have "
    "sizes that follow from the inputs' sizes. Convert the submodules around this line and leave the line in "
    "PyTorch, or compute all places and mask the unwanted ones (torch.where, multiplication by the mask)."
)
_SUPPRESSION = (
    " For non-maximum suppression: have the module return all boxes with their scores, the best of a fixed number "
    "(torch.topk) for one, and call torchvision.ops.nms on what the converted module returns. (TensorRT's layer for "
    "it isn't in TensorRT-RTX.)"
)
