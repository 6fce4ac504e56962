"""To come."""

from __future__ import annotations

from families import Example

EXAMPLES: list[Example] = []
