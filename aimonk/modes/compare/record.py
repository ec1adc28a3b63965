"""What a run folder records: settings, scores, and the predictions of held-out images."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from aimonk.data.labels import SPLITS
from aimonk.data.splits import read_assignment
from aimonk.evaluation.comparison import degrees_of_freedom, resample
from aimonk.evaluation.kernels import MEANS
from aimonk.files.run_folder import (
    CONFIG_FILE,
    LABELS_FILE,
    LOSS_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    SPLITS_FILE,
    read_status,
)
from aimonk.files.tensors import load_tensors
from aimonk.report.csv_tables import read_losses, read_predictions
from aimonk.setup.flatten import flatten

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
ALIAS = re.compile(r"(?m)(?:^\s*|[:\-\[,?]\s+)\*\w")  # no run writes one, and a few can expand to gigabytes
MOST_SETTINGS = 10_000
LOWER_IS_BETTER = ("mean_brier", "mean_ece")
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, yaml.YAMLError)


@dataclass(frozen=True)
class Question:
    """The score by which runs are compared.

    Attributes:
        part: `val` or `test`.
        metric: One of `kernels.OVERALL`.
    """

    part: str
    metric: str
    resamples: int
    seed: int

    @property
    def sign(self) -> int:
        """-1 where a lower score is better."""
        return -1 if self.metric in LOWER_IS_BETTER else 1

    @property
    def of_attribute(self) -> str:
        """The metric of single attributes that belongs to the score."""
        return MEANS.get(self.metric, "f1" if self.metric == "f1_micro" else "ap")


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
        scores: Of the part that is compared, as in metrics.json.
        deviations: Score of resampled images minus the score, [R].
        freedom: Degrees of freedom of the errors that the deviations estimate.
        seconds: Duration; None where it was not recorded.
        date: Time at which it finished, seconds since 1970.
    """

    folder: Path
    settings: dict[str, Any]
    choices: dict[str, Any]
    metrics: dict
    scores: dict
    basis: Basis
    deviations: np.ndarray
    freedom: float
    seconds: float | None
    date: float

    @property
    def epoch(self) -> int | None:
        """The selected epoch; None for a solved head."""
        return None if "penalties" in self.metrics else self.metrics.get("epoch")

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
        value = scores[question.metric]
        if value is None:
            raise ValueError(f"{question.part}.{question.metric} is undefined")
        basis, deviations, freedom = read_held_out(folder, scores, f"{settings['threshold']}", question)
        status = read_status(folder)
        seconds = status.get("seconds")
        record = RunRecord(
            folder=folder,
            settings=settings,
            choices=choices,
            metrics=metrics,
            scores=scores,
            basis=basis,
            deviations=deviations,
            freedom=freedom,
            seconds=float(seconds) if isinstance(seconds, int | float) else None,
            date=(folder / METRICS_FILE).stat().st_mtime,
        )
        # a foreign file may have these names and other contents
        float(value), scores["chance"].get(question.metric), scores["interval"].get(question.metric)
        [entry[question.of_attribute] for entry in scores["attributes"].values()]
        return record
    except DAMAGED as error:
        reason = f"{error}" if isinstance(error, ValueError | OSError) else f"damaged ({error!r})"
        raise ValueError(reason.splitlines()[0][:200] or type(error).__name__) from None


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a run by their full names."""
    settings: dict[str, Any] = {}
    for name, value in flatten(_load_yaml(folder / CONFIG_FILE)):
        settings[name] = value
        if len(settings) > MOST_SETTINGS:
            raise ValueError(f"{CONFIG_FILE} has more than {MOST_SETTINGS} settings")
    return settings


def read_choices(folder: Path) -> dict[str, Any]:
    """The option of each group, as Hydra records it; empty where there is no record."""
    try:
        choices = _load_yaml(folder / ".hydra" / "hydra.yaml")["hydra"]["runtime"]["choices"]
        return {group: option for group, option in choices.items() if "hydra" not in group}
    except DAMAGED:
        return {}


def _load_yaml(path: Path) -> dict:
    text = path.read_text(encoding="utf-8")
    if ALIAS.search(text):
        raise ValueError(f"{path.name} has an alias")
    content = yaml.load(text, Loader)
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} has no settings")
    return content


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
    drawn = resample(*known, probs, thresholds, question.metric, question.resamples, question.seed)
    digest = hashlib.sha256(np.ascontiguousarray(values)).hexdigest()
    return Basis(tuple(attributes), tuple(names), digest, threshold), drawn, degrees_of_freedom(*known)
