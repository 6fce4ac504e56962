"""The errors that running a network can raise."""

from __future__ import annotations


class LayerError(RuntimeError):
    """A layer could not be computed; the message names the layer and its type."""
