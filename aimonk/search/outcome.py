"""The outcome of a trial's job, from its run folder."""

import json
from dataclasses import dataclass
from pathlib import Path

from aimonk.files.run_folder import METRICS_FILE, read_status


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        state: `finished`, `pruned` or `failed`.
        value: The score; None unless the job finished.
        chance: Its chance level; None where there is none.
        reason: Why it did not finish.
    """

    state: str
    value: float | None
    chance: float | None
    reason: str


def read_outcome(folder: Path | None, by: str) -> Outcome | None:
    """The outcome of a job; None if it has not ended.

    Args:
        by: Part and metric, such as `val.mean_ap`.
    """
    status = {} if folder is None else read_status(folder)
    state, reason = status.get("state"), f"{status.get('reason', '')}"
    if state in ("pruned", "failed"):
        return Outcome(state, None, None, reason)
    if state != "finished":
        return None
    scores = read_scores(folder, by)
    if scores is None:
        return Outcome("failed", None, None, f"its metrics have no {by}")
    return Outcome("finished", *scores, "")


def read_scores(folder: Path, by: str) -> tuple[float, float | None] | None:
    """Score and chance level of a run; None where the score is undefined or cannot be read."""
    part, _, metric = by.partition(".")
    try:
        scores = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))[part]
        return float(scores[metric]), scores["chance"][metric]
    except (OSError, ValueError, TypeError, LookupError):
        return None
