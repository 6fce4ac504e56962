"""What a user gives to calibrate with, as input tensors of calls.

Calibration data are anything that gives samples: a list, a tensor (its first dimension counts them), a generator, a
DataLoader, a data set, an object with ``__len__`` and ``__getitem__``. A sample is what the module is called with: a
tensor, a tuple or list of positional arguments, or a dict of arguments by name, on any device.

- **Labels are left out**: of a tuple as many arguments are taken as the conversion gave tensors in, of a dict those
  that it gave tensors in by name.
- **Batched or not** is told by the number of dimensions: a sample whose tensors have one dimension fewer than the
  module's inputs is one item of a batch. Items, and batches of another size than the module takes, are gathered to
  batches of its size (where that may vary, of the size that it is optimized for). Items of other shapes begin a new
  batch; a batch that isn't full is filled up with its own items again.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy
import torch
from torch import Tensor

from trtconv.calibration.progress import progress
from trtconv.calling.signature import Signature
from trtconv.calling.structure import PLAIN, as_plain, map_leaves, take_apart
from trtconv.dtypes import name_of, to_engine
from trtconv.errors import InputError
from trtconv.places import warn
from trtconv.sizes.ranges import Range


def samples(data: Any, signature: Signature, title: str = "Calibrating") -> Iterator[list[Tensor]]:
    """The calls that calibration data stand for, each as the network's inputs in the order of `signature.inputs`.

    Args:
        data: As this file says. They are gone through once, and at most one batch of them is kept.
        signature: How the module is called.
        title: What stands before the progress bar, which there is in terminals and notebooks that have tqdm.

    Raises:
        InputError: a sample doesn't fit the module; the message has its index.
        TypeError: `data` gives no samples.
        ValueError: there are none.
    """
    check_data(data)
    batches = _Batches(signature)
    some = False
    for index, item in enumerate(progress(_items(data), _count(data), title)):
        try:
            for batch in batches.add(_tensors(item, signature)):
                some = True
                yield batch
        except (InputError, TypeError) as error:
            raise InputError(f"calibration sample {index}: {error}") from error
    for batch in batches.rest():
        some = True
        yield batch
    if not some:
        raise ValueError("the calibration data are empty: give at least one sample")


def example_samples(signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[list[Tensor]]:
    """The inputs of the conversion as calibration data, with a warning that says how many samples they are."""
    tensors = signature.tensors_of(args, kwargs)
    sizes = {tensor.shape[:1] for tensor in tensors}
    count = next(iter(sizes)).numel() if len(sizes) == 1 else 1
    warn(
        f"calibrated with the conversion inputs, {count} sample{'s' * (count != 1)}: what other inputs do isn't seen; "
        "give calibration=data, some dozens of inputs as the module will get them"
    )
    return [[to_engine(tensor.detach()) for tensor in tensors]]


def check_data(data: Any) -> None:
    """Raise `TypeError` unless calibration data can give samples."""
    if isinstance(data, (str, bytes, os.PathLike)):
        raise TypeError(
            f"calibration={data!r} is a path; of a folder of pictures, give "
            f"trtconv.calibration.pictures({data!r}, transform) with the transform that the model needs"
        )
    if isinstance(data, Mapping):
        raise TypeError("calibration is a dict, which stands for one sample; give a list of them: calibration=[...]")
    if isinstance(data, Tensor) and not data.dim():
        raise TypeError("calibration is a tensor without dimensions; its first dimension has to count the samples")
    if not hasattr(data, "__iter__") and not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise TypeError(
            f"calibration is a {type(data).__module__}.{type(data).__qualname__}; it takes what gives samples: a list, "
            "a tensor, a generator, a DataLoader or a data set"
        )


def _items(data: Any) -> Iterable[Any]:
    return data if hasattr(data, "__iter__") else (data[index] for index in range(len(data)))


def _count(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:  # a generator, or a DataLoader of one
        return None


# -- one sample -----------------------------------------------------------------------------------

_TENSOR = object()
"""Stands in the arguments of the conversion where there was a tensor."""


def _tensors(item: Any, signature: Signature) -> list[Tensor]:
    """The tensors of a sample, in the order of the signature's inputs."""
    item = map_leaves(_as_tensor, dict(item) if isinstance(item, Mapping) else item)
    args, kwargs = signature.arguments.fill([_TENSOR] * len(signature.inputs))
    by_name = [name for name, value in signature.parameters.named(args, kwargs) if _has_tensors(value)]
    if isinstance(item, Mapping) and not set(by_name).isdisjoint(item):
        args, kwargs = _with_named(item, signature, args, kwargs)
    else:
        args, kwargs = _with_positional(item, args, kwargs, by_name)
    tensors = [as_plain(tensor).detach() for tensor in signature.tensors_of(args, kwargs)]
    for tensor, spec in zip(tensors, signature.inputs, strict=True):
        if tensor.dtype is not spec.dtype:
            signature.bind(*signature.arguments.fill(tensors))  # which says so
    return tensors


def _as_tensor(leaf: Any) -> Any:
    return torch.from_numpy(leaf) if isinstance(leaf, numpy.ndarray) else leaf


def _has_tensors(value: Any) -> bool:
    return any(leaf is _TENSOR for leaf in take_apart(value)[0])


