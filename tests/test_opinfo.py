"""Each operator of PyTorch's own database converts and is right, or stands in the table of those that are refused."""

import pytest

from benchmarks.opinfo import BROKEN, REFUSED, UNCOUNTED, WRONG, name_of, operators, outcomes

SAMPLES = 2
"""Samples of each operator: the first and the last of its own."""

REASONS = {
    "its numbers are random": """
        bernoulli cauchy exponential geometric log_normal multinomial nn.functional.fractional_max_pool2d
        nn.functional.fractional_max_pool3d normal normal.in_place normal.number_mean pca_lowrank rand_like randint_like
        randn_like svd_lowrank uniform""",
    "how large its result is depends on values": """
        argwhere masked_select nonzero unique unique_consecutive""",
    "values decide what is computed": "nn.functional.ctc_loss",
    "it decomposes a matrix": """
        geqrf linalg.cond linalg.eig linalg.eigh linalg.eigvals linalg.eigvalsh linalg.householder_product
        linalg.ldl_factor linalg.ldl_factor_ex linalg.ldl_solve linalg.lstsq linalg.lstsq.grad_oriented
        linalg.matrix_sqrth linalg.pinv linalg.pinv.hermitian linalg.pinv.singular linalg.polar linalg.qr linalg.svd
        linalg.svdvals matrix_exp norm.nuc ormqr pinverse svd""",
    "its matrix is large": "linalg.tensorinv",
    "it is a special function of two numbers": "igamma igammac",
    "its tensors are sparse": "sparse.mm.reduce",
    "it takes the bits of numbers": "frexp hash_tensor nextafter",
    "no converter has been written": """
        as_strided.partial_views torch.ops.aten._scaled_dot_product_flash_attention_for_cpu""",
    "random or updating where it trains": """
        nn.functional.dropout nn.functional.dropout2d nn.functional.dropout3d nn.functional.embedding_bag
        nn.functional.multi_head_attention_forward nn.functional.rrelu""",
    "its matrices may be large, or be decomposed": """
        linalg.matrix_norm linalg.matrix_rank linalg.matrix_rank.hermitian linalg.tensorsolve""",
    "its tensors may be large": "argsort msort sort",
    "arguments that may be tensors decide what is computed": "nanquantile quantile tensor_split",
    "its edges needn't be sorted": "histogramdd",
}
"""By reasons, the operators of which the first sample or the last is refused."""

OF_SOME_RELEASES = """
    cholesky combinations linalg.solve_triangular max_pool2d_with_indices_backward qr repeat_interleave"""
"""Operators that some releases compose of others that are refused, or ask for larger matrices."""

REFUSED_OPERATORS = {name for names in REASONS.values() for name in names.split()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operator", operators(), ids=name_of)
def test_operators(operator):
    found = list(outcomes(operator, SAMPLES))
    shown = "\n".join(f"sample {each.sample}: {each.status} {each.reason}" for each in found)
    statuses = {each.status for each in found}
    name = name_of(operator)
    assert not statuses & {WRONG, BROKEN}, shown
    if statuses == {UNCOUNTED} or name in OF_SOME_RELEASES.split():
        return
    if name in REFUSED_OPERATORS:
        assert REFUSED in statuses, f"it converts; take it out of the table of refusals\n{shown}"
    else:
        assert REFUSED not in statuses, f"it was right or never asked before\n{shown}"


def test_the_table_names_each_operator_once():
    names = [name for names in REASONS.values() for name in names.split()]
    assert len(names) == len(set(names))
