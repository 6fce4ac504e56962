"""Why operators have no converter, and what to do instead.

One table for the errors that name such operators and for docs/operators.md. Operators that follow from a
dynamic size or from constants alone never come to a converter; these are about calls that depend on inputs.
"""

from __future__ import annotations

from torch._ops import OpOverload

RANDOM = (
    "its results are random, and a TensorRT engine can't draw the numbers that PyTorch would; make the numbers an "
    "input of the module"
)
SIZE = (
    "the size of its result depends on values, and sizes in an engine follow from the inputs' sizes; compute all "
    "places and mask the unwanted ones"
)
VALUE = "Python reads its result, which decides what is computed; use tensor operations (torch.where) instead"
COMPLEX = "TensorRT has no complex numbers; compute with real and imaginary parts in tensors of their own"
LINEAR_ALGEBRA = (
    "TensorRT has no layers for decompositions of matrices; compute them outside of the module and make "
    "the result an input"
)
BACKWARD = "it belongs to a gradient, and a converted module computes none"
WRITES = "it writes to or resizes a tensor in place, which has no meaning in an engine"
SERIES = "TensorRT has no layer for this special function"
STEPS = "it takes as many steps as the values say, and an engine's layers are always the same"
BITS = "TensorRT can't take the bits of a floating-point number apart"
WINDOWS = "its windows lie at random, other ones in each call; use an adaptive pool"
REGIONS = (
    "how many pixels its bins have depends on the values of the regions; use torchvision.ops.roi_align, or "
    "ps_roi_align, with a fixed sampling_ratio"
)
EDGES = "torch searches edges that needn't be sorted; compare with the edges, or give numbers of bins"
STRINGS_OF_LABELS = "it sums over all alignments of two sequences; compute this loss outside of the module"

REASONS: dict[str, str] = {
    operator: reason
    for reason, operators in {
        RANDOM: "bernoulli binomial cauchy exponential geometric log_normal multinomial normal normal_functional "
        "poisson rand rand_like randint randint_like randn randn_like random randperm uniform _fused_dropout "
        "_standard_gamma _sample_dirichlet",
        SIZE: "nonzero masked_select _unique _unique2 unique_consecutive unique_dim unique_dim_consecutive bincount",
        VALUE: "_local_scalar_dense allclose equal is_nonzero _assert_async",
        LINEAR_ALGEBRA: "_linalg_eigh _linalg_eigvals _linalg_svd geqrf linalg_eig linalg_householder_product "
        "linalg_ldl_factor_ex linalg_ldl_solve linalg_lstsq linalg_matrix_exp linalg_pinv linalg_qr ormqr",
        BACKWARD: "_adaptive_avg_pool2d_backward avg_pool2d_backward convolution_backward embedding_dense_backward "
        "max_pool2d_with_indices_backward native_group_norm_backward native_layer_norm_backward",
        WRITES: "resize_ resize set",
        SERIES: "igamma igammac",
        STEPS: "gcd lcm",
        BITS: "frexp nextafter",
        EDGES: "_histogramdd_from_bin_tensors",
        WINDOWS: "fractional_max_pool2d fractional_max_pool3d",
        REGIONS: "roi_pool ps_roi_pool",
        STRINGS_OF_LABELS: "_ctc_loss",
    }.items()
    for operator in operators.split()
}
"""By the names of operators, of ATen's and of torchvision's."""


def reason(target: object) -> str:
    """Why calls of a function or an operator can't be converted; "" where no converter is all that is missing."""
    return REASONS.get(target._opname, "") if isinstance(target, OpOverload) else ""
