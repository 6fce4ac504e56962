import pytest
import torch
import torch.nn.functional as F
from cases import B, Uniform, case, cases, check
from torch import nn

import trtconv
from trtconv import ConversionError
from trtconv.inspect import compare

aten = torch.ops.aten

FLOAT = (torch.float32,)
X = (B, 4, 6, 5)


def trained(norm):
    """Statistics and weights as after training."""
    with torch.no_grad():
        if norm.running_mean is not None:
            norm.running_mean.normal_(mean=3)
            norm.running_var.uniform_(0.5, 2)
        if norm.weight is not None:
            norm.weight.uniform_(-2, 2)
            norm.bias.normal_()
    return norm


def functional(x):
    return F.batch_norm(x, torch.full((4,), 2.0, dtype=x.dtype), torch.full((4,), 0.25, dtype=x.dtype), eps=0.1)


@cases(
    case(trained(nn.BatchNorm1d(4)), (B, 4), id="1d-vectors"),
    case(trained(nn.BatchNorm1d(4)), (B, 4, 7), id="1d"),
    case(trained(nn.BatchNorm2d(4)), X, id="2d"),
    case(trained(nn.BatchNorm3d(4)), (B, 4, 3, 6, 5), id="3d"),
    case(trained(nn.BatchNorm2d(4, affine=False)), X, id="affine-False"),
    case(trained(nn.BatchNorm2d(4, eps=1e-1, momentum=None)), X, id="eps"),
    case(functional, X, id="functional"),
    case(lambda x: F.batch_norm(x, running_var=torch.ones(4, dtype=x.dtype), running_mean=torch.ones(4, dtype=x.dtype)),
         X, id="keywords"),
    case(nn.Sequential(trained(nn.BatchNorm2d(4)), nn.Conv2d(4, 6, 3)), X, id="before-convolution"),
    case(trained(nn.BatchNorm2d(4, track_running_stats=False)), X, id="no-statistics"),
    case(nn.BatchNorm1d(4, track_running_stats=False), (4, 4), id="no-statistics-vectors", dtypes=FLOAT),
    case(lambda x, w: F.batch_norm(x, None, None, w, training=True), X, (4,), id="of-the-batch", dtypes=FLOAT),
    case(lambda x: torch.ops.aten._native_batch_norm_legit.no_stats(x, None, None, True, 0.1, 1e-5)[0], X,
         id="aten-no-statistics", dtypes=FLOAT),
    case(lambda x, w, b: F.batch_norm(x, w.new_zeros(4), w.new_ones(4), w, b), X, (4,), (4,), id="computed-weights"),
    case(F.batch_norm, X, (4,), Uniform((4,), 0.5, 2), id="computed-statistics"),
)  # fmt: skip
def test_batch_norm(function, inputs, dtype):
    check(function, inputs, dtype)


def test_batch_norm_that_updates_its_statistics_is_refused():
    with pytest.raises(ConversionError, match="updates its running statistics"):
        check(lambda x: F.batch_norm(x, torch.zeros(4), torch.ones(4), training=True), (X,), torch.float32)


class TwoConsumers(nn.Module):
    """The convolution's result is also added: it can't have the norm in its weights."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), trained(nn.BatchNorm2d(4))

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


class AlsoOutput(TwoConsumers):
    def forward(self, x):
        y = self.conv(x)
        return y, self.norm(y)


class TwoNorms(TwoConsumers):
    """One convolution's result under two norms."""

    def __init__(self):
        super().__init__()
        self.other = trained(nn.BatchNorm2d(4))

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) - self.other(y)


class CalledTwice(TwoConsumers):
    """One convolution called twice, with a norm after one of the calls."""

    def forward(self, x):
        return self.norm(self.conv(x)), self.conv(x + 1)


class NormTwice(TwoConsumers):
    def forward(self, x):
        return self.norm(self.norm(self.conv(x)))


def after(convolution, norm):
    return nn.Sequential(convolution, trained(norm))


@cases(
    case(after(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)), (B, 4, 9), id="conv1d"),
    case(after(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)), X, id="conv2d"),
    case(after(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)), X, id="no-bias"),
    case(after(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6, affine=False)), X, id="groups"),
    case(after(nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8)), X, id="depthwise"),
    case(after(nn.Conv3d(4, 6, 2), nn.BatchNorm3d(6)), (B, 4, 3, 4, 5), id="conv3d"),
    case(after(nn.ConvTranspose1d(4, 6, 3), nn.BatchNorm1d(6)), (B, 4, 9), id="transposed1d"),
    case(after(nn.ConvTranspose2d(4, 6, 3, stride=2), nn.BatchNorm2d(6)), X, id="transposed2d"),
    case(after(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), X, id="transposed-groups"),
    case(after(nn.ConvTranspose2d(4, 6, 3, 3, output_padding=2), nn.BatchNorm2d(6)), X, id="transposed-beyond"),
    case(nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), trained(nn.BatchNorm2d(6))), X, id="relu-between"),
    case(TwoConsumers(), X),
    case(AlsoOutput(), X),
    case(TwoNorms(), X),
    case(CalledTwice(), X),
    case(NormTwice(), X),
)
def test_batch_norm_after_convolution(function, inputs, dtype):
    check(function, inputs, dtype)


