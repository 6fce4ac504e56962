"""A signature as text: each input with its sizes, and what these may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from trtconv.dtypes import name_of
from trtconv.sizes.ranges import Range, Span

if TYPE_CHECKING:
    from trtconv.calling.signature import Signature, TensorSpec


def as_text(signature: Signature) -> str:
    """The inputs by their places in a call, the outputs, and the sizes that vary by name."""
    return "\n".join(_lines(signature))


def _lines(signature: Signature) -> Iterator[str]:
    yield "inputs"
    for index, spec in enumerate(signature.inputs):
        yield f"  {signature.place(index)}: {_shown(spec)}"
    yield "outputs"
    for spec in signature.outputs:
        yield f"  {spec.name}: {_shown(spec)}"
    if signature.ranges:
        yield "sizes"
    for name, limits in signature.ranges.items() if len(signature.profiles) == 1 else ():
        yield f"  {name}: {_span(limits.profiles[0], limits)}"
    for number, profile in enumerate(signature.profiles if len(signature.profiles) > 1 else ()):
        yield f"  profile {number}: {_profile(profile, signature.ranges)}"


def _profile(profile: Mapping[str, Span], ranges: Mapping[str, Range]) -> str:
    return ", ".join(f"{name}: {_span(limits, ranges[name])}" for name, limits in profile.items())


def _shown(spec: TensorSpec) -> str:
    sizes = (size.name if isinstance(size, Range) else str(size) for size in spec.shape)
    return f"{name_of(spec.dtype)}[{', '.join(sizes)}]"


def _span(span: Span, limits: Range) -> str:
    low, best, high = span
    if low == high:
        return str(low)
    steps = f" in steps of {limits.multiple_of}" if limits.multiple_of > 1 else ""
    return f"{low} to {high}{steps}, optimized for {best}"
