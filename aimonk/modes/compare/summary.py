"""The scores of a run, from its metrics.json."""

import math
from dataclasses import dataclass

from aimonk.evaluation.kernels import LOWER_IS_BETTER, MEANS
from aimonk.files.run_folder import METRICS_FILE
from aimonk.report.tables import format_figure

FEWEST, MOST = 200, 1000  # resamples
MOST_SCORES, MOST_ENTRIES = 200_000, 4_000_000_000  # of all runs and resamples together


@dataclass(frozen=True)
class Question:
    """The score by which runs are compared.

    Attributes:
        part: `val` or `test`.
        metric: One of `kernels.OVERALL`.
        runs: Number of runs to be compared.
    """

    part: str
    metric: str
    runs: int
    seed: int

    def resamples(self, entries: int) -> int:
        """Number of resamples of a score over so many entries of held-out images.

        Fewer where they are many, whose scores vary less, and where many runs are compared in pairs.
        """
        affordable = min(MOST_SCORES // self.runs, MOST_ENTRIES // max(1, entries * self.runs))
        return max(FEWEST, min(MOST, affordable))

    @property
    def sign(self) -> int:
        """-1 where a lower score is better."""
        return -1 if self.metric.endswith(LOWER_IS_BETTER) else 1

    @property
    def of_attribute(self) -> str:
        """The metric of single attributes that belongs to the score."""
        return MEANS.get(self.metric, "f1" if self.metric == "f1_micro" else "ap")


@dataclass(frozen=True)
class Summary:
    """What a comparison reads from metrics.json, of the right types.

    Attributes:
        attributes: Score of each attribute.
        spread: Standard deviation over folds; None without folds.
        test: Score on test images with interval and chance, as text; empty without these.
        epoch: The selected one; None for a solved head.
        parameters: Number of trained ones, and of all; None in runs that did not record it.
    """

    value: float
    interval: tuple[float, float] | None
    chance: float | None
    attributes: dict[str, float | None]
    spread: float | None
    test: str
    epoch: int | None
    parameters: tuple[int, int] | None


def summarise(metrics: dict, scores: dict, question: Question) -> Summary:
    """The scores of a run, checked: the file may come from elsewhere."""
    value, metric = number(scores[question.metric]), question.metric
    if value is None:
        raise ValueError(f"{METRICS_FILE}: {question.part}.{metric} is no number")
    limits, test, counts = scores["interval"][metric], metrics.get("test"), metrics.get("parameters")
    held_out = question.part == "val" and test is not None and test[metric] is not None
    entries = scores["attributes"].items()
    return Summary(
        value=value,
        interval=None if limits is None else (float(limits[0]), float(limits[1])),
        chance=number(scores["chance"][metric]),
        attributes={name: number(entry[question.of_attribute]) for name, entry in entries},
        spread=number(metrics.get(f"{metric}_spread")),
        test=format_figure(test, metric) if held_out else "",
        epoch=None if "penalties" in metrics else int(metrics["epoch"]),
        parameters=None if counts is None else (int(counts["trained"]), int(counts["total"])),
    )


def number(value: object) -> float | None:
    """A finite number; None for anything else."""
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if is_number else None
