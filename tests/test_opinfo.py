"""Each operator of PyTorch's own database converts and is right, or stands in the table of those that are refused."""

import pytest

from benchmarks.opinfo import BROKEN, REFUSED, RIGHT, WRONG, name_of, operators, outcomes

SAMPLES = 2
"""Samples of each operator: the first and the last of its own."""

REASONS = {
    "its numbers are random": """
        bernoulli cauchy exponential geometric log_normal multinomial nn.functional.fractional_max_pool2d
        nn.functional.fractional_max_pool3d normal normal.in_place normal.number_mean pca_lowrank rand_like randint_like
        randn_like svd_lowrank uniform""",
    "how large its result is depends on values": """
        argwhere histogramdd masked_select nonzero unique unique_consecutive""",
    "values decide what is computed": "nn.functional.ctc_loss",
    "it decomposes a matrix": """
        geqrf linalg.cond linalg.eig linalg.eigh linalg.eigvals linalg.eigvalsh linalg.householder_product
        linalg.ldl_factor linalg.ldl_factor_ex linalg.ldl_solve linalg.lstsq linalg.lstsq.grad_oriented linalg.lu
        linalg.lu_factor linalg.lu_factor_ex linalg.lu_solve linalg.matrix_sqrth linalg.pinv linalg.pinv.hermitian
        linalg.pinv.singular linalg.polar linalg.qr linalg.svd linalg.svdvals lu lu_solve lu_unpack matrix_exp norm.nuc
        ormqr pinverse qr svd""",
    "its matrix is large": "linalg.tensorinv",
    "it is a special function of two numbers": "igamma igammac",
    "its tensors are sparse": "sparse.mm.reduce",
    "it takes the bits of numbers": "frexp hash_tensor nextafter",
    "no converter has been written": """
        as_strided.partial_views
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu""",
}
"""By reasons, the operators of which no sample converts."""

IN_PART = {
    "random or updating where it trains": """
        _native_batch_norm_legit native_batch_norm nn.functional.dropout
        nn.functional.dropout2d nn.functional.dropout3d nn.functional.embedding_bag
        nn.functional.multi_head_attention_forward nn.functional.rrelu""",
    "its matrices may be large, or be decomposed": """
        linalg.matrix_norm linalg.matrix_rank linalg.matrix_rank.hermitian linalg.solve_ex linalg.tensorsolve""",
    "its tensors may be large": "argsort msort sort",
    "some releases compose it of operators whose results are as large as values say": "combinations repeat_interleave",
    "arguments that may be tensors decide what is computed": "nanquantile quantile tensor_split",
    "its tensors may be empty": "nn.functional.linear",
}
"""Likewise, the operators of which some samples are refused, others not."""


def _reasons(table):
    return {name: reason for reason, names in table.items() for name in names.split()}


REFUSED_OPERATORS, REFUSED_IN_PART = _reasons(REASONS), _reasons(IN_PART)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operator", operators(), ids=name_of)
def test_operators(operator):
    found = list(outcomes(operator, SAMPLES))
    shown = "\n".join(f"sample {each.sample}: {each.status} {each.reason}" for each in found)
    statuses = {each.status for each in found}
    name = name_of(operator)
    assert not statuses & {WRONG, BROKEN}, shown
    if name in REFUSED_OPERATORS:
        assert RIGHT not in statuses, f"it converts; take it out of the table of refusals\n{shown}"
    elif name not in REFUSED_IN_PART:
        assert REFUSED not in statuses, f"it was right or never asked before\n{shown}"


def test_tables_are_of_operators_that_exist_once():
    names = [name for table in (REASONS, IN_PART) for names in table.values() for name in names.split()]
    assert len(names) == len(set(names))
