"""A running search: starts trials until there are enough, and keeps the best as an experiment file."""

import logging
import shlex
import signal
import sys
import time
from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict

from aimonk.files.run_folder import LOCK_FILE
from aimonk.files.text import plural
from aimonk.search.experiment import EXPERIMENT, write_experiment
from aimonk.search.jobs import run_one, share
from aimonk.search.outcome import Outcome, read_outcome
from aimonk.search.slots import Slots, count_slots
from aimonk.search.space import format_value, name_folder
from aimonk.search.study import Trials

log = logging.getLogger(__name__)

SUBDIR = "hydra.sweep.subdir"
TRIES = 2  # starts of a trial whose process dies


@dataclass
class Search:
    """A search that is running.

    Attributes:
        fixed: Overrides that all trials share.
        folders: Folder of each trial that was started here.
        tries: Starts of each trial here.
    """

    trials: Trials
    settings: dict[str, Any]
    folder: Path
    fixed: list[str]
    config: DictConfig
    loader: ConfigLoader
    launcher: Launcher
    folders: dict[int, Path] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)

    def run(self) -> None:
        """Run the trials that are missing.

        Raises:
            SystemExit: No trial has a score, or a signal ended the search.
        """
        started, waiting = time.monotonic(), deque(self.trials.unfinished())
        slots = Slots(count_slots(self.launcher))
        try:
            while True:
                late = self.settings["timeout"] and time.monotonic() - started > self.settings["timeout"]
                while slots.free and not late and (number := self.next_trial(waiting)) is not None:
                    self.start(number, slots)
                if not slots.running:
                    break
                ended = slots.next_ended()
                number = slots.running.pop(ended)
                if not self.end(number, ended):
                    waiting.append(number)
        except KeyboardInterrupt:
            log.info("continue with: python run.py -m resume=%s", shlex.quote(f"{self.folder}"))
            sys.exit(128 + signal.SIGINT)
        finally:
            slots.close()
        share(None)
        self.report()

    def next_trial(self, waiting: deque[int]) -> int | None:
        """An interrupted trial or a new one; None if there are enough."""
        if waiting:
            return waiting.popleft()
        return self.trials.ask() if len(self.trials.all) < self.settings["n_trials"] else None

    def start(self, number: int, slots: Slots) -> None:
        """Start the job of a trial in a free slot."""
        overrides = self.overrides(number)
        name = self.name(number, overrides)
        folder = self.folders[number] = self.folder / name
        self.trials.note(number, folder=name)
        self.tries[number] = self.tries.get(number, 0) + 1
        if self.tries[number] > 1:
            quoted = QuotedString(f"{folder}", Quote.single).with_quotes()
            overrides = [*(o for o in overrides if not o.startswith("resume=")), f"resume={quoted}"]

        def launch() -> Exception | None:
            if folder.is_dir():
                # a job of an interrupted search may still run, on this machine or on another
                with FileLock(folder / LOCK_FILE):
                    pass
            if read_outcome(folder, self.settings["by"]).state:
                return None
            share((overrides, number))
            return run_one(self.launcher, overrides, number)

        slots.start(number, launch)

    def overrides(self, number: int) -> list[str]:
        """The overrides of a trial, with the name of its folder unless the command line has one."""
        values = self.trials.values(number)
        own = [f"{key}={format_value(value)}" for key, value in values.items()]
        if not self.named:
            groups = [key for key in values if self.loader.get_group_options(key.lstrip("+"))]
            own.append(f"{SUBDIR}='{name_folder(number, values, groups)}'")
        return [*self.fixed, *own]

    @property
    def named(self) -> bool:
        """Whether the command line names the folders."""
        return any(f"{override}".startswith(SUBDIR) for override in self.config.hydra.overrides.hydra)

    def name(self, number: int, overrides: list[str]) -> str:
        """Name of a trial's folder.

        Raises:
            HydraException: The overrides do not fit the config, which is checked for the first trial.
        """
        if self.tries and not self.named:
            return overrides[-1].removeprefix(f"{SUBDIR}=").strip("'")
        cfg = self.loader.load_sweep_config(self.config, overrides)
        with open_dict(cfg):
            cfg.hydra.job.num = number
        return cfg.hydra.sweep.subdir

    def end(self, number: int, job: Future) -> bool:
        """Record how the job of a trial ended; False if it did not and is to be resumed.

        Raises:
            ValueError: The run has no such score, or the launcher starts no job.
            BaseException: What a signal raised in the job.
        """
        died = job.exception()
        if died is not None and not isinstance(died, Exception):
            raise died
        outcome = read_outcome(self.folders[number], self.settings["by"])
        if not outcome.state and died is None and job.result() is not None:
            outcome = Outcome("fail", reason=f"{job.result()}")
        elif not outcome.state:
            reason = f"its process ended: {died or 'without a status'}".splitlines()[0]
            if self.tries[number] < TRIES:
                log.warning("trial %d is resumed: %s", number, reason)
                return False
            if died is not None and not self.folders[number].is_dir():
                raise ValueError(f"no job can be launched: {died}".splitlines()[0])
            outcome = Outcome("fail", reason=reason)
        self.trials.tell(number, outcome.score, outcome.state, outcome.reason)
        best = self.trials.best
        text = f"{outcome.score:.4f}" if outcome.score is not None else f"{outcome.state}: {outcome.reason}"
        better = best is not None and best.number == number
        log.info("trial %d of %d: %s%s", number, self.settings["n_trials"], text, ", the best" * better)
        if better:
            self.keep_best()
        if best is None and outcome.reason.startswith("hydra.sweeper.by"):
            raise ValueError(outcome.reason)  # no trial would have a score
        return True

    def keep_best(self) -> None:
        """Write the experiment file of the best trial."""
        best = self.trials.best
        score = f"{self.settings['by']} {best.value:.4f}"
        chance = read_outcome(self.folder / best.user_attrs["folder"], self.settings["by"]).chance
        if chance is not None:
            score += f" (chance {chance:.4f})"
        comment = f"trial {best.number} of a search: {score} on the images that chose it"
        write_experiment(self.folder, comment, self.loader, self.config, self.overrides(best.number))

    def report(self) -> None:
        """Log the best trial and the command that repeats it.

        Raises:
            SystemExit: No trial has a score.
        """
        states = Counter(trial.state.name.lower() for trial in self.trials.all)
        counts = ", ".join(
            f"{states[name]} {name}" for name in ("complete", "pruned", "fail") if states[name]
        )
        log.info("search: %s; %s", plural(len(self.trials.all), "trial"), counts)
        best = self.trials.best
        if best is None:
            sys.exit(f"no trial has a score; run.log in the folders below {self.folder} has the reasons")
        self.keep_best()  # again, as the search may have been killed before it could
        command = f"python run.py -cd {shlex.quote(f'{self.folder}')} experiment={EXPERIMENT}"
        log.info("best: trial %d, %s %.4f; %s", best.number, self.settings["by"], best.value, command)
