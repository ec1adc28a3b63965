"""What a search found: its trials, the path of the best score, and the importance of each setting."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aimonk.runtime.journal import JOURNAL, STUDY, import_optuna, open_journal
from aimonk.search.experiment import experiment_file

if TYPE_CHECKING:
    import optuna

FEWEST = 4  # scores from which importances are estimated


@dataclass(frozen=True)
class TrialRecord:
    """A trial.

    Attributes:
        state: `complete`, `pruned`, `fail` or `running`.
        score: Of a complete trial, or the last epoch's of a pruned one; None if there is none.
        reason: Why it failed or was pruned.
        values: The searched settings.
        folder: Of its run, in the folder of the sweep; empty before it started.
        epochs: Scores by epoch, as far as they were reported.
    """

    number: int
    state: str
    score: float | None
    reason: str
    values: dict[str, Any]
    folder: str
    epochs: dict[int, float]


@dataclass(frozen=True)
class SearchResults:
    """The results of a search.

    Attributes:
        by: Path of the score in metrics.json.
        direction: `maximize` or `minimize`.
        path: Number, score and best score so far of each complete trial, in the order of their numbers.
        importances: Share of each searched setting in how good the scores are (PED-ANOVA, Watanabe et al.
            2023); empty where there are fewer than FEWEST scores or all are equal.
        experiment: The experiment file of the best trial; None if there is none.
        problem: Why the journal could not be read; empty if it could.
    """

    by: str = ""
    direction: str = ""
    trials: list[TrialRecord] = field(default_factory=list)
    path: list[tuple[int, float, float]] = field(default_factory=list)
    importances: dict[str, float] = field(default_factory=dict)
    experiment: Path | None = None
    problem: str = ""


def read_search(folder: Path) -> SearchResults | None:
    """The results of the search in the folder of a sweep; None if it has none.

    A damaged journal is a `problem` of the results, and never raises.
    """
    if not (folder / JOURNAL).is_file():
        return None
    try:
        optuna = import_optuna()
        study = optuna.load_study(study_name=STUDY, storage=open_journal(folder))
        trials = study.get_trials(deepcopy=False)
        path = _best_path(trials, study.direction.name)
        return SearchResults(
            by=study.user_attrs["search"]["hydra.sweeper.by"],
            direction=study.direction.name.lower(),
            trials=[_record(trial) for trial in trials],
            path=path,
            importances=_importances(study, path),
            experiment=file if (file := experiment_file(folder)).is_file() else None,
        )
    except Exception as error:  # Optuna does not check what it reads
        return SearchResults(problem=f"{folder / JOURNAL} cannot be read: {error or type(error).__name__}")


def _record(trial: "optuna.trial.FrozenTrial") -> TrialRecord:
    facts = trial.user_attrs
    return TrialRecord(
        trial.number,
        trial.state.name.lower(),
        trial.value,
        facts.get("reason", ""),
        dict(trial.params),
        facts.get("folder", ""),
        dict(trial.intermediate_values),
    )


def _best_path(trials: "list[optuna.trial.FrozenTrial]", direction: str) -> list[tuple[int, float, float]]:
    better, path = (min if direction == "MINIMIZE" else max), []
    for trial in trials:
        if trial.state.name == "COMPLETE":
            best = better(path[-1][2], trial.value) if path else trial.value
            path.append((trial.number, trial.value, best))
    return path


def _importances(study: "optuna.Study", path: list[tuple[int, float, float]]) -> dict[str, float]:
    if len(path) < FEWEST or len({score for _, score, _ in path}) == 1:
        return {}
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
