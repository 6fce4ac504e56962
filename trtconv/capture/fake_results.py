"""Fake tensors: for real ones, and for the results of functions whose own code takes long on tensors without values.

That of a recurrent network runs step by step, and makes a number of a symbolic length; a product runs several
operators. What a stand-in doesn't expect goes to the function itself, which knows what to say of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode

from trtconv.capture.recurrent import RECURRENT, RecurrentCall
from trtconv.capture.slicing import SLICES
from trtconv.capture.trace import bind, is_plain
from trtconv.capture.unseen import unseen
from trtconv.sizes import Size


def fake_like(mode: FakeTensorMode, real: torch.Tensor) -> torch.Tensor:
    """A fake tensor for a real one, in a quarter of `FakeTensorMode.from_tensor`'s time where nothing is unusual.

    That one also puts a function of its own into `warnings`, for all threads.
    """
    if not is_plain(real) or real.layout is not torch.strided or real.is_quantized or real.is_conj() or real.is_neg():
        with unseen():
            return mode.from_tensor(real.detach(), static_shapes=True)
    with unseen():
        memory = real.untyped_storage().nbytes()
        if memory == real.numel() * real.itemsize:
            meta = torch.empty_strided(real.shape, real.stride(), dtype=real.dtype, device="meta")
        else:
            room = torch.empty(memory, dtype=torch.uint8, device="meta")
            meta = torch.empty(0, dtype=real.dtype, device="meta")
            meta.set_(room.untyped_storage(), real.storage_offset(), real.shape, real.stride())
        return FakeTensor(mode, meta, real.device)


def _hidden_states(*args: Any) -> Any:
    """The hidden states of all steps, and each last state."""
    call = RecurrentCall.of(*args)
    states = call.states
    width = states[0].shape[2] * (2 if call.bidirectional else 1)
    return states[0].new_empty((*call.input.shape[:-1], width)), *(torch.empty_like(state) for state in states)


def _cell(function: Callable[..., Any], input: Any, hx: Any, *args: Any, **kwargs: Any) -> Any:
    """The states of a cell after one step, for which torch has no code without values on CUDA."""
    if not input.is_cuda:
        return function(input, hx, *args, **kwargs)
    return torch.empty_like(hx) if isinstance(hx, torch.Tensor) else tuple(map(torch.empty_like, hx))


def _grid_sampler(input: Any, *args: Any, **kwargs: Any) -> Any:
    """By the operators that are converted; on CUDA torch takes another in places, which has no code without values."""
    operators = torch.ops.aten.grid_sampler_3d, torch.ops.aten.grid_sampler_2d
    return operators[input.dim() != 5](input, *args, **kwargs)


def _quantile(
    function: Callable[..., Any], input: Any, q: Any, dim: int | None = None, keepdim: bool = False, **kwargs: Any
) -> Any:
    """As PyTorch 2.11 has it, it looks at the values of `q`, and takes numbers only for sizes."""
    try:
        return function(input, q, dim, keepdim, **kwargs)
    except RuntimeError as error:
        if not isinstance(error, DataDependentOutputException) and "symbolic sizes" not in str(error):
            raise
        reduced = torch.nansum(input, dim, keepdim)
        return reduced.new_empty((*(q.shape if isinstance(q, torch.Tensor) else ()), *reduced.shape))


def _instance_norm(*args: Any, **kwargs: Any) -> Any:
    """Before PyTorch 2.11 its own code writes running statistics to their place again, though nothing changed them."""
    arguments = bind(torch.ops.aten.instance_norm.default, args, kwargs)
    return torch.instance_norm(*args, **kwargs) if arguments["use_input_stats"] else torch.empty_like(args[0])


def _einsum(equation: str, *operands: Any) -> Any:
    """Without opt_einsum, which chooses an order by the sizes: the converter has one of its own."""
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    return torch._VF.einsum(equation, operands)  # type: ignore[attr-defined]  # which mypy takes for a module


def _linear(*args: Any, **kwargs: Any) -> Any:
    if len(args) in (2, 3) and not kwargs and _are_alike(args):
        input, weight, bias = (*args, None)[:3]
        fits = input.dim() and weight.dim() == 2 and input.shape[-1] == weight.shape[1]
        if fits and (bias is None or bias.shape == weight.shape[:1]):
            return _empty(input, (*input.shape[:-1], weight.shape[0]))
    return torch.nn.functional.linear(*args, **kwargs)


def _matmul(*args: Any, **kwargs: Any) -> Any:
    if len(args) == 2 and not kwargs and _are_alike(args):
        left, right = args
        fits = left.dim() >= 2 and right.dim() >= 2 and left.shape[-1] == right.shape[-2]
        if fits and (right.dim() == 2 or left.shape[:-2] == right.shape[:-2]):
            return _empty(left, (*left.shape[:-1], right.shape[-1]))
    return torch.matmul(*args, **kwargs)


def _are_alike(tensors: Sequence[Any]) -> bool:
    given = [tensor for tensor in tensors if tensor is not None]
    return (
        all(isinstance(tensor, FakeTensor) for tensor in given)
        and len({(tensor.dtype, tensor.device) for tensor in given}) == 1
    )


def _empty(like: Any, shape: Sequence[Size]) -> torch.Tensor:
    if not all(isinstance(size, int) for size in shape):
        return torch.Tensor.new_empty(like, shape)
    with unseen():
        return FakeTensor(like.fake_mode, torch.empty(shape, dtype=like.dtype, device="meta"), like.device)


_QUANTILES = (torch.quantile, torch.nanquantile, torch.Tensor.quantile, torch.Tensor.nanquantile)

FAKE_RESULTS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(RECURRENT, _hidden_states),
    **{cell: functools.partial(_cell, cell) for cell in (torch.lstm_cell, torch.gru_cell)},
    torch.grid_sampler: _grid_sampler,
    torch.einsum: _einsum,
    torch.instance_norm: _instance_norm,
    **{function: functools.partial(_quantile, function) for function in _QUANTILES},
    torch.nn.functional.linear: _linear,
    **dict.fromkeys((torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__), _matmul),
}


def _quotient(x: Any, y: Any) -> Any:
    """PyTorch 2.8 says that quotients of integers are integers where a size is a symbol."""
    if not all(isinstance(each, torch.Tensor) and _is_integral(each) for each in (x, y)):
        return NotImplemented
    return torch.ops.aten.add.Tensor(x, y).to(torch.get_default_dtype())


def _is_integral(x: torch.Tensor) -> bool:
    return not x.is_floating_point() and not x.is_complex()


def _grouped_mm(x: Any, y: Any, offs: Any = None, bias: Any = None, out_dtype: torch.dtype | None = None) -> Any:
    """Without values PyTorch 2.10 to 2.14 take bfloat16 only, with values other floats as well."""
    inner = x.dim() in (2, 3) and y.dim() in (2, 3) and x.shape[-1] == y.shape[-2] and x.dtype is y.dtype
    if not inner or bias is not None or (offs is None) is not (x.dim() == y.dim() == 3):
        return NotImplemented
    groups = offs.shape if x.dim() == y.dim() == 2 else x.shape[:1] if x.dim() == y.dim() == 3 else ()
    return x.new_empty((*groups, x.shape[-2], y.shape[-1]), dtype=out_dtype or x.dtype)


def _where(condition: Any, x: Any, y: Any) -> Any:
    """Without values conditions are truth values only, with values bytes as well."""
    return torch.ops.aten.where.self(condition.bool(), x, y) if condition.dtype is torch.uint8 else NotImplemented


FAKE_RESULTS_OF_OPERATORS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.div.Tensor: _quotient,
    torch.ops.aten._grouped_mm.default: _grouped_mm,
    torch.ops.aten.where.self: _where,
    **SLICES,
}
"""Operators of which some release gives other results, or none, without values; NotImplemented leaves it to torch."""
