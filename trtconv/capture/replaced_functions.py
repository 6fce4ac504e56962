"""What runs in place of torch functions whose own code, in C++, reads sizes or values that fake tensors don't have.

Each gives NotImplemented where torch's own code does.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

from trtconv.capture.numbers import OF_NUMBERS
from trtconv.capture.slicing import unfold
from trtconv.capture.statistics import STATISTICS
from trtconv.capture.trace import DependsOnInput, Origin
from trtconv.errors import CaptureError, DataDependentError

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8)


def take_along_dim(
    depends: DependsOnInput, input: torch.Tensor, indices: torch.Tensor, dim: int | None = None, *, out: Any = None
) -> Any:
    """torch broadcasts by numbers, which it takes from the symbols."""
    if dim is None or out is not None or input.dim() != indices.dim():
        return NotImplemented
    dim %= input.dim()
    count = input.shape[dim]
    shape = [n if m == 1 else m for n, m in zip(input.shape, indices.shape, strict=True)]
    places = indices.expand([*shape[:dim], indices.shape[dim], *shape[dim + 1 :]])
    data = input.expand([*shape[:dim], count, *shape[dim + 1 :]])
    return data.gather(dim, torch.where(places < 0, places + count, places))


def getitem(depends: DependsOnInput, x: Any, key: Any) -> Any:
    """torch reads the values of an index without axes, of masks and of the bounds of slices, and knows no bytes."""
    places = list(key) if isinstance(key, tuple) else [key]
    if any(map(_needs_values, places)):
        return x[tuple(map(_without_values, places))]
    indices = [each.nonzero().unbind(1) if _is_mask(each) and not depends(each) else (each,) for each in places]
    if any(index[0] is not place for index, place in zip(indices, places, strict=True)):
        return x[tuple(index for each in indices for index in each)]
    number = _number(depends, places)
    if number is None:
        return NotImplemented
    places[number] = places[number].reshape(1)
    return x[tuple(places)].squeeze(-1 - _axes_after(x, places, number))


def setitem(depends: DependsOnInput, x: Any, key: Any, value: Any) -> Any:
    """torch reads the value of an index without axes, and of the bounds of slices, and knows no masks of bytes."""
    places = list(key) if isinstance(key, tuple) else [key]
    if any(map(_needs_values, places)):
        x[tuple(map(_without_values, places))] = value
        return None
    number = _number(depends, places)
    if number is None:
        return NotImplemented
    places[number] = places[number].reshape(1)
    if isinstance(value, torch.Tensor) and value.dim() >= _axes_after(x, places, number):
        value = value.unsqueeze(value.dim() - _axes_after(x, places, number))
    x[tuple(places)] = value
    return None


def tensor_split(depends: DependsOnInput, input: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    """torch reads the places from a tensor's memory, which a stand-in doesn't have."""
    places = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)]
    if len(places) != 1:
        return NotImplemented
    dim = next((each for each in (*args, *kwargs.values()) if each is not places[0]), 0)
    return torch.tensor_split(input, places[0].tolist(), dim)


def polygamma_(depends: DependsOnInput, input: torch.Tensor, n: int) -> Any:
    """torch knows no form of it that doesn't write."""
    return input.copy_(input.polygamma(n))


