"""The trial of a search that a run belongs to: its epochs are reported, and a bad one is pruned."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from aimonk.files.run_folder import Pruned
from aimonk.runtime import distributed
from aimonk.runtime.journal import STUDY, import_optuna, open_journal
from aimonk.runtime.pruning import create_pruner
from aimonk.runtime.ranks import rank
from aimonk.training.state import TrainState

if TYPE_CHECKING:
    import optuna

SWEEPER = "hydra_plugins.aimonk_search.sweeper.SearchSweeper"
# path in metrics.json -> key of an epoch's record
EPOCH_SCORES = {"val.mean_ap": "mean_ap", "val.f1_macro": "f1_macro"}


def in_search() -> bool:
    """Whether this process runs a job of a search."""
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    return hydra is not None and hydra.mode == RunMode.MULTIRUN and hydra.sweeper.get("_target_") == SWEEPER


def trial_reports(cfg: DictConfig) -> list[Callable[[TrainState], None]]:
    """What reports the epochs of this run to its search; nothing where no search asks for them.

    Raises:
        Pruned: The run had been ended by the pruner.
    """
    if not in_search():
        return []
    hydra = HydraConfig.get()
    key = EPOCH_SCORES.get(hydra.sweeper.by)
    if key is None:
        return []
    report = EpochReport(_open_trial(hydra) if rank() == 0 else None, key, cfg.epochs)
    report.end_if_pruned()
    return [report]


def _open_trial(hydra: DictConfig) -> "optuna.Trial":
    options = OmegaConf.to_container(OmegaConf.create({"of": hydra.sweeper.pruner_options}))["of"]
    optuna = import_optuna()
    study = optuna.load_study(
        study_name=STUDY,
        storage=open_journal(Path(hydra.runtime.cwd) / hydra.sweep.dir),
        sampler=optuna.samplers.RandomSampler(),  # chooses nothing here, and writes nothing
        pruner=create_pruner(hydra.sweeper.pruner, options),
    )
    return optuna.trial.Trial(study, study.get_trials(deepcopy=False)[hydra.job.num]._trial_id)


@dataclass
class EpochReport:
    """Reports the epochs of a run to its search.

    Attributes:
        trial: None on all processes but the first.
        key: Of the score in an epoch's record.
        last: The last epoch, after which nothing is saved by pruning.
    """

    trial: "optuna.Trial | None"
    key: str
    last: int

    def __call__(self, state: TrainState) -> None:
        """Report the epochs that are not yet.

        Raises:
            Pruned: The pruner ends the run.
        """
        reason = distributed.broadcast(self.trial and self.report(state.history))
        if reason:
            raise Pruned(reason)

    def end_if_pruned(self) -> None:
        """End a resumed run that was killed when the pruner had just ended it.

        Raises:
            Pruned: The pruner had ended the run.
        """
        reason = distributed.broadcast(self.trial and self.decide())
        if reason:
            raise Pruned(reason)

    def report(self, history: list[dict]) -> str:
        """Report; returns why the run is to end, or nothing."""
        known = self._scores()
        # a run that was killed between saving its state and reporting has more than one epoch to report
        for record in history:
            if record["epoch"] not in known and record[self.key] is not None:
                self.trial.report(record[self.key], record["epoch"])
                if reason := self.decide():
                    return reason
        return ""

    def decide(self) -> str:
        """Why the run is to end after the last epoch that was reported, or nothing."""
        scores = self._scores()
        epoch = max(scores, default=self.last)
        if epoch >= self.last or not self.trial.should_prune():
            return ""
        return f"{self.key} {scores[epoch]:.4f} after epoch {epoch}"

    def _scores(self) -> dict[int, float]:
        return self.trial.study.get_trials(deepcopy=False)[self.trial.number].intermediate_values
