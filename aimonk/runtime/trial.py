"""The trial of a search that this process runs: its scores are reported, and it may be pruned."""

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aimonk.files.run_folder import Pruned
from aimonk.runtime.ranks import rank

if TYPE_CHECKING:
    import optuna

STUDY = "aimonk"
JOURNAL_FILE = "search.log"  # Optuna's journal, in the folder of a sweep
PRUNERS = ("none", "median", "halving", "hyperband")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """A running trial.

    Attributes:
        metric: Name of the score in the record of an epoch, such as `mean_ap`.
        pruner: One of PRUNERS.
    """

    journal: Path
    number: int
    metric: str
    pruner: str

    def report(self, record: dict[str, Any]) -> None:
        """Report an epoch; called by all processes. An epoch that was reported before stays as it was.

        Raises:
            Pruned: The search ends the trial.
        """
        from aimonk.runtime import distributed  # loads torch

        reason = self._report(record) if rank() == 0 else ""
        if reason := distributed.broadcast(reason):
            raise Pruned(reason)

    def _report(self, record: dict[str, Any]) -> str:
        """Why the trial ends; empty if it continues. A journal that cannot be written never ends training."""
        value, epoch = record.get(self.metric), record["epoch"]
        if value is None:
            return ""
        try:
            import optuna

            study = open_study(self.journal, self.pruner)
            trial = optuna.trial.Trial(study, study.trials[self.number]._trial_id)
            if epoch not in study.trials[self.number].intermediate_values:
                trial.report(value, epoch)
            ended = trial.should_prune()
        except Exception as error:  # of the storage, which may be on a full or remote disk
            log.warning("epoch %d is not in %s (%s)", epoch, self.journal, error)
            return ""
        return f"{self.metric} {value:.4f} in epoch {epoch}" if ended else ""


current: ContextVar[Trial | None] = ContextVar("current", default=None)


@contextlib.contextmanager
def running(trial: Trial | None) -> Iterator[None]:
    """Let the block run a trial."""
    token = current.set(trial)
    try:
        yield
    finally:
        current.reset(token)


def open_study(journal: Path, pruner: str, **settings: Any) -> "optuna.Study":
    """The study of a journal, which is created if it does not exist.

    Args:
        settings: Of `optuna.create_study`.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
    return optuna.create_study(
        study_name=STUDY, storage=storage, pruner=create_pruner(pruner), load_if_exists=True, **settings
    )


def create_pruner(name: str) -> "optuna.pruners.BasePruner":
    """A pruner; each waits for some trials, or epochs, before it ends the first one."""
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)  # not in the first epoch
    kinds = {
        "none": pruners.NopPruner,
        "halving": pruners.SuccessiveHalvingPruner,
        "hyperband": pruners.HyperbandPruner,
    }
    return kinds[name]()
