"""What a conversion leaves in the caller's objects: nothing, so that the model works as before."""

import functools

import pytest
import torch
from torch import nn

import trtconv
from trtconv.inspect import compare


def works(module, *args):
    """The module computes with real tensors, twice the same."""
    first, second = module(*args), module(*args)
    assert type(first) is torch.Tensor
    assert torch.equal(first, second)
    return first


@functools.lru_cache
def table(length):
    return torch.arange(length).float().mul_(2)[None]


class UsesTable(nn.Module):
    def forward(self, x):
        return x * table(x.shape[-1])


@pytest.mark.parametrize("dynamic_shapes", [None, {"x": {0: (1, 2, 5)}}])
def test_constants_in_a_cache_of_functions_are_made_real(dynamic_shapes):
    table.cache_clear()
    x = torch.randn(2, 3)
    converted = trtconv.convert(UsesTable().eval(), [x], dynamic_shapes=dynamic_shapes)
    assert type(table(3)) is torch.Tensor
    assert torch.equal(table(3), torch.tensor([[0.0, 2.0, 4.0]]))
    assert torch.equal(works(UsesTable(), x), x * torch.tensor([0.0, 2.0, 4.0]))
    torch.testing.assert_close(converted(x), UsesTable()(x))


CACHE = {}


class KeepsTables(nn.Module):
    """In a dict outside of itself, a list in a closure and an attribute of another object."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        if "mask" not in CACHE:
            CACHE["mask"] = {"of": [torch.ones(3).cumsum(0), self.linear.weight.t() + 1]}
        mask, weight = CACHE["mask"]["of"]
        return self.linear(x) * mask @ weight


def test_constants_in_containers_outside_are_made_real():
    CACHE.clear()
    module, x = KeepsTables().eval(), torch.randn(2, 3)
    converted = trtconv.convert(module, [torch.randn(2, 3)])
    mask, weight = CACHE["mask"]["of"]
    assert torch.equal(mask, torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(weight, module.linear.weight.t() + 1)
    torch.testing.assert_close(converted(x), works(module, x))
    module.linear.weight.data.zero_()
    assert not torch.equal(weight, torch.ones(3, 3)), "the table isn't the module's memory"


def test_a_hook_that_stores_outputs_is_told_and_the_module_works():
    stored = {}
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    handle = module[0].register_forward_hook(lambda module, args, output: stored.update(features=output))
    example = torch.randn(2, 3)
    with pytest.raises(trtconv.CaptureError, match=r"keeps tensors that depend on an input.*hook") as error:
        trtconv.convert(module, [example])
    assert "module 0" in str(error.value)
    assert type(stored["features"]) is torch.Tensor
    with torch.no_grad():
        torch.testing.assert_close(stored["features"], module[0](example))
    works(module, example)
    handle.remove()
    assert compare(module, trtconv.convert(module, [example]), torch.randn(2, 3)).correct


def test_a_failing_conversion_leaves_real_tensors():
    kept = []

    class Fails(nn.Module):
        def forward(self, x):
            kept.append(torch.ones(3) * 2)
            kept.append(x + 1)
            if x.sum() > 0:
                return x
            return -x

    example = torch.randn(2, 3)
    with pytest.raises(trtconv.DataDependentError):
        trtconv.convert(Fails().eval(), [example])
    assert [type(tensor) for tensor in kept] == [torch.Tensor, torch.Tensor]
    assert torch.equal(kept[0], torch.full((3,), 2.0))
    assert torch.equal(kept[1], example + 1)


@pytest.mark.parametrize("dynamic_shapes", [None, {"x": {0: (1, 3, 5)}}])
def test_stored_activations_have_the_examples_values(dynamic_shapes):
    kept = []

    class Keeps(nn.Module):
        def forward(self, x):
            kept.append(x.relu() * 2)
            return x

    example = torch.randn(3, 2)
    with pytest.raises(trtconv.CaptureError, match="keeps tensors"):
        trtconv.convert(Keeps().eval(), [example], dynamic_shapes=dynamic_shapes)
    for tensor in kept:
        assert torch.equal(tensor, example.relu() * 2)


def test_the_encoder_is_not_touched_while_it_is_converted():
    """Another thread sees it all the time."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1, norm=nn.LayerNorm(8)).eval()
    norm, seen = encoder.norm, []
    encoder.layers[0].register_forward_pre_hook(lambda *_: seen.append(encoder.norm is norm))
    x, padding = torch.randn(2, 4, 8), torch.tensor([[False, False, True, True], [False] * 4])
    converted = trtconv.convert(encoder, [x], {"src_key_padding_mask": padding})
    assert seen and all(seen)
    assert compare(encoder, converted, (x,), {"src_key_padding_mask": padding}).correct
