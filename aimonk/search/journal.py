"""The journal of a search: what a killed process left in it, and its trials."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


def repair_journal(journal: Path) -> None:
    """Remove what a killed process left: its lock, and a last line that it did not complete."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.is_file():
        content = journal.read_bytes()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            os.truncate(journal, complete)


def restart(study: "optuna.Study", interrupted: "optuna.trial.FrozenTrial") -> "optuna.Trial":
    """A trial that an earlier process left running; it keeps the settings that were drawn."""
    from optuna.trial import Trial

    return Trial(study, interrupted._trial_id)


def suggest(trial: "optuna.Trial", name: str, of: "BaseDistribution") -> Any:
    """The value of a setting in a trial, drawn if it has none yet."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(of, CategoricalDistribution):
        return trial.suggest_categorical(name, of.choices)
    if isinstance(of, IntDistribution):
        return trial.suggest_int(name, of.low, of.high, step=of.step, log=of.log)
    return trial.suggest_float(name, of.low, of.high, step=of.step, log=of.log)


def find_folders(sweep: Path) -> dict[int, Path]:
    """The folder of each trial by its number, with which its name begins."""
    found = {}
    for folder in sweep.iterdir():
        number = folder.name.partition("_")[0]
        if folder.is_dir() and number.isdecimal():
            found[int(number)] = folder
    return found
