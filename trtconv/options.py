"""What the options of a conversion may be: they are checked before any work is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trtconv import tensorrt as trt


def check_names(option: str, given: Any) -> None:
    """Raise `ValueError` unless an option is a list of names, or None."""
    if given is None:
        return
    if isinstance(given, str):
        raise ValueError(f"{option}={given!r} is a str; it takes one name for each tensor: {option}=[{given!r}]")
    if not _is_list(given):
        raise ValueError(f"{option} is {_kind(given)}; it takes a list of names, one for each tensor")
    wrong = next((name for name in given if not isinstance(name, str) or not name), None)
    if wrong is not None:
        raise ValueError(f"{option} holds {wrong!r}; names are strings that aren't empty")


def check_flag(option: str, given: Any) -> None:
    """Raise `ValueError` unless an option is True or False."""
    if not isinstance(given, bool):
        raise ValueError(f"{option}={given!r}: it is True or False")


def check_cuda_graphs(value: Any) -> None:
    """Raise `ValueError` unless `value` says when calls are captured in CUDA graphs."""
    if not (value is True or value is False or value == "auto"):
        raise ValueError(f'cuda_graphs={value!r}: it takes "auto", True or False')


def check_save(value: Any, keep_network: bool = True) -> None:
    """Raise `ValueError` unless `value` says what a state holds, of what is kept."""
    if value not in ("all", "network"):
        raise ValueError(f'save={value!r}: it takes "all" or "network"')
    if value == "network" and not keep_network:
        raise ValueError('save="network" needs the network: leave out keep_network=False, or save "all"')


def check_refittable(value: Any, keep_network: bool) -> None:
    """Raise `ValueError` unless `value` says whether an engine takes new weights, which the network tells."""
    check_flag("refittable", value)
    if value and not keep_network:
        raise ValueError("refittable=True needs the network, which tells the new weights: leave out keep_network=False")


def check_compute_capabilities(given: Any) -> None:
    """Raise `ValueError` unless these are compute capabilities that the TensorRT in use builds for, or None."""
    if given is None:
        return
    if not trt.is_rtx():
        raise ValueError("compute_capabilities is for TensorRT-RTX; TensorRT builds for the GPU that it finds")
    known = known_capabilities()
    allowed = f"TensorRT-RTX builds for {', '.join(known)}"
    if isinstance(given, str):
        raise ValueError(f"compute_capabilities={given!r} is a str; it takes a list: compute_capabilities=[{given!r}]")
    if not _is_list(given):
        raise ValueError(f'compute_capabilities is {_kind(given)}; it takes a list of strings, as ["8.6"]; {allowed}')
    if not given:
        raise ValueError(f"compute_capabilities={given!r} names no GPU; leave it out, or name some: {allowed}")
    for each in given:
        if not isinstance(each, str):
            raise ValueError(
                f'compute_capabilities={given!r} holds {_kind(each)}; it takes strings, as ["8.6"]; {allowed}'
            )
        if each not in known:
            raise ValueError(f"compute_capabilities={given!r}: {each!r} isn't known; {allowed}")


def known_capabilities() -> dict[str, Any]:
    """TensorRT-RTX's members of `trt.ComputeCapability` by their names, as "8.6"."""
    members = trt.ComputeCapability.__members__.items()
    return {f"{name[2:-1]}.{name[-1]}": value for name, value in members if name.startswith("SM")}


class ConstantValues(Mapping[str, Any]):
    """The values of the option `constant_values`, which remembers the lines that were asked for.

    Raises:
        ValueError: `given` is no dict from "file.py:line" to values.
    """

    def __init__(self, given: Any) -> None:
        if given is not None and not isinstance(given, Mapping):
            raise ValueError(f"constant_values is {_kind(given)}; it takes a dict {_FORM}")
        self._values: dict[Any, Any] = dict(given or {})
        self._used: set[str] = set()
        for key in self._values:
            if not isinstance(key, str) or not key.rpartition(":")[2].isdigit() or ":" not in key:
                raise ValueError(f"constant_values has the key {key!r}; it takes a dict {_FORM}")

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        self._used.add(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def check_used(self) -> None:
        """Raise `ValueError` if a value was given for a line where nothing asked for one."""
        unused = [key for key in self._values if key not in self._used]
        if unused:
            raise ValueError(
                f"constant_values names {', '.join(unused)}: Python reads there no value of a tensor that depends on "
                "an input, so the value has no effect; leave it out, or name the line that an error told"
            )


_FORM = 'from "file.py:line", as errors give it, to the value that is read there'


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _kind(value: Any) -> str:
    return f"{value!r}, of type {type(value).__name__}"
