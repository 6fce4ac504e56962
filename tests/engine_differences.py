"""What comes out otherwise where the converters' cases run as engines (``--device cuda``), and why.

Seen with TensorRT-RTX 1.6.1 and PyTorch 2.11 on an H200.
"""

from fnmatch import fnmatch

import pytest

_SLOW_PATH = "with a default device PyTorch doesn't take its fast path, which gives zeros for padding"
OF_PYTORCH = {
    "test_recurrent.py::test_packed_sequences*": "PyTorch wants lengths on the CPU, an engine its inputs on a GPU",
    "test_attention.py::test_transformer?encoder-left-aligned-[fb]*": _SLOW_PATH,
    "test_attention.py::test_transformer?zeros-normalized-*": _SLOW_PATH,
    "test_attention.py::test_any_batch_and_length?encoder?": _SLOW_PATH,
    "test_unary.py::test_casts?device-*": "it moves its result to the CPU",
    "test_experts.py::*group*": "without data, PyTorch 2.11 takes such products of bfloat16 only",
    "test_experts.py::test_rows_of_a_dynamic_number": "without data, PyTorch 2.11 takes such products of bfloat16 only",
    "test_losses.py::test_of_numbers?bce-weight-*": "PyTorch 2.11 takes numbers only for the sizes of the weights",
    "test_losses.py::test_of_labels?probabilities-*": "PyTorch 2.11 takes numbers only for the size of the batch",
}


def mark(items: list[pytest.Item]) -> None:
    """Skip what PyTorch itself does otherwise."""
    for item in items:
        name = item.nodeid.rpartition("/")[2]
        for pattern, reason in OF_PYTORCH.items():
            if fnmatch(name, pattern):
                item.add_marker(pytest.mark.skip(reason=reason))
