"""`hydra/sweeper=optuna`: a search whose trials are the jobs of a sweep.

Trials are kept in a journal in the folder of the sweep. As soon as a job ends, the next one starts in its
place. The sampler is seeded for each trial, so that an interrupted search continues as it would have.
"""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from aimonk.runtime.trial import JOURNAL_FILE, PRUNERS, open_study
from aimonk.search.best import write_best
from aimonk.search.journal import find_folders, repair_journal, restart, suggest
from aimonk.search.outcome import Outcome, read_outcome
from aimonk.search.samplers import SAMPLERS, create_sampler
from aimonk.search.space import parse_space, to_overrides

if TYPE_CHECKING:
    import optuna

DIRECTIONS = ("maximize", "minimize")

log = logging.getLogger(__name__)


class OptunaSweeper(Sweeper):
    """Hydra's interface to the search; the settings are those of conf/hydra/sweeper/optuna.yaml."""

    def __init__(
        self,
        n_trials: int,
        timeout: float | None,
        by: str,
        direction: str | None,
        sampler: str,
        pruner: str,
        seed: int,
        n_jobs: int | None,
    ):
        self.n_trials = n_trials
        self.timeout = timeout
        self.by = by
        self.direction = direction
        self.sampler = sampler
        self.pruner = pruner
        self.seed = seed
        self.n_jobs = n_jobs
        self.lock = threading.Lock()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until there are enough, or time is up.

        Raises:
            HydraException: A setting is invalid.
        """
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        try:
            self.check()
            self.space, self.fixed = parse_space(parser.parse_overrides(arguments))
        except ValueError as error:
            raise HydraException(f"{error}") from None
        self.compose_options()
        self.folder = Path(self.config.hydra.sweep.dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        repair_journal(self.folder / JOURNAL_FILE)
        self.study = open_study(self.folder / JOURNAL_FILE, self.pruner, direction=self.direction)
        self.started, self.folders = time.monotonic(), find_folders(self.folder)
        self.waiting = self.find_interrupted()
        slots = self.slots()
        if slots == 1:
            self.work()  # in the main thread, which Ctrl-C interrupts
            return
        with ThreadPoolExecutor(slots) as pool:
            for worker in [pool.submit(self.work) for _ in range(slots)]:
                worker.result()

    def check(self) -> None:
        """Check the settings.

        Raises:
            ValueError: One is invalid.
        """
        from aimonk.modes.compare.command import parse_score  # loads torch
        from aimonk.modes.compare.summary import LOWER_IS_BETTER

        _, metric = parse_score(self.by)
        if self.direction is None:
            self.direction = "minimize" if metric in LOWER_IS_BETTER else "maximize"
        if not isinstance(self.n_trials, int) or self.n_trials < 1:
            raise ValueError(f"hydra.sweeper.n_trials is {self.n_trials!r}; expected 1 or more")
        choices = {"direction": DIRECTIONS, "sampler": SAMPLERS, "pruner": PRUNERS}
        for key, allowed in choices.items():
            if (value := getattr(self, key)) not in allowed:
                raise ValueError(f"hydra.sweeper.{key} is {value!r}; expected {', '.join(allowed)}")

    def compose_options(self) -> None:
        """Compose each searched option once, since an unknown one would only be found by its trial.

        Raises:
            HydraException: There is no such option or setting.
        """
        for key, of in self.space.items():
            for option in getattr(of, "choices", (of.low,) if hasattr(of, "low") else ()):
                override = to_overrides({key: option})
                self.context.config_loader.load_sweep_config(self.config, [*self.fixed, *override])

    def slots(self) -> int:
        """Number of trials at a time: what the launcher runs in parallel."""
        launcher = self.config.hydra.launcher
        parallel = launcher.get("n_jobs") or launcher.get("array_parallelism") or 1
        return self.n_jobs or (parallel if parallel > 0 else 1)

    def find_interrupted(self) -> list["optuna.trial.FrozenTrial"]:
        """Trials that an earlier process left running; those whose job ended meanwhile are told."""
        waiting = []
        for trial in self.study.trials:
            if not trial.state.is_finished():
                outcome = read_outcome(self.folders.get(trial.number), self.by)
                if outcome is None:
                    waiting.append(trial)
                else:
                    self.tell(trial.number, outcome)
        if self.study.trials:
            count = sum(trial.state.is_finished() for trial in self.study.trials)
            log.info("%d trials are finished, %d were interrupted", count, len(waiting))
        return waiting

    def work(self) -> None:
        """Run one trial after another."""
        while (trial := self.next_trial()) is not None:
            number, params = trial
            try:
                (job,) = self.launcher.launch([[*self.fixed, *to_overrides(params)]], initial_job_idx=number)
                outcome = self.read_job(number, job)
            except Exception as error:  # the process of the job was killed
                outcome = failed(f"{error}" or repr(error))
            with self.lock:
                self.tell(number, outcome)

    def next_trial(self) -> tuple[int, dict[str, Any]] | None:
        """Number and settings of the next trial; None if the search ends."""
        with self.lock:
            if self.timeout is not None and time.monotonic() - self.started > self.timeout:
                return None
            number = self.waiting[0].number if self.waiting else len(self.study.trials)
            if not self.waiting and number >= self.n_trials:
                return None
            self.study.sampler = create_sampler(self.sampler, self.seed, number, self.slots() > 1)
            trial = restart(self.study, self.waiting.pop(0)) if self.waiting else self.study.ask()
            return number, {name: suggest(trial, name, own) for name, own in self.space.items()}

    def read_job(self, number: int, job: JobReturn) -> Outcome:
        """The outcome of a job that has ended."""
        folder = Path(job.hydra_cfg.hydra.runtime.output_dir)
        self.folders[number] = folder
        outcome = read_outcome(folder, self.by)
        if outcome is None:  # it failed before its run began
            reason = job._return_value if isinstance(job._return_value, Exception) else "the run did not end"
            outcome = failed(f"{reason}")
        return outcome

    def tell(self, number: int, outcome: Outcome) -> None:
        """Record the outcome of a trial once, and the best trial."""
        from optuna.trial import TrialState

        states = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        self.study.tell(number, outcome.value, states[outcome.state])
        shown = f"{self.by} {outcome.value:.4f}" if outcome.value is not None else outcome.reason
        log.info("trial %d %s: %s", number, outcome.state, shown)
        if outcome.value is not None and self.study.best_trial.number == number:
            chance = "" if outcome.chance is None else f", chance {outcome.chance:.4f}"
            overrides = [*self.fixed, *to_overrides(self.study.trials[number].params)]
            groups = self.context.config_loader.list_groups("")
            write_best(self.folder, overrides, groups, f"trial {number} of a search: {shown}{chance}")


def failed(reason: str) -> Outcome:
    """The outcome of a job without a run, or whose run did not end."""
    return Outcome("failed", None, None, reason.splitlines()[0])
