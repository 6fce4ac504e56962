"""QUANTIZE, DEQUANTIZE and DYNAMIC_QUANTIZE."""

import ml_dtypes
import numpy
import torch

from trtconv import tensorrt as trt

from ..case import FLOATS, Case, uniform

LIMITS = {"INT8": (-128, 127), "INT4": (-8, 7)}


def round_trip(name, target, scale, expected, axis=None, block=None, dtypes=FLOATS, shape=(4, 8), span=3.0):
    """Quantize and dequantize again: an engine keeps most quantized types to itself."""

    def build(net, x):
        steps = net.constant(scale, torch.float32)
        kind = getattr(trt.DataType, target)
        q = net.add_quantize(x, steps, kind)
        dq = net.add_dequantize(q.get_output(0), steps, net.type)
        for layer in (q, dq):
            if axis is not None:
                layer.axis = axis
            if block is not None:
                layer.block_shape = block
        return dq

    values = uniform(*shape, low=-span, high=span)
    # A dimension with scales of its own must be known.
    # An engine multiplies by the reciprocal of the scale: a quotient near a tie may go the other way.
    slack = float(scale.max()) * (32 if target == "FP8" else 1.01)
    return Case(f"quantize-{name}", build, expected, (values,), dtypes, axis != 0, slack=slack)


def integers(scale, target):
    low, high = LIMITS[target]

    def expected(x):
        # The quotient in float32, as the layer's scale is.
        return (torch.round(x.float() / scale).clamp(low, high) * scale).to(x.dtype)

    return expected


def eight_bit_floats(scale):
    def expected(x):
        q = (x.float() / scale).clamp(-448, 448).numpy().astype(ml_dtypes.float8_e4m3fn)
        return (torch.from_numpy(q.astype(numpy.float32)) * scale).to(x.dtype)

    return expected


def constant_weights(name, kind, values, scale, expected, axis=None, block=None):
    """Dequantized constants: ``values`` are numbers for INT8 and FP8, 4-bit patterns else."""

    def build(net):
        if kind in ("INT4", "FP4"):
            data = net.four_bit(values, kind)
        else:
            dtype = {"INT8": torch.int8, "FP8": torch.float8_e4m3fn}[kind]
            data = net.constant(torch.tensor(values), dtype)
        layer = net.add_dequantize(data, net.constant(torch.tensor(scale)), trt.DataType.FLOAT)
        if axis is not None:
            layer.axis = axis
        if block is not None:
            layer.block_shape = block
        return layer

    return Case(f"dequantize-{name}", build, lambda: torch.tensor(expected), ())


def stays_inside(name, target, dtype, scale, expected):
    """The quantized tensor itself as an output."""

    def build(net, x):
        return net.add_quantize(x, net.constant(torch.tensor(scale)), getattr(trt.DataType, target))

    x = torch.tensor([-300.0, -1.5, -0.5, 0.5, 1.5, 2.5, 300.0])
    return Case(
        f"quantize-values-{name}",
        build,
        lambda x: torch.tensor(expected).to(dtype),
        (x,),
        (dtype,),
        engine=False,
    )


def dynamic_fp8(net, x):
    layer = net.add_dynamic_quantize(x, 1, 32, trt.DataType.FP8, trt.DataType.E8M0)
    dq = net.add_dequantize(layer.get_output(0), layer.get_output(1), trt.DataType.FLOAT)
    dq.block_shape = (1, 32)
    return dq


def expected_fp8(x):
    """Each block by the least power of two that brings it inside FP8's range."""
    blocks = x.float().reshape(4, 2, 32)
    scale = torch.tensor([[2.0 ** numpy.ceil(numpy.log2(float(b.abs().max()) / 448)) for b in row] for row in blocks])[
        ..., None
    ]
    q = (blocks / scale).numpy().astype(ml_dtypes.float8_e4m3fn).astype(numpy.float32)
    return (torch.from_numpy(q) * scale).reshape(4, 64).to(x.dtype)


