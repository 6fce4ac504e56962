"""ONNX's own node tests through TensorRT's parser and the interpreter.

Their models and answers come with the onnx package: about 1900 of them, of which the parser reads about
half. Where the two disagree, it is the parser that lost part of the model: those are listed.
"""

import collections

import numpy
import pytest
import torch

from trtconv import tensorrt as trt
from trtconv.reference import Interpreter

from .network import builder

node = pytest.importorskip("onnx.backend.test.case.node")

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
TOLERANCES = {torch.float32: 2e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}


def parse(model):
    """The network, or None where the parser refuses the model."""
    network = builder().create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.INTERNAL_ERROR))
    return network if parser.parse(model.SerializeToString()) else None


def feed(interpreter, arrays):
    """Feeds by position, for the parser may rename inputs; ONNX's double inputs become FLOAT."""
    feeds = {}
    for name, array in zip(interpreter.graph.inputs, arrays, strict=False):
        values = numpy.array(array)
        if values.dtype.kind not in "biuf":  # bfloat16 and the like
            values = values.astype(numpy.float32)
        feeds[name] = torch.from_numpy(values).to(interpreter.graph.tensors[name].dtype.carrier)
    return feeds


def agree(result, answer):
    answer = torch.from_numpy(numpy.asarray(answer).astype(numpy.float64))
    tolerance = TOLERANCES.get(result.dtype, 0.0)
    return result.shape == answer.shape and torch.allclose(
        result.double(), answer, tolerance, tolerance, equal_nan=True
    )


def outcome(case):
    """ "refused", "agrees" or "differs"."""
    network = None if case.model is None else parse(case.model)
    if network is None:
        return "refused"
    interpreter = Interpreter(network)
    for inputs, answers in case.data_sets:
        if not all(isinstance(array, (numpy.ndarray, numpy.generic)) for array in (*inputs, *answers)):
            return "refused"  # sequences and optionals
        results = interpreter.run(feed(interpreter, inputs)).values()
        if not all(agree(*pair) for pair in zip(results, answers, strict=True)):
            return "differs"
    return "agrees"


@pytest.mark.filterwarnings("ignore")
def test_onnx_nodes():
    found = collections.defaultdict(set)
    for case in node.collect_testcases(None):
        found[outcome(case)].add(case.name)
    assert found["differs"] == set(PARSER_LOSES) | set(DIFFERENT)
    assert len(found["agrees"]) > 850
