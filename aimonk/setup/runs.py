"""Finished training runs: the newest, the best of those that are comparable, and what is known of one."""

import hashlib
import json
import logging
from datetime import datetime
from pathlib import Path

from aimonk.data.splits import read_assignment
from aimonk.files.run_folder import METRICS_FILE, MODEL_FILE, SCORED_FILE, SPLITS_FILE, finished_runs
from aimonk.files.text import plural
from aimonk.models.checkpoint import ModelInfo

log = logging.getLogger(__name__)

OUTPUTS = Path("outputs")
PARTS = {"test": "test", "val": "validation"}


def find_checkpoint(checkpoint: str | None) -> Path:
    """The file or folder of a setting `checkpoint`.

    Args:
        checkpoint: A path, `best`, or None for the newest run below outputs/.

    Raises:
        FileNotFoundError: There is no finished run.
        ValueError: The folder holds several runs, as that of a sweep, or no run has a score.
    """
    if checkpoint is None:
        return finished_runs(OUTPUTS)[-1]
    path = Path(checkpoint)
    if checkpoint == "best" and not path.exists():
        return _best(finished_runs(OUTPUTS))
    if path.is_dir() and not (path / MODEL_FILE).is_file():
        lines = [f"  {job} ({describe_score(job) or 'no score'})" for job in sorted(finished_runs(path))]
        raise ValueError(f"checkpoint is {path}; expected one of its runs:\n" + "\n".join(lines))
    return path


def _best(runs: list[Path]) -> Path:
    """The run with the highest mean AP on held-out images, of those comparable with the newest one.

    Comparable runs have the same held-out images and attributes. Validation images decide where there are
    some, since a choice by test images would make these scores too high.
    """
    scored = {run: scores for run in runs if (scores := _read_scores(run))}
    if not scored:
        raise ValueError(
            "checkpoint is best; expected a run with scores below outputs/: none held images out"
        )
    kind = {run: _comparable(run, scores) for run, scores in scored.items()}
    newest = next(run for run in reversed(runs) if run in scored)
    same = [run for run in runs if kind.get(run) == kind[newest]]
    part = "val" if "val" in scored[newest] else "test"
    best = max(same, key=lambda run: scored[run][part]["mean_ap"])
    others = len(runs) - len(same)
    log.info(
        "best of %s with the same held-out images, chosen on these%s",
        plural(len(same), "run"),
        f" ({plural(others, 'run')} with others left out)" if others else "",
    )
    return best


def _comparable(run: Path, scores: dict) -> tuple:
    """Equal for runs whose scores are of the same images and attributes."""
    splits = run / SPLITS_FILE
    digest = hashlib.sha256(splits.read_bytes()).hexdigest() if splits.is_file() else ""
    known = {
        part: [(name, entry["known"], entry["positives"]) for name, entry in own["attributes"].items()]
        for part, own in scores.items()
    }
    return digest, known


def _read_scores(run: Path) -> dict:
    """Scores of a run's held-out images by part; empty where there are none or the file is damaged."""
    try:
        metrics = json.loads((run / METRICS_FILE).read_text(encoding="utf-8"))
        return {
            part: own
            for part in PARTS
            if (own := metrics.get(part)) is not None and own["mean_ap"] is not None and own["attributes"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def describe_score(run: Path) -> str:
    """Such as `validation mean AP 0.992, chance 0.590`; empty without scores."""
    for part, own in _read_scores(run).items():
        return f"{PARTS[part]} mean AP {own['mean_ap']:.3f}, chance {own['chance']['mean_ap']:.3f}"
    return ""


def describe_checkpoint(source: Path, info: ModelInfo) -> str:
    """The run of a checkpoint, its epoch, score and date."""
    run = source if source.is_dir() else source.parent
    facts = [f"epoch {info.epoch}", describe_score(run) or info.chosen_by]
    file = source / MODEL_FILE if source.is_dir() else source
    facts.append(f"{datetime.fromtimestamp(file.stat().st_mtime):%Y-%m-%d %H:%M}")
    return f"{source} ({'; '.join(facts)})"


def warn_about_training_images(source: Path, names: list[str]) -> bool:
    """Warn, and return True, if images to be scored have the names of training images of a model's run.

    Args:
        source: The run folder, or a file in it; other values have no record of their images.
    """
    record = (source if source.is_dir() else source.parent) / SPLITS_FILE
    if not source.exists() or not record.is_file():
        return False
    kept = source.is_dir() or source.name == MODEL_FILE
    parts = ("train", "val") if kept and (record.parent / SCORED_FILE).is_file() else ("train",)
    trained = {name for name, part in read_assignment(record).items() if part in parts}
    seen = sum(name in trained for name in names)
    if seen:
        total = plural(len(names), "image")
        log.warning("the model was trained on %d of these %s, by name: the scores are too high", seen, total)
    return seen > 0
