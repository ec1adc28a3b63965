"""The trials of a search in its journal: asked for, resumed and ended, each once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aimonk.runtime.journal import STUDY, open_journal
from aimonk.runtime.pruning import create_pruner
from aimonk.search.samplers import create_sampler
from aimonk.search.space import Dimension

if TYPE_CHECKING:
    import optuna

RECORDED = ("by", "direction")  # settings that a resumed search must not change


@dataclass
class Trials:
    """The trials of a search.

    Attributes:
        settings: Those of conf/hydra/sweeper/optuna.yaml.
        asked: The last new trial.
    """

    study: "optuna.Study"
    storage: "optuna.storages.BaseStorage"
    space: Sequence[Dimension]
    settings: dict[str, Any]
    asked: "optuna.Trial | None" = None

    @property
    def all(self) -> "list[optuna.trial.FrozenTrial]":
        return self.study.get_trials(deepcopy=False)

    @property
    def best(self) -> "optuna.trial.FrozenTrial | None":
        """The first of the trials with the best score; None while there is no score."""
        scored = [trial for trial in self.all if trial.state.name == "COMPLETE"]
        sign = 1 if self.settings["direction"] == "minimize" else -1
        return min(scored, key=lambda trial: (sign * trial.value, trial.number), default=None)

    def unfinished(self) -> list[int]:
        """Numbers of the trials that were interrupted."""
        return [trial.number for trial in self.all if not trial.state.is_finished()]

    def ask(self) -> int:
        """Start a trial, and return its number."""
        self._seed(len(self.all))
        self.asked = self.study.ask()
        return self.asked.number

    def values(self, number: int) -> dict[str, Any]:
        """The settings of a trial, which are chosen and recorded if they are not yet."""
        from optuna.trial import Trial

        recorded = self.all[number]
        if set(recorded.params) == {dimension.key for dimension in self.space}:
            return {dimension.key: recorded.params[dimension.key] for dimension in self.space}
        self._seed(number)
        asked, values = self.asked is not None and self.asked.number == number, {}
        trial = self.asked if asked else Trial(self.study, recorded._trial_id)
        for i, dimension in enumerate(self.space):
            self._seed(number, i)
            values[dimension.key] = dimension.suggest(trial)
        return values

    def note(self, number: int, **facts: str) -> None:
        """Record facts about a trial: `folder`, `reason`."""
        for key, value in facts.items():
            if self.all[number].user_attrs.get(key) != value:
                self.storage.set_trial_user_attr(self.all[number]._trial_id, key, value)

    def tell(self, number: int, score: float | None, state: str, reason: str) -> None:
        """End a trial.

        Args:
            state: `complete`, `pruned` or `fail`.
        """
        from optuna.trial import TrialState

        if reason:
            self.note(number, reason=reason)
        self.study.tell(number, score, TrialState[state.upper()])

    def _seed(self, *key: int) -> None:
        own = self.settings
        self.study.sampler = create_sampler(own["sampler"], own["sampler_options"], own["seed"], *key)


def open_trials(folder: Path, space: Sequence[Dimension], settings: dict[str, Any]) -> Trials:
    """The trials in the journal of a folder, or none yet.

    Raises:
        ValueError: Invalid settings, or the search in the folder is another one.
    """
    import optuna

    pruner = create_pruner(settings["pruner"], settings["pruner_options"])
    create_sampler(settings["sampler"], settings["sampler_options"], settings["seed"])
    storage = open_journal(folder)
    study = optuna.create_study(
        storage=storage,
        study_name=STUDY,
        direction=settings["direction"],
        pruner=pruner,
        load_if_exists=True,
    )
    described = {dimension.key: repr(dimension.distribution) for dimension in space}
    described |= {f"hydra.sweeper.{key}": f"{settings[key]}" for key in RECORDED}
    before = study.user_attrs.get("search")
    if before is None:
        study.set_user_attr("search", described)
    elif before != described:
        changed = sorted(key for key in before | described if before.get(key) != described.get(key))
        raise ValueError(f"the search has changed since it started: {', '.join(changed)}; start a new one")
    return Trials(study, storage, space, settings)