def dynamic_fp4(net, x):
    outer = net.constant(torch.tensor(0.01), torch.float32)
    layer = net.add_dynamic_quantize(x, 1, 16, trt.DataType.FP4, trt.DataType.FP8)
    layer.set_input(1, outer)
    scales = net.add_dequantize(layer.get_output(1), outer, trt.DataType.FLOAT)
    return net.add_dequantize(layer.get_output(0), scales.get_output(0), trt.DataType.FLOAT)


def expected_fp4(x):
    blocks = x.float().reshape(4, 2, 16)
    raw = blocks.abs().amax(-1, keepdim=True) / 6 / 0.01
    scale = torch.from_numpy(raw.numpy().astype(ml_dtypes.float8_e4m3fn).astype(numpy.float32)) * 0.01
    q = (blocks / scale).clamp(-6, 6).numpy().astype(ml_dtypes.float4_e2m1fn).astype(numpy.float32)
    return (torch.from_numpy(q) * scale).reshape(4, 32).to(x.dtype)


def moved(net, x):
    """FP8 values through the layers that only move them."""
    scale = net.constant(torch.tensor(0.01), torch.float32)
    q = net.add_quantize(x, scale, trt.DataType.FP8).get_output(0)
    pair = net.add_concatenation([q, q])
    pair.axis = 1
    turned = net.add_shuffle(pair.get_output(0))
    turned.first_transpose = (1, 0)
    return net.add_dequantize(turned.get_output(0), scale, net.type)


def moved_expected(x):
    return eight_bit_floats(0.01)(x).repeat(1, 2).T


ROWS = torch.tensor([0.01, 0.02, 0.03, 0.005])
BLOCKS = torch.tensor([[0.01, 0.02], [0.03, 0.015]])
SPREAD = BLOCKS.repeat_interleave(2, 0).repeat_interleave(4, 1)
CASES = [
    round_trip("int8", "INT8", torch.tensor(0.02), integers(0.02, "INT8")),
    round_trip("int8-rows", "INT8", ROWS, integers(ROWS[:, None], "INT8"), axis=0),
    round_trip("int8-columns", "INT8", ROWS, integers(ROWS, "INT8"), axis=1, shape=(3, 4)),
    round_trip("fp8", "FP8", torch.tensor(0.01), eight_bit_floats(0.01)),
    Case("quantize-fp8-moved", moved, moved_expected, (uniform(2, 3),), FLOATS, dynamic=False, slack=0.32),
    round_trip("fp8-saturating", "FP8", torch.tensor(0.01), eight_bit_floats(0.01), span=9.0),
    stays_inside("int8", "INT8", torch.int8, 1.0, [-128, -2, 0, 0, 2, 2, 127]),
    stays_inside("fp8", "FP8", torch.float8_e4m3fn, 0.5, [-448.0, -3.0, -1.0, 1.0, 3.0, 5.0, 448.0]),
    constant_weights("int8", "INT8", [[1, -128], [127, 0]], 0.5, [[0.5, -64.0], [63.5, 0.0]]),
    constant_weights("int8-axis", "INT8", [[1, -128], [127, 0]], [0.5, 2.0], [[0.5, -256.0], [63.5, 0.0]], axis=1),
    constant_weights("fp8", "FP8", [1.0, -448.0, 0.0625], 2.0, [2.0, -896.0, 0.125]),
    constant_weights("int4", "INT4", [[1, 7], [8, 15]], 0.5, [[0.5, 3.5], [-4.0, -0.5]]),
    constant_weights(
        "int4-block",
        "INT4",
        [[1, 7], [8, 15], [2, 3], [4, 5]],
        [[0.5, 1.0], [2.0, 4.0]],
        [[0.5, 7.0], [-4.0, -1.0], [4.0, 12.0], [8.0, 20.0]],
    ),
    Case("dynamic-quantize-mxfp8", dynamic_fp8, expected_fp8, (uniform(4, 64),), dynamic=False),
    Case("dynamic-quantize-nvfp4", dynamic_fp4, expected_fp4, (uniform(4, 32),), dynamic=False),
]
