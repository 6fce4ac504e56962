"""ONNX's own node tests in the forms that models come in, and where their answers are not TensorRT's.

Models and answers come with the onnx package: about 1900 of them, of which the parser reads about half.
"""

import copy

import numpy
import onnx
import torch
from onnx import numpy_helper
from onnx.backend.test.case import node

from trtconv import tensorrt as trt

from .network import builder

# What the parser of TensorRT-RTX 1.7 does with each of these, as its network shows.
PARSER_LOSES = {
    "test_attention_4d_gqa_causal_nonpad_decode": "nonpad_kv_seqlen is ignored",
    "test_attention_4d_gqa_causal_nonpad_decode_fp16": "nonpad_kv_seqlen is ignored",
    "test_attention_4d_causal_nonpad_continued_prefill": "nonpad_kv_seqlen is ignored",
    "test_attention_4d_causal_nonpad_negative_offset_structural_empty": "nonpad_kv_seqlen is ignored",
    "test_attention_4d_causal_nonpad_batch_prefill": "nonpad_kv_seqlen is ignored",
    "test_attention_local_window": "the window is ignored",
    "test_attention_bidirectional_window": "the window is ignored",
    "test_averagepool_2d_ceil_last_window_starts_on_pad": "EXPLICIT_ROUND_UP has no such rule",
    "test_maxpool_2d_ceil_output_size_reduce_by_one": "EXPLICIT_ROUND_UP has no such rule",
    "test_gru_batchwise": "layout is ignored",
    "test_lstm_batchwise": "layout is ignored",
    "test_simple_rnn_batchwise": "layout is ignored",
    "test_quantizelinear": "UINT8 is read as INT8",
    "test_quantizelinear_axis": "UINT8 is read as INT8",
    "test_selu_default": "alpha and beta are cut to five digits",
    "test_spacetodepth_crd_mode_example": "the mode is ignored",
    **{
        f"test_triu{name}": "a missing `upper` is read as lower"
        for name in ("", "_neg", "_out_neg_out", "_pos", "_out_pos", "_square", "_square_neg", "_one_row")
    },
}
DIFFERENT = {
    "test_bernoulli_double_expanded": "random",
    "test_bernoulli_seed_expanded": "random",
    "test_attention_23_boolmask_fullymasked_row_nan_robustness": "ONNX gives zeros where nothing is seen",
    "test_nonmaxsuppression_two_classes": "TensorRT orders boxes by score, ONNX by class",
    "test_gridsample_bicubic": "the answer has five digits only; onnxruntime agrees with the interpreter",
}
# What differs in one form only.
DIFFERENT_IN = {
    "dynamic": {
        **{
            f"test_resize_downsample_scales_{name}": "the parser makes sizes of scales, rounded down"
            for name in (
                "linear",
                "linear_align_corners",
                "cubic",
                "cubic_align_corners",
                "cubic_A_n0p5_exclude_outside",
            )
        },
    },
    "constants": {
        "test_clip_min_greater_than_max": "CLIP is max(low, min(high, x)), ONNX's is min(high, max(low, x))",
        **{
            f"test_resize_downsample_scales_{mode}_align_corners": "ONNX aligns with a size that isn't rounded down"
            for mode in ("linear", "cubic")
        },
    },
}
DIFFERENT_IN["dynamic constants"] = DIFFERENT_IN["constants"]
# Of these the documentation's words decide, until an engine on a GPU has (tests/gpu/test_onnx_nodes.py).
AWAITING = {
    "test_attention_23_boolmask_fullymasked_row_nan_robustness": "are rows that see nothing zeros, or not numbers?",
    "test_clip_min_greater_than_max": "which bound wins in CLIP?",
    "test_nonmaxsuppression_two_classes": "in which order are boxes? TensorRT-RTX can't build it",
    **{
        f"test_resize_downsample_scales_{mode}_align_corners": "do ALIGN_CORNERS' coordinates follow sizes or scales?"
        for mode in ("linear", "cubic")
    },
}
# Networks that a static parse refuses for their shapes; with dynamic ones the first run does.
MISFITS = {
    "test_attention_4d_padded_kv_bf16": "nonpad_kv_seqlen is ignored, and the mask has fewer keys than K",
    "test_attention_4d_diff_heads_mask4d_padded_kv": "V's heads have another width than K's",
    **{
        f"test_attention_{rank}d_diff_heads_sizes{name}": "V's heads have another width than K's"
        for rank in (3, 4)
        for name in ("", "_attn_mask", "_causal", "_scaled")
    },
    "test_attention_3d_local_window": "V's heads have another width than K's",
    "test_matmul_1d_3d": "the parser squeezes axis 0 of the product instead of the one that it added",
}


def cases(names=None):
    """Name, form, model, inputs and answers of each case (of these names) in each form.

    Cases that say the same operators once more, in ONNX's simpler ones, are there in the first form only.
    """
    for case in node.collect_testcases(None):
        if case.model is None or (names is not None and case.name not in names):
            continue
        for inputs, answers in case.data_sets:
            yield case.name, "static", case.model, inputs, answers
            if case.name.endswith("_expanded"):
                continue
            yield case.name, "dynamic", dynamic(case.model), inputs, answers
            model, others = constants(case.model, inputs)
            if len(others) < len(inputs):
                yield case.name, "constants", model, others, answers
                yield case.name, "dynamic constants", dynamic(model), others, answers


def dynamic(model):
    """The model with a name in place of each dimension of its inputs.

    Integer vectors keep theirs: a number of sizes or axes is a tensor's rank, which TensorRT must know (and
    its parser ends the process where a TopK's or an NMS's count has an open dimension).
    """
    model = copy.deepcopy(model)
    for index, value in enumerate(model.graph.input):
        kind = value.type.tensor_type
        if len(kind.shape.dim) == 1 and kind.elem_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64):
            continue
        for axis, dimension in enumerate(kind.shape.dim):
            dimension.dim_param = f"input{index}_{axis}"
    return model


def constants(model, inputs):
    """The model with its scalars and vectors as constants, its first input excepted; and the other inputs."""
    model = copy.deepcopy(model)
    others = []
    for index, (value, array) in enumerate(zip(list(model.graph.input), inputs, strict=True)):
        if index == 0 or not value.type.HasField("tensor_type") or len(value.type.tensor_type.shape.dim) > 1:
            others.append(array)
            continue
        tensor = array if isinstance(array, onnx.TensorProto) else numpy_helper.from_array(numpy.asarray(array))
        model.graph.initializer.add().CopyFrom(tensor)
        model.graph.initializer[-1].name = value.name
        model.graph.input.remove(value)
    return model, others


def parse(model):
    """The network and the parser, which owns its weights; None where it refuses the model."""
    network = builder().create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.INTERNAL_ERROR))
    return (network, parser) if parser.parse(model.SerializeToString()) else None


def feed(graph, arrays):
    """Feeds by position, for the parser may rename inputs; ONNX's double inputs become FLOAT."""
    feeds = {}
    for name, array in zip(graph.inputs, arrays, strict=False):
        values = numpy.array(array)
        if values.dtype.kind not in "biuf":  # bfloat16 and the like
            values = values.astype(numpy.float32)
        feeds[name] = torch.from_numpy(values).to(graph.tensors[name].dtype.carrier)
    return feeds
