"""Convert PyTorch modules to TensorRT.

import trtconv
trt_module = trtconv.convert(module, [x])
trt_module(x)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtconv.lazy import lazily

if TYPE_CHECKING:  # what `lazily` finds below, for type checkers and editors
    from trtconv import calibration, errors, inspect, reference, sizes, tensorrt
    from trtconv.calling.observed_sizes import infer_dynamic_shapes
    from trtconv.conversion import convert
    from trtconv.emit.registry import converter, tensorrt_converter, unregister
    from trtconv.engine_files import load_engine
    from trtconv.errors import (
        BuildError,
        CaptureError,
        ConversionError,
        ConverterError,
        DataDependentError,
        EngineError,
        FrozenValueWarning,
        InputError,
        PrecisionWarning,
        UnsupportedArgumentError,
        UnsupportedCallsError,
        WeightsError,
    )
    from trtconv.inspect.checking import check
    from trtconv.inspect.drawing import draw
    from trtconv.module import TRTModule
    from trtconv.onnx import from_onnx
    from trtconv.search import search_precision
    from trtconv.sizes.dim import Dim
    from trtconv.tensorrt import TensorRTNotFoundError
    from trtconv.verbosity import verbose

__version__ = "0.1.0"

if not TYPE_CHECKING:  # else they would take any name for one of the package's
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "trtconv.conversion": ("convert",),
            "trtconv.calling.observed_sizes": ("infer_dynamic_shapes",),
            "trtconv.errors": (
                "BuildError",
                "CaptureError",
                "ConversionError",
                "ConverterError",
                "DataDependentError",
                "EngineError",
                "FrozenValueWarning",
                "InputError",
                "PrecisionWarning",
                "UnsupportedArgumentError",
                "UnsupportedCallsError",
                "WeightsError",
            ),
            "trtconv.engine_files": ("load_engine",),
            "trtconv.inspect.checking": ("check",),
            "trtconv.inspect.drawing": ("draw",),
            "trtconv.module": ("TRTModule",),
            "trtconv.onnx": ("from_onnx",),
            "trtconv.search": ("search_precision",),
            "trtconv.emit.registry": ("converter", "tensorrt_converter", "unregister"),
            "trtconv.sizes.dim": ("Dim",),
            "trtconv.tensorrt": ("TensorRTNotFoundError",),
            "trtconv.verbosity": ("verbose",),
        },
        rooms=("calibration", "errors", "inspect", "reference", "sizes", "tensorrt"),
    )

__all__ = [
    "BuildError",
    "CaptureError",
    "ConversionError",
    "ConverterError",
    "DataDependentError",
    "Dim",
    "EngineError",
    "FrozenValueWarning",
    "InputError",
    "PrecisionWarning",
    "TRTModule",
    "TensorRTNotFoundError",
    "UnsupportedArgumentError",
    "UnsupportedCallsError",
    "WeightsError",
    "calibration",
    "check",
    "convert",
    "converter",
    "draw",
    "errors",
    "from_onnx",
    "infer_dynamic_shapes",
    "inspect",
    "load_engine",
    "reference",
    "search_precision",
    "sizes",
    "tensorrt",
    "tensorrt_converter",
    "unregister",
    "verbose",
]
