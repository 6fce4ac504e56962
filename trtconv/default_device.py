"""The device of new tensors: the library's own don't go where `torch.set_default_device` says."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def default_device(device: torch.device | str) -> AbstractContextManager[object]:
    """A context in which new tensors are made on `device`, or on the CPU if nobody has chosen another."""
    # torch.get_default_device fails in torch 2.8 once a default was taken back.
    return nullcontext() if torch.empty(0).device.type == "cpu" else torch.device(device)
