"""Convert PyTorch modules to TensorRT.

import trtconv
trt_module = trtconv.convert(module, [x])
trt_module(x)
"""

from __future__ import annotations

from trtconv.conversion import convert
from trtconv.dynamic import Dim, infer_dynamic_shapes
from trtconv.errors import (
    BuildError,
    CaptureError,
    ConversionError,
    DataDependentError,
    EngineError,
    InputError,
    PrecisionWarning,
    UnsupportedArgumentError,
    UnsupportedCallsError,
)
from trtconv.module import TRTModule, load_engine
from trtconv.onnx import from_onnx
from trtconv.registry import converter, tensorrt_converter, unregister
from trtconv.tensorrt import TensorRTNotFoundError

__version__ = "0.1.0"

__all__ = [
    "BuildError",
    "CaptureError",
    "ConversionError",
    "DataDependentError",
    "Dim",
    "EngineError",
    "InputError",
    "PrecisionWarning",
    "TRTModule",
    "TensorRTNotFoundError",
    "UnsupportedArgumentError",
    "UnsupportedCallsError",
    "convert",
    "converter",
    "from_onnx",
    "infer_dynamic_shapes",
    "load_engine",
    "tensorrt_converter",
    "unregister",
]
