"""What a search found, for the page of its sweep."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aimonk.runtime.trial import JOURNAL_FILE, open_study


@dataclass(frozen=True)
class SearchResults:
    """The trials of a search.

    Attributes:
        importances: Share of each setting in the variation of the score, by PED-ANOVA (Watanabe, Bansal and
            Hutter 2023, "PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary
            subspaces"); empty with fewer than two finished trials.
        path: Number, score, and best score so far of each finished trial.
        states: Number of trials of each state: complete, pruned, fail, running.
    """

    importances: dict[str, float]
    path: list[tuple[int, float, float]]
    states: dict[str, int]


def read_search(sweep: Path) -> SearchResults | None:
    """The results of a search; None for the folder of another sweep, or where its journal is damaged."""
    journal = sweep / JOURNAL_FILE
    if not journal.is_file():
        return None
    try:
        import optuna

        study = open_study(journal, "none")
        trials = study.trials
    except Exception:  # a damaged journal fails in arbitrary ways, and Optuna may be missing
        return None
    path, best = [], None
    choose = max if study.direction == optuna.study.StudyDirection.MAXIMIZE else min
    for trial in trials:
        if trial.state == optuna.trial.TrialState.COMPLETE:
            best = trial.value if best is None else choose(best, trial.value)
            path.append((trial.number, trial.value, best))
    states: dict[str, int] = {}
    for trial in trials:
        name = trial.state.name.lower()
        states[name] = states.get(name, 0) + 1
    return SearchResults(measure_importances(study), path, states)


def measure_importances(study: object) -> dict[str, float]:
    """Importance of each setting, the highest first; empty where it cannot be measured."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError):  # too few trials, or equal scores
        return {}


def describe_search(found: SearchResults) -> list[dict]:
    """Sections of the page of a sweep."""
    sections = []
    if found.importances:
        rows = [[name, f"{share:.2f}"] for name, share in found.importances.items()]
        caption = "Share of each setting in the variation between good and other trials (PED-ANOVA)."
        sections.append(
            {"heading": "Importance", "caption": caption, "heads": ["setting", "share"], "rows": rows}
        )
    if found.path:
        rows = [[f"{n}", f"{score:.4f}", f"{best:.4f}"] for n, score, best in found.path]
        caption = ", ".join(f"{count} {name}" for name, count in found.states.items())
        heads = ["trial", "score", "best so far"]
        scores, best = (np.array(values) for values in list(zip(*found.path, strict=True))[1:])
        lines = [("best so far", best), ("score", scores)]
        section = {"heading": "Trials", "caption": f"{caption}.", "heads": heads, "rows": rows}
        sections.append(section | {"lines": lines, "axis": "finished trials"})
    return sections
