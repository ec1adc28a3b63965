"""Train, compare and apply multi-label image classifiers when labels are incomplete.

From Python: `load` a model and predict, `train`, `read_labels` and `audit`. All else may change.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aimonk.python import audit, load, read_labels, train

__all__ = ["audit", "load", "read_labels", "train"]


def __getattr__(name: str) -> Any:
    """A function of `aimonk.python`, imported on first use, since torch takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module 'aimonk' has no attribute {name!r}")
    from aimonk import python

    return getattr(python, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
