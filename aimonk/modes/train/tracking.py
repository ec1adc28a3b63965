"""The trackers of a training run, which never end it."""

import contextlib
import csv
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from aimonk.files.atomic import write_json
from aimonk.files.run_folder import LOSS_FILE, METRICS_FILE, REPORT_FILE, TRACKERS_FILE, state_after
from aimonk.report.scalars import progress, scalars
from aimonk.runtime.ranks import rank
from aimonk.runtime.trackers.guard import Guard
from aimonk.runtime.trackers.record import Record, Tracker
from aimonk.setup.flatten import flatten
from aimonk.setup.trackers import build_trackers
from aimonk.training.state import TrainState

log = logging.getLogger(__name__)


@contextlib.contextmanager
def tracking(cfg: DictConfig, out_dir: Path) -> Iterator["Tracking"]:
    """Start or continue the records of a run, and close them with the block, also if it raises."""
    tracked = Tracking(out_dir, build_trackers(cfg) if rank() == 0 else {})
    tracked.start(describe_run(cfg, out_dir))
    try:
        yield tracked
    except BaseException as error:
        tracked.end(state_after(error))
        raise


def describe_run(cfg: DictConfig, out_dir: Path) -> Record:
    """A run for trackers: in a sweep, which has a record of Hydra in its folder, a job of it."""
    sweep = next((folder.name for folder in out_dir.parents if (folder / "multirun.yaml").is_file()), None)
    settings = dict(flatten(OmegaConf.to_container(cfg, resolve=True)))
    # what concerns the tracking itself says nothing about the run
    settings = {key: value for key, value in settings.items() if key.split(".")[0] != "tracker"}
    return Record(out_dir, f"{out_dir.parent.name}/{out_dir.name}", sweep, settings)


class Tracking:
    """Reports to all trackers; a file in the run folder has the iterations and the name of each record."""

    def __init__(self, out_dir: Path, trackers: dict[str, Tracker]) -> None:
        self.out_dir, self._trackers = out_dir, trackers
        self._guards = {name: Guard(f"tracker={name}") for name in trackers}
        self._held = dict.fromkeys(trackers, 0)
        self._known: dict[str, dict[str, Any]] = {}

    def start(self, record: Record) -> None:
        """Start the records, or continue those of an interrupted run."""
        if not self._trackers:
            return
        self._known = read_known(self.out_dir / TRACKERS_FILE)
        for name, tracker in self._trackers.items():
            before = self._known.get(name, {"iterations": 0, "identity": None})
            arguments = (record, before["iterations"], before["identity"])
            held = self._call(name, lambda t=tracker, a=arguments: t.start(*a))
            self._held[name] = held or 0
            self._remember([name])  # at once, or a kill would orphan the record

    def report(self, state: TrainState) -> None:
        """Append what the records do not have yet."""
        self._log(state.losses, state.history)

    def finish(self, state: str) -> None:
        """Append the losses and, of a finished run, the results; close the records.

        Args:
            state: `finished` or `interrupted`.
        """
        if not self._trackers:
            return
        metrics = json.loads((self.out_dir / METRICS_FILE).read_text(encoding="utf-8"))
        with (self.out_dir / LOSS_FILE).open(encoding="utf-8", newline="") as file:
            losses = [float(row["training_loss"]) for row in csv.DictReader(file)]
        self._log(losses, metrics["epochs"])
        if state == "finished":
            files = [*sorted(self.out_dir.glob("*.png")), self.out_dir / REPORT_FILE]
            for name, tracker in self._trackers.items():
                self._call(name, lambda t=tracker: t.log_results(len(losses), scalars(metrics), files))
        self.end(state)

    def end(self, state: str) -> None:
        """Close the records."""
        for name, tracker in self._trackers.items():
            self._call(name, lambda t=tracker: t.end(state))
            self._guards[name].close()

    def _log(self, losses: Sequence[float], history: Sequence[dict]) -> None:
        for name, tracker in self._trackers.items():
            points = progress(losses, history, self._held[name])
            self._call(name, lambda t=tracker, p=points: t.log(p))
            self._held[name] = len(losses)
        self._remember(self._trackers)

    def _call(self, name: str, function: Callable[[], Any]) -> Any:
        return self._guards[name].call(function)

    def _remember(self, names: Iterable[str]) -> None:
        """Write what these records have; a lost one keeps what it had."""
        for name in names:
            if not self._guards[name].lost:
                identity = self._trackers[name].identity
                self._known[name] = {"iterations": self._held[name], "identity": identity}
        with contextlib.suppress(OSError):  # a full disk, which the run itself reports
            if self._known:
                write_json(self.out_dir / TRACKERS_FILE, self._known)


def read_known(path: Path) -> dict[str, dict[str, Any]]:
    """Iterations and identity of each record; empty if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: {"iterations": int(entry["iterations"]), "identity": entry["identity"]}
            for name, entry in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
