import torch
import torch.nn.functional as F
from cases import FLOATS, B, Ints, Uniform, case, cases, check
from releases import static_without, takes_symbols

X, LOGITS, LABELS = (B, 3, 5), (B, 5), Ints((B,), 0, 5)
ONE = (torch.float32,)
UNIT = Uniform(X)


def each_reduction(function, *inputs, name, dtypes=ONE, **options):
    """In full for the mean, in float32 for the others."""
    return [
        param
        for reduction in ("mean", "sum", "none")
        for param in case(
            lambda *x, reduction=reduction: function(*x, reduction=reduction, **options),
            *inputs,
            id=f"{name}-{reduction}",
            dtypes=dtypes if reduction == "mean" else ONE,
        )
    ]


@cases(
    each_reduction(F.mse_loss, X, X, name="mse", dtypes=FLOATS),
    each_reduction(F.l1_loss, X, X, name="l1"),
    each_reduction(F.smooth_l1_loss, X, X, name="smooth_l1", dtypes=FLOATS, beta=0.7),
    case(lambda x, y: F.smooth_l1_loss(x, y, beta=0.0), X, X, id="smooth_l1-0", dtypes=ONE),
    each_reduction(F.huber_loss, X, X, name="huber", dtypes=FLOATS, delta=0.7),
    each_reduction(F.gaussian_nll_loss, X, X, UNIT, name="gaussian_nll", full=True),
    case(
        lambda x, y, v: F.gaussian_nll_loss(x, y, v, eps=0.3), X, X, Uniform((B, 3)), id="gaussian_nll-rows", dtypes=ONE
    ),
    case(
        lambda x, y: F.gaussian_nll_loss(x, y, torch.full(x.shape, 0.5)), X, X, id="gaussian_nll-constant", dtypes=ONE
    ),
    each_reduction(F.binary_cross_entropy, UNIT, UNIT, name="bce", dtypes=FLOATS),
    static_without(
        takes_symbols(F.binary_cross_entropy, X, X, X),
        case(lambda x, y, w: F.binary_cross_entropy(x.round(), y, w), UNIT, UNIT, X, id="bce-weight", dtypes=ONE),
    ),
    each_reduction(F.binary_cross_entropy_with_logits, X, UNIT, name="bce-logits", dtypes=FLOATS),
    case(
        lambda x, y, w, p: F.binary_cross_entropy_with_logits(x * 50, y, w, pos_weight=p),
        *(X, UNIT, X, Uniform((5,))),
        id="bce-logits-weights",
        dtypes=ONE,
    ),
    each_reduction(F.soft_margin_loss, X, X, name="soft_margin"),
    case(
        lambda x, y: F.kl_div(x.log_softmax(-1), y.softmax(-1), reduction="batchmean"),
        LOGITS,
        LOGITS,
        id="kl_div",
        dtypes=ONE,
    ),
    case(F.triplet_margin_loss, LOGITS, LOGITS, LOGITS, dtypes=ONE),
    case(F.poisson_nll_loss, X, UNIT, dtypes=ONE),
)
def test_of_numbers(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    each_reduction(F.cross_entropy, LOGITS, LABELS, name="cross_entropy", dtypes=FLOATS),
    each_reduction(F.cross_entropy, LOGITS, LABELS, name="smoothed", label_smoothing=0.1),
    each_reduction(F.cross_entropy, (5, 4), Ints((5,), 0, 4), name="ignored", ignore_index=2),
    case(F.cross_entropy, LOGITS, LABELS, Uniform((5,), 0.1, 1), id="weighted", dtypes=ONE),
    case(lambda x, y: F.cross_entropy(x, torch.where(y > 2, -100, y)), (9, 5), Ints((9,), 0, 5), id="-100", dtypes=ONE),
    each_reduction(F.cross_entropy, (B, 5, 3, 4), Ints((B, 3, 4), 0, 5), name="2d"),
    case(F.cross_entropy, (B, 5, 3), Ints((B, 3), 0, 5), id="1d", dtypes=ONE),
    case(F.cross_entropy, (5,), Ints((), 0, 5), id="no-batch", dtypes=ONE),
    static_without(
        takes_symbols(F.cross_entropy, LOGITS, LOGITS),
        case(lambda x, y: F.cross_entropy(x, y.softmax(-1)), LOGITS, LOGITS, id="probabilities", dtypes=ONE),
    ),
    case(lambda x, y: F.nll_loss(x.log_softmax(-1), y), LOGITS, LABELS, id="nll", dtypes=ONE),
)
def test_of_labels(function, inputs, dtype):
    check(function, inputs, dtype)