def varied(norm):
    """Weights that aren't 1 and 0."""
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.uniform_(-2, 2)
    return norm


@cases(
    case(varied(nn.LayerNorm(5)), (B, 3, 5), id="layer"),
    case(varied(nn.LayerNorm((3, 5))), (B, 3, 5), id="layer-two-axes"),
    case(varied(nn.LayerNorm(5)), (5,), id="layer-vector"),
    case(varied(nn.LayerNorm(5, bias=False, eps=0.1)), (B, 4, 3, 5), id="layer-no-bias"),
    case(nn.LayerNorm(5, elementwise_affine=False), (B, 5), id="layer-no-weights"),
    case(lambda x, w, b: F.layer_norm(x, (5,), w, b), (B, 3, 5), (5,), (5,), id="layer-computed-weights"),
    case(lambda x: F.layer_norm(x * 20 + 100, x.shape[1:]), (B, 3, 50), id="layer-large-mean"),
    case(varied(nn.GroupNorm(2, 4)), X, id="group"),
    case(varied(nn.GroupNorm(4, 4)), (2, 4), id="group-vectors"),  # torch refuses a batch of one
    case(varied(nn.GroupNorm(1, 4, eps=0.1)), (B, 4, 7), id="group-one"),
    case(nn.GroupNorm(2, 4, affine=False), (B, 4, 3, 2, 5), id="group-no-weights"),
    case(lambda x, w: F.group_norm(x, 2, w), X, (4,), id="group-computed-weight"),
    case(nn.InstanceNorm1d(4), (B, 4, 7), id="instance1d"),
    case(varied(nn.InstanceNorm2d(4, affine=True)), X, id="instance2d"),
    case(nn.InstanceNorm3d(4, eps=0.1), (B, 4, 3, 2, 5), id="instance3d"),
    case(nn.InstanceNorm2d(4), (4, 6, 5), id="instance-unbatched"),
    case(trained(nn.InstanceNorm2d(4, affine=True, track_running_stats=True)), X, id="instance-statistics"),
    case(lambda x: F.instance_norm(x, weight=x.mean((0, 2, 3))), X, id="instance-computed-weight"),
    case(varied(nn.RMSNorm(5)), (B, 3, 5), id="rms"),
    case(varied(nn.RMSNorm((3, 5), eps=0.1)), (B, 3, 5), id="rms-two-axes"),
    case(nn.RMSNorm(5, elementwise_affine=False), (5,), id="rms-vector"),
    case(lambda x, w: F.rms_norm(x * 100, (5,), weight=w), (B, 3, 5), (5,), id="rms-computed-weight"),
)
def test_normalization(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(nn.LocalResponseNorm(3), (B, 5, 4, 4), id="local_response", dtypes=FLOAT),
    case(nn.LocalResponseNorm(2, alpha=0.1, beta=0.5, k=2), (B, 5, 4), id="local_response-3d"),
    case(nn.LocalResponseNorm(5, alpha=1), (B, 4, 2, 3, 4), id="local_response-5d", dtypes=FLOAT),
    case(F.normalize, (B, 3, 5)),
    case(lambda x: F.normalize(x, p=1, dim=-1), (B, 3, 5), id="normalize-1"),
    case(lambda x: F.normalize(x, p=3.0, dim=0, eps=1), (B, 3, 5), id="normalize-3"),
    case(lambda x: F.normalize(x * 0), (B, 3, 5), id="normalize-zeros"),
)
def test_decomposed_normalization(function, inputs, dtype):
    check(function, inputs, dtype)


class Follows(nn.Module):
    """A norm by its input, whose statistics are inputs that it writes to."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x, mean, var):
        y = self.norm(x, mean, var, momentum=0.3)
        return y, mean, var


@pytest.mark.parametrize(
    "norm",
    [
        lambda x, mean, var, momentum: F.batch_norm(x, mean, var, training=True, momentum=momentum),
        lambda x, mean, var, momentum: F.instance_norm(x, mean, var, momentum=momentum),
        lambda x, mean, var, momentum: aten._native_batch_norm_legit(x, None, None, mean, var, True, momentum, 1e-5)[0],
    ],
    ids=["batch", "instance", "operator"],
)
def test_statistics_that_are_inputs_follow(norm):
    module = Follows(norm)

    def inputs():
        return torch.randn(3, 4, 5) + 1, torch.randn(4), torch.rand(4)

    converted = trtconv.convert(module, inputs())
    given = inputs()
    own, written = (tuple(map(torch.clone, given)) for _ in range(2))
    module(*own), converted(*written)
    assert compare(module, converted, given).correct
    assert not torch.equal(own[1], given[1])
    for expected, result in zip(own, written, strict=True):
        torch.testing.assert_close(result, expected)