def _with_named(
    item: Mapping[str, Any], signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the conversion with those that held tensors taken from a dict."""
    positional = [each.name for each in signature.parameters.all if each.kind.startswith("POSITIONAL")]

    def of(name: str, known: Any) -> Any:
        if not _has_tensors(known):
            return known
        if name not in item:
            raise InputError(f"{name!r} is missing in the dict; it has {', '.join(map(repr, item))}")
        return item[name]

    names = itertools.chain(positional, itertools.repeat(""))  # behind them are those of *args
    return (
        tuple(of(name, known) for name, known in zip(names, args, strict=False)),
        {name: of(name, known) for name, known in kwargs.items()},
    )


def _with_positional(
    item: Any, args: tuple[Any, ...], kwargs: dict[str, Any], by_name: list[str]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the conversion with the first ones, up to the last that held tensors, taken from a sample."""
    given = tuple(item) if isinstance(item, (tuple, list)) else (item,)
    count = max((place + 1 for place, known in enumerate(args) if _has_tensors(known)), default=0)
    if len(given) < count or any(map(_has_tensors, kwargs.values())):
        raise InputError(
            f"it has {_shown(item)}; the module takes tensors in {', '.join(map(repr, by_name))}: give each sample as "
            f"a dict with these keys{', or as a tuple in this order' if not kwargs else ''}"
        )
    for place, value in enumerate(given[:count]):
        if not isinstance(value, Tensor) and args[place] is _TENSOR:
            raise InputError(
                f"it has {_shown(value)} where the module takes a tensor, {by_name[0]!r}: give samples as tensors, for "
                "pictures by the transform of the data set (torchvision.transforms.ToTensor() for one)"
            )
    return (*given[:count], *args[count:]), kwargs


def _shown(item: Any) -> str:
    if isinstance(item, Tensor):
        return f"one tensor, {name_of(item.dtype)}{list(item.shape)}"
    if isinstance(item, (tuple, list)):
        return f"a {type(item).__name__} of {len(item)}"
    if isinstance(item, Mapping):
        return f"a dict with the keys {', '.join(map(repr, item)) or '(none)'}"
    return f"{item!r}" if isinstance(item, PLAIN) else f"a {type(item).__module__}.{type(item).__qualname__}"


# -- batches --------------------------------------------------------------------------------------


class _Batches:
    """Samples in batches of the size that the module takes."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        firsts = {spec.shape[0] if spec.shape else None for spec in signature.inputs}
        first = firsts.pop() if len(firsts) == 1 else None
        size = first.opt if isinstance(first, Range) else first
        self._size = size if isinstance(size, int) and size else None
        """The number of items in a batch; None where the inputs have no dimension in common to count them."""
        self._least = first.min if isinstance(first, Range) and first.multiple_of == 1 else self._size
        self._waiting: list[list[Tensor]] = []
        """For each sample that waits, its tensors with a dimension for the batch."""

    def add(self, tensors: list[Tensor]) -> Iterator[list[Tensor]]:
        """The batches that a sample completes."""
        specs = self._signature.inputs
        ranks = [(tensor.dim(), len(spec.shape)) for tensor, spec in zip(tensors, specs, strict=True)]
        sizes: dict[str, int] = {}
        fits = all(spec.admits(tensor, sizes) for tensor, spec in zip(tensors, specs, strict=True))
        if self._size is not None and not fits:
            if all(rank == full - 1 for rank, full in ranks):
                tensors = [tensor.unsqueeze(0) for tensor in tensors]
            counts = {tensor.shape[0] if tensor.dim() else -1 for tensor in tensors}
            if len(counts) == 1 and all(tensor.dim() == full for tensor, (_, full) in zip(tensors, ranks, strict=True)):
                yield from self._gather(tensors)
                return
        yield self._checked(tensors)

    def _gather(self, tensors: list[Tensor]) -> Iterator[list[Tensor]]:
        assert self._size is not None
        if not all(tensor.shape[0] for tensor in tensors):
            return
        self._checked(self._filled(tensors))  # so that what doesn't fit is told of this sample
        if self._waiting and [t.shape[1:] for t in self._waiting[0]] != [t.shape[1:] for t in tensors]:
            yield from self.rest()
        self._waiting.append(tensors)
        if sum(each[0].shape[0] for each in self._waiting) < self._size:
            return
        joined = self._joined()
        whole = joined[0].shape[0] // self._size * self._size
        for start in range(0, whole, self._size):
            yield self._checked([tensor[start : start + self._size] for tensor in joined])
        if whole < joined[0].shape[0]:
            self._waiting = [[tensor[whole:] for tensor in joined]]

    def rest(self) -> Iterator[list[Tensor]]:
        """The batch of what is left, if anything is."""
        if self._waiting:
            yield self._checked(self._filled(self._joined()))

    def _joined(self) -> list[Tensor]:
        joined = [
            torch.cat([each.to(several[0].device) for each in several]) for several in zip(*self._waiting, strict=True)
        ]
        self._waiting = []
        return joined

    def _filled(self, tensors: list[Tensor]) -> list[Tensor]:
        """Items as a batch of an allowed size: the first ones of them, or all, some more than once."""
        count = tensors[0].shape[0]
        chosen = torch.arange(min(max(count, self._least or 0), self._size or 0)) % count
        return [tensor[chosen.to(tensor.device)] for tensor in tensors]

    def _checked(self, tensors: list[Tensor]) -> list[Tensor]:
        """Tensors that fit the signature, as the network takes them."""
        return [to_engine(x) for x in self._signature.bind(*self._signature.arguments.fill(tensors))]
