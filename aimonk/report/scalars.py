"""metrics.json and the losses of a run as named numbers, for trackers."""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

ATTRIBUTE_SCORES = ("ap", "auroc", "f1")
LONGEST = 150  # bytes of an attribute's name, within the limits of trackers and of file names


def progress(
    losses: Sequence[float], history: Sequence[dict], held: int
) -> list[tuple[int, dict[str, float]]]:
    """Iterations after the first `held`, with their loss, and at the end of an epoch its values.

    Args:
        losses: Training loss of each iteration.
        history: A record of each epoch, with its last `iteration`.
    """
    epochs = {record["iteration"]: record for record in history}
    points = []
    for iteration in range(held + 1, len(losses) + 1):
        record = epochs.get(iteration, {})
        values = {f"epoch/{key}": value for key, value in record.items() if key != "iteration"}
        values["train/loss"] = losses[iteration - 1]
        points.append((iteration, dict(_numbers(values))))
    return points


def scalars(metrics: dict) -> dict[str, float]:
    """Scores of the content of metrics.json, such as `val/mean_ap` and `val/ap/hat`.

    With `_chance`, `_low` and `_high` appended to a score's name: its chance level, and the ends of its
    interval.
    """
    values = {}
    for part in ("val", "test"):
        if part in metrics:
            scores = metrics[part]
            plain = {key: value for key, value in scores.items() if not key.endswith("_count")}
            values |= _with_bounds(part, plain, scores, "")
            for name, entry in scores["attributes"].items():
                own = {key: entry[key] for key in ATTRIBUTE_SCORES}
                values |= _with_bounds(part, own, entry, f"/{safe_name(name)}")
    return values


def _with_bounds(part: str, scores: dict[str, Any], node: dict, suffix: str) -> dict[str, float]:
    values = {}
    for key, value in scores.items():
        low, high = node.get("interval", {}).get(key) or (None, None)
        bounds = {"": value, "_chance": node.get("chance", {}).get(key), "_low": low, "_high": high}
        values |= {f"{part}/{key}{name}{suffix}": bound for name, bound in bounds.items()}
    return dict(_numbers(values))


def _numbers(values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, int | float) and math.isfinite(value):
            yield key, float(value)


def safe_name(name: str) -> str:
    """A name of letters, digits, spaces and `_.-` alone; one that had to be changed ends in a digest."""
    safe = re.sub(r"[^\w .-]", "_", name).strip(" .")
    safe = safe.encode()[:LONGEST].decode(errors="ignore")
    if safe == name != "":
        return name
    return f"{safe}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"