def multilabel_margin_loss(
    depends: DependsOnInput,
    input: torch.Tensor,
    target: torch.Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """Without values, PyTorch up to 2.12 counts what stands behind the first -1 among the labels too."""
    if input.shape != target.shape or size_average is not None or reduce is not None:
        return NotImplemented
    input, target = (each if each.dim() else each.reshape(1) for each in (input, target))
    count = input.shape[-1]
    places = torch.arange(count, device=target.device)
    end = torch.where(target == -1, places, count).amin(-1, keepdim=True)
    is_label = (places < end)[..., None]
    is_class = ((target[..., None] == places) & is_label).any(-2, keepdim=True)
    labelled = input.gather(-1, torch.where(is_label[..., 0], target, 0))
    margins = (1 - labelled[..., None] + input[..., None, :]).clamp_min(0)
    losses = torch.where(is_label & ~is_class, margins, 0).sum((-2, -1)) / count
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def transformed(origin: Callable[[], Origin], depends: DependsOnInput, *args: Any, **kwargs: Any) -> Any:
    """Functions of torch.func run their argument on tensors of a kind of their own, autograd needs a graph."""
    raise CaptureError(
        f"{origin()}: the forward pass takes derivatives or runs a transformation of torch.func (vmap, grad, vjp, "
        "jvp), which can't be captured. Write vmap's function for a batch, derivatives as formulas, or leave this "
        "part in PyTorch"
    )


def narrow(depends: DependsOnInput, input: torch.Tensor, dim: int, start: Any, length: Any) -> Any:
    """torch reads the start."""
    if not isinstance(start, torch.Tensor) or not depends(start):
        return NotImplemented
    size = input.shape[dim]
    places = start.reshape(()) + torch.arange(length, device=start.device)
    return input.index_select(dim, torch.where(places[0] < 0, places + size, places))


def multiscale_roi_align(
    depends: DependsOnInput,
    x_filtered: list[torch.Tensor],
    boxes: list[torch.Tensor],
    output_size: Any,
    sampling_ratio: int,
    scales: Any,
    mapper: Any,
) -> Any:
    """torchvision takes the regions of each level out, however many. Here each level gives them all."""
    poolers = sys.modules["torchvision.ops.poolers"]
    if len(x_filtered) == 1 or not any(map(depends, boxes)):
        return NotImplemented
    regions, levels = poolers._convert_to_roi_format(boxes), mapper(boxes)
    result = None
    for level, (features, scale) in enumerate(zip(x_filtered, scales, strict=True)):
        values = poolers.roi_align(features, regions, output_size, scale, sampling_ratio)
        chosen = (levels == level)[:, None, None, None]
        result = values if result is None else torch.where(chosen, values.to(result.dtype), result)
    return result


def ignore_bidirectional_mask(
    depends: DependsOnInput, padding_mask: torch.Tensor | None, kv_length: Any = None, local_attention_size: Any = None
) -> Any:
    """transformers leaves out a mask that masks nothing, but not of code that is exported: it would read an input."""
    if padding_mask is None or local_attention_size is not None:
        return NotImplemented
    try:
        return bool(padding_mask.all())
    except DataDependentError:
        return NotImplemented


def transformer_encoder(
    depends: DependsOnInput,
    encoder: torch.nn.TransformerEncoder,
    src: torch.Tensor,
    mask: torch.Tensor | None = None,
    src_key_padding_mask: torch.Tensor | None = None,
    is_causal: bool | None = None,
) -> Any:
    """Without gradients torch computes left-aligned sequences without their padding, and then pads with zeros."""
    first: Any = encoder.layers[0]
    if (
        src_key_padding_mask is None
        or mask is not None
        or src.dim() != 3
        or first.training
        or torch.is_autocast_enabled()
        or not (encoder.use_nested_tensor and torch.backends.mha.get_fastpath_enabled())
    ):
        return NotImplemented
    padded = src_key_padding_mask.to(torch.bool)
    # The same layers, without the norm and without the way by nested tensors.
    layers = copy.copy(encoder)
    layers.__dict__ |= {"_modules": {**encoder._modules, "norm": None}, "use_nested_tensor": False}
    output = torch.nn.TransformerEncoder.forward(layers, src, mask, src_key_padding_mask, is_causal)
    if encoder.mask_check:
        padded = padded & (padded[:, 1:] >= padded[:, :-1]).all()
    output = output.masked_fill(padded[..., None], 0)
    return output if encoder.norm is None else encoder.norm(output)


def _needs_values(index: Any) -> bool:
    """Whether torch doesn't know this part of an index without values: bounds that are tensors, masks of bytes."""
    if isinstance(index, slice):
        return any(isinstance(each, torch.Tensor) for each in (index.start, index.stop, index.step))
    return _is_mask(index) and index.dtype is torch.uint8


def _without_values(index: Any) -> Any:
    if not _needs_values(index):
        return index
    if not isinstance(index, slice):
        return index.bool()
    bounds = (index.start, index.stop, index.step)
    return slice(*(each.item() if isinstance(each, torch.Tensor) else each for each in bounds))


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8) and index.dim() > 0


