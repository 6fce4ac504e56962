"""The errors that trtconv raises. Every message says what came, where, and what to do next."""

from __future__ import annotations


class ConversionError(Exception):
    """A module can't be converted; the base of the errors that `trtconv.convert` raises."""


class CaptureError(ConversionError):
    """The forward pass can't be recorded as a fixed list of calls."""


class DataDependentError(CaptureError):
    """Python reads the value of a tensor that depends on an input (``if x.sum() > 0``, ``.item()``)."""


class UnsupportedCallsError(ConversionError):
    """Calls of the forward pass have no converter; the message lists each of them."""


class UnsupportedArgumentError(ConversionError):
    """A converter exists but doesn't handle the arguments of this call."""


class BuildError(ConversionError):
    """TensorRT refused a layer or the network; the message holds TensorRT's own words."""


class ConverterError(BuildError):
    """A converter fails, or leaves no result, or another one than PyTorch's; the message names it and its line."""


class FrozenValueWarning(UserWarning):
    """The forward pass uses a value that differs from call to call; the converted module always uses the same."""


class PrecisionWarning(UserWarning):
    """Something is computed less precisely than in PyTorch."""


class WeightsError(ValueError):
    """New weights don't fit a converted module; the message says which, and why."""


class EngineError(RuntimeError):
    """An engine can't be loaded or run here."""


class InputError(ValueError):
    """A converted module was called with inputs that it wasn't built for."""
