import torch
import torch.nn.functional as F
from cases import FLOATS, B, case, cases, check
from torch import nn


@cases(
    case(nn.Conv1d(4, 6, 3), (B, 4, 9)),
    case(nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (B, 4, 13), id="conv1d-all"),
    case(nn.Conv2d(4, 6, 3), (B, 4, 8, 9)),
    case(nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1)), (B, 4, 8, 9), id="conv2d-pairs"),
    case(nn.Conv2d(4, 6, 1, bias=False), (B, 4, 8, 9), id="conv2d-1x1"),
    case(nn.Conv2d(4, 4, 3, groups=4), (B, 4, 8, 9), id="conv2d-depthwise"),
    case(nn.Conv2d(4, 8, 3, groups=4), (B, 4, 8, 9), id="conv2d-depthwise-2"),
    case(nn.Conv2d(4, 6, 3, groups=2, bias=False), (B, 4, 8, 9), id="conv2d-groups"),
    case(nn.Conv3d(2, 4, 3), (B, 2, 5, 6, 7)),
    case(nn.Conv3d(2, 4, (1, 2, 3), stride=(2, 1, 2), padding=(0, 1, 1), groups=2), (B, 2, 5, 6, 7), id="conv3d-all"),
    case(nn.Conv3d(2, 4, 2, dilation=(1, 2, 2), bias=False), (B, 2, 5, 6, 7), id="conv3d-dilation"),
)
def test_convolution(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(nn.Conv1d(4, 6, 3, padding="same"), (B, 4, 9), id="same-1d"),
    case(nn.Conv1d(4, 6, 4, padding="same"), (B, 4, 9), id="same-1d-even"),
    case(nn.Conv2d(4, 6, (3, 5), padding="same", dilation=(2, 1)), (B, 4, 8, 9), id="same"),
    case(nn.Conv2d(4, 6, (2, 3), padding="same"), (B, 4, 8, 9), id="same-even"),
    case(nn.Conv3d(2, 4, (2, 3, 4), padding="same"), (B, 2, 5, 6, 7), id="same-3d"),
    case(nn.Conv2d(4, 6, 3, padding="valid"), (B, 4, 8, 9), id="valid"),
    case(nn.Sequential(nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(4, 6, 3)), (B, 4, 8, 9), id="zero-pad"),
    case(nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (B, 4, 8, 9), id="circular"),
    case(nn.Conv1d(4, 6, 3, padding=2, padding_mode="reflect"), (B, 4, 9), id="reflect"),
    case(nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode="replicate"), (B, 4, 8, 9), id="replicate"),
)
def test_padding(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(nn.Conv1d(4, 6, 3), (4, 9), id="conv1d"),
    case(nn.Conv2d(4, 6, 3, padding=1), (4, 8, 9), id="conv2d"),
    case(nn.Conv3d(2, 4, 2), (2, 5, 6, 7), id="conv3d"),
    case(nn.ConvTranspose1d(4, 6, 3), (4, 9), id="transposed1d"),
    case(nn.ConvTranspose2d(4, 6, 3), (4, 8, 9), id="transposed2d"),
    case(nn.ConvTranspose3d(2, 4, 2), (2, 5, 6, 7), id="transposed3d"),
)
def test_unbatched(function, inputs, dtype):
    check(function, inputs, dtype)


