"""Nested settings by their full names."""

from collections.abc import Iterator
from typing import Any


def flatten(node: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full name, such as `optimizer.lr`, and value of every setting; an empty section is a value itself."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
