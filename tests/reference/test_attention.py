"""What an attention refuses when it runs: sizes that TensorRT refuses where it knows them beforehand."""

import pytest
import torch

from trtconv import tensorrt as trt
from trtconv.reference import Interpreter, LayerError

from .network import Net


def run(q, kv, value=None, mask=None, lengths=None, packed=False):
    """An attention all of whose dimensions are open, on tensors of these shapes."""
    net = Net()
    shapes = {"q": q, "k": kv, "v": value or kv} | ({} if mask is None else {"mask": mask})
    feeds = {name: torch.ones(shape) for name, shape in shapes.items()}
    tensors = {name: net.add_input(name, trt.DataType.FLOAT, [-1] * x.dim()) for name, x in feeds.items()}
    layer = net.add_attention_v2(
        tensors["q"], tensors["k"], tensors["v"], trt.AttentionNormalizationOp.SOFTMAX, trt.CausalMaskKind.NONE
    )
    if mask is not None:
        layer.mask = tensors["mask"]
    if packed:
        layer.query_form = layer.key_value_form = trt.AttentionIOForm.PACKED_NHD
    if lengths is not None:
        feeds["lengths"] = torch.tensor(lengths, dtype=torch.int32)
        layer.key_value_lengths = net.add_input("lengths", trt.DataType.INT32, [-1])
        if packed:
            layer.query_lengths = layer.key_value_lengths
    net.mark(layer.get_output(0), "y")
    return Interpreter(net.network).run(feeds)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"value": (2, 2, 7, 6)}, r"keys \[2, 2, 7, 8\] and values \[2, 2, 7, 6\] differ"),
        ({"q": (2, 3, 5, 8)}, "3 heads of queries are no multiple of 2"),
        ({"mask": (3, 4, 5, 7)}, r"a mask \[3, 4, 5, 7\] doesn't spread .* \[2, 4, 5, 7\]"),
        ({"q": (1, 4, 5, 8), "kv": (1, 2, 7, 8), "mask": (3, 4, 5, 7)}, "doesn't spread"),
        ({"mask": (2, 4, 5, 4)}, "doesn't spread"),
        ({"mask": (2, 2, 5, 7)}, "doesn't spread"),
        ({"mask": (3, 4, 5, 7), "lengths": [3, 7]}, "doesn't spread"),
        ({"lengths": [3, 8]}, r"lengths \[3, 8\] don't fit 2 items of up to 7"),
        ({"lengths": [3, -1]}, "don't fit"),
        ({"lengths": [3, 7, 7]}, "don't fit"),
        ({"q": (8, 4, 8), "kv": (8, 4, 8), "packed": True, "lengths": [0, 3, 7]}, "from 0 to the 8 tokens"),
        ({"q": (8, 4, 8), "kv": (8, 4, 8), "packed": True, "lengths": [0, 9, 8]}, "from 0 to the 8 tokens"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, reason):
    with pytest.raises(LayerError, match=reason):
        run(**({"q": (2, 4, 5, 8), "kv": (2, 2, 7, 8)} | options))
