"""What all trackers have in common: the record of a run, and the check for a package."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Point = tuple[int, dict[str, float]]  # an iteration, from 1, and its values


@dataclass(frozen=True)
class Record:
    """A run, for the start of its record.

    Attributes:
        group: The sweep that the run is a job of; None outside of a sweep.
        settings: By their full names.
    """

    folder: Path
    name: str
    group: str | None
    settings: dict[str, Any]


class Tracker(Protocol):
    """Keeps the record of one run.

    Attributes:
        identity: Name of the record where a folder does not identify it; set by `start`.
    """

    identity: str | None

    def start(self, record: Record, held: int, identity: str | None) -> int:
        """Start a record, or continue that of an interrupted run.

        Args:
            held: Iterations that the record holds at least; 0 for a new one.
            identity: Of the record to continue; None starts a new one.

        Returns:
            Iterations that the record holds; `log` continues after them.
        """

    def log(self, points: Sequence[Point]) -> None:
        """Append points and write them out."""

    def log_results(self, iteration: int, scores: dict[str, float], files: Sequence[Path]) -> None:
        """Append the final scores, and pictures and pages; results of before are replaced."""

    def end(self, state: str) -> None:
        """Close the record of a run that is `finished`, `interrupted`, `pruned` or `failed`."""


def require_package(tracker: str) -> None:
    """Check that the package of a tracker, which has its name, is installed, without importing it.

    Raises:
        ValueError: It is not.
    """
    if importlib.util.find_spec(tracker) is None:
        raise ValueError(
            f"tracker is {tracker}; expected an installed package: pip install -e '.[{tracker}]' installs "
            "it, and tracker=none runs without"
        )


def shorten_value(value: Any, longest: int) -> str:
    """A setting as text of at most `longest` characters."""
    text = f"{value}".encode(errors="backslashreplace").decode()
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
