"""How the run of a trial ended, from its folder."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from aimonk.files.run_folder import METRICS_FILE, read_status


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: `complete`, `pruned` or `fail`; empty where the run did not end.
        score: None unless complete.
        chance: The score of a constant guess; None where there is none.
    """

    state: str
    score: float | None = None
    chance: float | None = None
    reason: str = ""


def read_outcome(folder: Path, by: str) -> Outcome:
    """How the run in a folder ended.

    Args:
        by: Path of the score in metrics.json.
    """
    status = read_status(folder)
    state = status.get("state")
    if state in ("failed", "pruned"):
        return Outcome({"failed": "fail"}.get(state, state), reason=f"{status.get('reason', '')}")
    if state != "finished":
        return Outcome("")
    try:
        metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return Outcome("fail", reason=f"{METRICS_FILE} cannot be read: {error}")
    score = find_number(metrics, by)
    if score is None:
        return Outcome("fail", reason=f"hydra.sweeper.by is {by}; expected a number in {METRICS_FILE}")
    parent, _, name = by.rpartition(".")
    return Outcome("complete", score, find_number(metrics, f"{parent}.chance.{name}"))


def find_number(metrics: object, path: str) -> float | None:
    """The finite number at a path such as `val.mean_ap`; None if there is none."""
    keys = path.split(".")
    while keys and isinstance(metrics, dict):
        # a name of an attribute may contain dots
        count = next((n for n in range(1, len(keys) + 1) if ".".join(keys[:n]) in metrics), None)
        if count is None:
            return None
        metrics, keys = metrics[".".join(keys[:count])], keys[count:]
    number = isinstance(metrics, int | float) and not keys and math.isfinite(metrics)
    return float(metrics) if number else None