def _number(depends: DependsOnInput, places: list[Any]) -> int | None:
    """The place of the only tensor among the indices, if that has no axes and depends on an input."""
    tensors = [i for i, each in enumerate(places) if isinstance(each, (torch.Tensor, list, bool))]
    if len(tensors) != 1 or not isinstance(places[tensors[0]], torch.Tensor):
        return None
    index = places[tensors[0]]
    return tensors[0] if index.dim() == 0 and index.dtype in _INTEGERS and depends(index) else None


def _axes_after(x: torch.Tensor, places: list[Any], place: int) -> int:
    """How many axes of the result come after the one of the index at this place."""
    rest = x.dim() - sum(each is not None and each is not Ellipsis for each in places)
    if any(each is Ellipsis for each in places[:place]):
        rest = 0
    return rest + sum(each is None or isinstance(each, slice) for each in places[place + 1 :])


REPLACED: dict[Any, Callable[..., Any]] = {
    **STATISTICS,
    **OF_NUMBERS,
    torch.take_along_dim: take_along_dim,
    torch.Tensor.take_along_dim: take_along_dim,
    torch.Tensor.__getitem__: getitem,
    torch.Tensor.__setitem__: setitem,
    torch.tensor_split: tensor_split,
    torch.Tensor.tensor_split: tensor_split,
    torch.Tensor.polygamma_: polygamma_,
    torch.Tensor.unfold: unfold,
    torch.nn.functional.multilabel_margin_loss: multilabel_margin_loss,
    torch.narrow: narrow,
    torch.Tensor.narrow: narrow,
    torch.autograd.grad: transformed,
}

_OF_LIBRARIES: dict[str, dict[str, Callable[..., Any]]] = {
    "torch._functorch.vmap": {"vmap_impl": transformed},
    "torch._functorch.eager_transforms": {
        "grad_impl": transformed,
        "grad_and_value_impl": transformed,
        "_vjp_with_argnums": transformed,
        "_jvp_with_argnums": transformed,
    },
    "torchvision.ops.poolers": {"_multiscale_roi_align": multiscale_roi_align},
    "transformers.masking_utils": {"_ignore_bidirectional_mask_sdpa": ignore_bidirectional_mask},
}


def replaced_functions(origin: Callable[[], Origin]) -> dict[Any, Callable[..., Any]]:
    """The functions to run instead of others: of torch, and of the libraries that are loaded.

    Args:
        origin: Tells where the call under way comes from.
    """
    loaded = {
        getattr(sys.modules[module], name): function
        for module, functions in _OF_LIBRARIES.items()
        if module in sys.modules
        for name, function in functions.items()
        if hasattr(sys.modules[module], name)
    }
    located = functools.partial(transformed, origin)
    return {each: located if way is transformed else way for each, way in {**REPLACED, **loaded}.items()}


def first_of(*tables: Mapping[Any, Callable[..., Any]]) -> dict[Any, Callable[..., Any]]:
    """The functions to run instead of torch's; where those of one table give NotImplemented, the next has the say."""

    def chained(function: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
        def run(depends: DependsOnInput, *args: Any, **kwargs: Any) -> Any:
            result = function(depends, *args, **kwargs)
            return other(depends, *args, **kwargs) if result is NotImplemented else result

        return run

    result: dict[Any, Callable[..., Any]] = {}
    for table in reversed(tables):
        both = {target: chained(table[target], result[target]) for target in table if target in result}
        result = {**result, **table, **both}
    return result


def replaced_methods(module: torch.nn.Module) -> dict[Any, Callable[..., Any]]:
    """The methods of a module's parts to run instead of others."""
    if any(isinstance(each, torch.nn.TransformerEncoder) for each in module.modules()):
        return {torch.nn.TransformerEncoder.forward: transformer_encoder}
    return {}