@cases(
    case(nn.ConvTranspose1d(4, 6, 3), (B, 4, 9)),
    case(nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (B, 4, 9), id="1d-all"),
    case(nn.ConvTranspose2d(4, 6, 3), (B, 4, 5, 6)),
    case(nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False), (B, 4, 5, 6), id="2d-upsampling"),
    case(nn.ConvTranspose2d(4, 6, (3, 4), stride=(1, 2), padding=(0, 1)), (B, 4, 5, 6), id="2d-pairs"),
    case(nn.ConvTranspose2d(4, 6, 3, dilation=2, groups=2), (B, 4, 5, 6), id="2d-dilation"),
    case(nn.ConvTranspose2d(4, 4, 3, stride=2, groups=4), (B, 4, 5, 6), id="2d-depthwise"),
    case(nn.ConvTranspose2d(4, 6, 3, stride=2, dilation=2, padding=1), (B, 4, 5, 6), id="2d-stride-dilation"),
    case(nn.ConvTranspose2d(4, 6, 3, stride=2, dilation=(1, 3)), (B, 4, 5, 6), id="2d-one-dilated"),
    case(nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (B, 4, 5, 6), id="2d-output_padding"),
    case(nn.ConvTranspose2d(4, 6, 3, stride=3, output_padding=2), (B, 4, 5, 6), id="2d-output_padding-beyond"),
    case(nn.ConvTranspose2d(4, 6, 3, stride=3, padding=1, output_padding=(2, 1)), (B, 4, 5, 6), id="2d-partly-beyond"),
    case(nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, bias=False), (B, 4, 5, 6), id="2d-beyond-no-bias"),
    case(nn.ConvTranspose3d(2, 4, 3), (B, 2, 3, 4, 5)),
    case(
        nn.ConvTranspose3d(2, 4, (1, 2, 3), stride=(1, 2, 2), padding=(0, 1, 0), output_padding=(0, 1, 1)),
        (B, 2, 3, 4, 5),
        id="3d-all",
    ),
)
def test_transposed(function, inputs, dtype):
    check(function, inputs, dtype)


class GivenSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.ConvTranspose2d(4, 6, 3, stride=2)

    def forward(self, x):
        return self.inner(x, output_size=(12, 13))


class Unnormalized(nn.Module):
    """A kernel computed from a parameter: a constant all the same."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4, 3, 3))

    def forward(self, x):
        return F.conv2d(x, self.weight / self.weight.amax((1, 2, 3), keepdim=True))


@cases(
    case(F.conv1d, (B, 4, 9), (6, 4, 3), id="conv1d"),
    case(F.conv2d, (B, 4, 8, 9), (6, 4, 3, 3), id="conv2d"),
    case(lambda x, w, b: F.conv2d(x, w, b, 2, 1, 1, 2), (B, 4, 8, 9), (6, 2, 3, 3), (6,), id="conv2d-bias"),
    case(lambda x, w: F.conv2d(x * 2, w.relu(), padding=1), (B, 4, 8, 9), (6, 4, 3, 3), id="activations"),
    case(lambda w: F.conv2d(torch.ones(2, 4, 5, 5, dtype=w.dtype), w), (6, 4, 3, 3), id="constant-input"),
    case(F.conv3d, (B, 4, 5, 5, 5), (6, 4, 3, 3, 3), id="conv3d"),
    case(F.conv_transpose1d, (B, 4, 9), (4, 6, 3), id="transposed1d"),
    case(F.conv_transpose2d, (B, 4, 8, 9), (4, 6, 3, 3), id="transposed2d"),
    case(lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1), (B, 4, 8, 9), (4, 6, 3, 3), (6,), id="transposed-bias"),
    case(GivenSize(), (B, 4, 5, 6), id="output_size"),
    case(lambda x: F.conv2d(x, torch.ones(4, 1, 3, 3, dtype=x.dtype), groups=4), (B, 4, 8, 9), id="inline-kernel"),
    case(Unnormalized(), (B, 4, 8, 9), id="normalized-kernel"),
    case(lambda x: torch.convolution(x, torch.ones(2, 4, 3, 3, dtype=x.dtype), None, [2], [1], [1], False, [0], 1),
         (B, 4, 8, 9), id="one-number-for-all-axes"),
)  # fmt: skip
def test_weights(function, inputs, dtype):
    check(function, inputs, dtype)


def test_strided_dilated_computed_kernel():
    check(lambda x, w: F.conv_transpose2d(x, w, stride=2, dilation=2), ((2, 4, 5, 5), (4, 6, 3, 3)), FLOATS[0])


def test_batch_norm_is_folded_without_loss():
    """A bias that is large beside the weights costs none of their products' digits."""
    module = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)).eval()
    with torch.no_grad():
        module[0].weight.normal_(0, 0.0005)
        module[1].bias.normal_(0, 0.05)
    check(module, ((1, 64, 20, 20),), torch.float32)
