"""What capture computes with tensors of its own, which no interception should see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import _disable_current_modes


@contextmanager
def unseen() -> Iterator[None]:
    """Compute without the modes of operators and of functions: calls that a user's code makes are met with these on."""
    with _disable_current_modes(), torch._C.DisableTorchFunction():
        yield
