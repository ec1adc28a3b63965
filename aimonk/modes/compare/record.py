"""What a run folder records: settings, scores, and the predictions of held-out images."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aimonk.data.labels import SPLITS
from aimonk.data.splits import read_assignment
from aimonk.evaluation.comparison import degrees_of_freedom, resample
from aimonk.files.run_folder import (
    LABELS_FILE,
    LOSS_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    SPLITS_FILE,
    read_status,
)
from aimonk.files.tensors import load_tensors
from aimonk.modes.compare.summary import Question, Summary, number, summarise
from aimonk.report.csv_tables import read_losses, read_predictions
from aimonk.setup.run_config import DAMAGED, read_choices, read_settings


@dataclass(frozen=True)
class Basis:
    """What scores must have in common to be ranked.

    Attributes:
        labels: Digest of the labels of the held-out images.
        threshold: The rule that chose the thresholds.
    """

    attributes: tuple[str, ...]
    images: tuple[str, ...]
    labels: str
    threshold: str


@dataclass(frozen=True)
class RunRecord:
    """A finished run.

    Attributes:
        settings: By full name.
        choices: Option of each group; empty without Hydra's record.
        deviations: Score of resampled images minus the score, [R].
        freedom: Degrees of freedom of the errors that the deviations estimate.
        seconds: Duration; None where it was not recorded.
        date: Time at which it finished, seconds since 1970.
    """

    folder: Path
    settings: dict[str, Any]
    choices: dict[str, Any]
    summary: Summary
    basis: Basis
    deviations: np.ndarray
    freedom: float
    seconds: float | None
    date: float

    def losses(self) -> list[float]:
        """Training loss of each iteration; empty where it cannot be read."""
        try:
            return read_losses(self.folder / LOSS_FILE)
        except DAMAGED:
            return []


def read_record(folder: Path, question: Question) -> RunRecord:
    """Read a finished run.

    Raises:
        ValueError: Why the run cannot be compared.
    """
    try:
        settings, choices = read_settings(folder), read_choices(folder)
        metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        scores = metrics.get(question.part)
        if scores is None:
            raise ValueError(f"no {question.part} images were held out")
        if scores[question.metric] is None:
            raise ValueError(f"{question.part}.{question.metric} is undefined")
        basis, deviations, freedom = read_held_out(folder, scores, f"{settings['threshold']}", question)
        return RunRecord(
            folder=folder,
            settings=settings,
            choices=choices,
            summary=summarise(metrics, scores, question),
            basis=basis,
            deviations=deviations,
            freedom=freedom,
            seconds=number(read_status(folder).get("seconds")),
            date=(folder / METRICS_FILE).stat().st_mtime,
        )
    except DAMAGED as error:
        reason = f"{error}" if isinstance(error, ValueError | OSError) else f"damaged ({error!r})"
        raise ValueError((reason.splitlines() or [type(error).__name__])[0][:200]) from None


def read_held_out(
    folder: Path, scores: dict, threshold: str, question: Question
) -> tuple[Basis, np.ndarray, float]:
    """The held-out images of a part, the deviations of its score, [R], and their degrees of freedom."""
    attributes, names, probs, _ = read_predictions(folder / PREDICTIONS_FILE)
    labels = load_tensors(folder / LABELS_FILE)
    part_of = read_assignment(folder / SPLITS_FILE)
    # out-of-fold predictions are those of training images
    is_test = np.array([part_of.get(name) == SPLITS[-1] for name in names])
    kept = np.flatnonzero(is_test == (question.part == SPLITS[-1]))
    names, probs = [names[i] for i in kept], probs[kept]
    row_of = {name: row for row, name in enumerate(labels["names"])}
    rows = np.array([row_of[name] for name in names], dtype=int)
    columns = [labels["attributes"].index(attribute) for attribute in attributes]
    values = labels["labels"].numpy()[rows][:, columns]
    groups = labels.get("groups")
    known = (
        np.maximum(values, 0).astype(np.float32),
        values >= 0,
        None if groups is None else groups.numpy()[rows],
    )
    thresholds = np.array([scores["attributes"][name]["threshold"] for name in attributes], dtype=float)
    resamples = question.resamples(values.size)
    drawn = resample(*known, probs, thresholds, question.metric, resamples, question.seed)
    digest = hashlib.sha256(np.ascontiguousarray(values)).hexdigest()
    return Basis(tuple(attributes), tuple(names), digest, threshold), drawn, degrees_of_freedom(*known)
