"""The content of a comparison of runs."""

from dataclasses import dataclass, field
from pathlib import Path

from aimonk.evaluation.comparison import Difference
from aimonk.evaluation.significance import ALPHA

TITLES = {
    "mean_ap": "mean AP",
    "mean_auroc": "mean AUROC",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "mean_balanced_accuracy": "mean balanced accuracy",
    "mean_brier": "mean Brier score",
    "mean_ece": "mean calibration error",
    "subset_accuracy": "subset accuracy",
}


@dataclass(frozen=True)
class Row:
    """A setting, with one run or several that differ in their seed.

    Attributes:
        settings: Only those that differ between the rows of a table.
        interval: 95 %, the mean over runs; None where undefined.
        spread: Standard deviation over seeds or folds; None where there are none.
        difference: From the best row.
        p: Against the claim that no other row is better.
        parameters: Number of trained ones, and of all; None where it was not recorded.
        epochs: Selected epoch of each run; None for a solved head.
        seconds: Mean over runs; None where it was not recorded.
        folders: Of the runs.
        attributes: Score of each attribute, the mean over runs.
        losses: Training loss of each iteration of the first run.
    """

    settings: dict[str, str]
    score: float
    interval: tuple[float, float] | None
    chance: float | None
    spread: float | None
    difference: Difference
    p: float
    parameters: tuple[int, int] | None
    epochs: list[int | None]
    seconds: float | None
    folders: list[Path]
    attributes: dict[str, float | None]
    losses: list[float]

    @property
    def is_candidate(self) -> bool:
        """Whether the row cannot be distinguished from the best one."""
        return self.p > ALPHA

    @property
    def name(self) -> str:
        """Such as `loss=focal lr=0.01`; the folder's name where all settings are equal."""
        return " ".join(f"{k}={v}" for k, v in self.settings.items() if v) or self.folders[0].name


@dataclass(frozen=True)
class Effect:
    """Mean change by an option of a setting, against the mean of the other options."""

    setting: str
    option: str
    change: Difference


@dataclass(frozen=True)
class Ranking:
    """Rows that are scored on the same images, the best one first.

    Attributes:
        basis: What the rows have in common.
        apart: Why they are not ranked together with those of the first ranking; empty for the first.
        metric: One of TITLES.
        images: Number of held-out images.
        optimism: Expected gain of the best row by the choice alone; None for one row.
        simplest: Of the rows that cannot be distinguished from the best, the one with the fewest trained
            parameters; None where that is the best itself, or parameters were not recorded.
        advice: How to score the best row on other images.
        effects: Empty unless the rows are a complete grid of two or more settings.
        notes: Caveats.
    """

    basis: str
    apart: str
    part: str
    metric: str
    images: int
    rows: list[Row]
    optimism: float | None
    simplest: Row | None
    advice: str
    effects: list[Effect]
    notes: list[str]

    @property
    def candidates(self) -> list[Row]:
        """Rows that cannot be distinguished from the best one."""
        return [row for row in self.rows if row.is_candidate]

    @property
    def columns(self) -> list[str]:
        """Names of the settings that differ."""
        return list(self.rows[0].settings)


@dataclass(frozen=True)
class Comparison:
    """All rankings, and folders that are in none.

    Attributes:
        left_out: Folder and reason: failed, pruned, unfinished, damaged or foreign.
    """

    title: str
    rankings: list[Ranking]
    left_out: list[tuple[Path, str]] = field(default_factory=list)
