"""What an interrupted run needs to go on as if nothing had happened."""

import contextlib
import errno
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from aimonk.data.labels import LabelTable
from aimonk.files.tensors import load_tensors, save_tensors
from aimonk.files.text import listed
from aimonk.training.task import Task, TrainState, trained_state

log = logging.getLogger(__name__)

STATE_FILE = "state.pth"
DATA_FILE = "labels.pth"
# what may differ between a run and its continuation: where things lie and how they are computed, not what
FREE = ("resume", "resume_force", "cache_dir", "workers", "data.store_limit_gb", "features.limit_gb")

NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextlib.contextmanager
def advising(out_dir: Path, cache: Path) -> Iterator[None]:
    """Say what to do where a disk refuses to take what a run writes, or a loader process was killed.

    Raises:
        OSError: The same error with that advice.
    """
    try:
        yield
    except OSError as error:
        place = str(error.filename or f"{out_dir} or {cache}")
        if error.errno in NO_ROOM:
            advice = f"make room there and go on with resume={out_dir}"
        elif Path(place).is_relative_to(out_dir):
            advice = f"make it writable and go on with resume={out_dir}, or choose hydra.run.dir=FOLDER"
        elif Path(place).is_relative_to(cache):
            advice = "cache_dir=FOLDER chooses another place"
        else:
            raise
        raise OSError(f"{place}: {error.strerror}; {advice}") from error
    except RuntimeError as error:
        if not f"{error}".startswith("DataLoader worker"):
            raise
        if hasattr(signal, "SIGCHLD"):
            # torch's handler would raise once more, in the middle of anything that comes now
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        advice = f"mostly for want of memory; workers=1 takes less; go on with resume={out_dir}"
        raise ChildProcessError(f"a process that loads images has died ({error}), {advice}") from error


def save_state(path: Path, task: Task, progress: TrainState) -> None:
    """Write all that training depends on; randomness is a function of seed and iteration."""
    state = {
        "epoch": progress.epoch,
        "batches": progress.batches,
        "losses": torch.tensor(progress.losses, dtype=torch.float64),
        "known": torch.tensor(progress.known, dtype=torch.int64),
        "history": progress.history,
        "best": progress.best,
        "best_state": progress.best_state,
        "seconds": progress.seconds,
        "epoch_seconds": progress.epoch_seconds,
        "images": progress.images,
        "model": trained_state(task),
        "optimizer": task.optimizer.state_dict(),
        "scheduler": task.scheduler.state_dict(),
        "scaler": task.scaler.state_dict(),
        "average": None if task.average is None else task.average.state_dict(),
    }
    save_tensors(path, state)


def load_state(path: Path, task: Task) -> TrainState:
    """Bring a freshly built task to where a run stood.

    Raises:
        ValueError: The file is not of a run with this task.
    """
    state = load_tensors(path)
    try:
        wrong = task.classifier.load_state_dict(state["model"], strict=False)
        if wrong.unexpected_keys or set(state["model"]) != set(trained_state(task)):
            raise KeyError("weights of another network")
        task.optimizer.load_state_dict(state["optimizer"])
        task.scheduler.load_state_dict(state["scheduler"])
        task.scaler.load_state_dict(state["scaler"])
        if task.average is not None:
            task.average.load_state_dict(state["average"])
        return TrainState(
            epoch=state["epoch"],
            batches=state["batches"],
            losses=state["losses"].tolist(),
            known=state["known"].tolist(),
            history=state["history"],
            best=state["best"],
            best_state=state["best_state"],
            seconds=state["seconds"],
            epoch_seconds=state["epoch_seconds"],
            images=state["images"],
        )
    except (KeyError, TypeError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ValueError(f"{path} is not the state of such a run ({reason})") from None


def save_labels(path: Path, table: LabelTable) -> None:
    """Write what the run was trained on, to be compared when it goes on."""
    values = torch.from_numpy(np.where(table.mask, table.labels, -1).astype(np.int8))
    save_tensors(path, {"names": table.names, "attributes": table.attributes, "labels": values})


def compare_labels(path: Path, table: LabelTable) -> list[str]:
    """How the labels differ from those that the run began with."""
    if not path.is_file():
        return []  # the run had not come so far
    before = load_tensors(path)
    if before["attributes"] != table.attributes:
        return [f"attributes: {listed(before['attributes'])} then, {listed(table.attributes)} now"]
    differences = []
    for what, names in (
        ("gone", sorted(set(before["names"]) - set(table.names))),
        ("new", sorted(set(table.names) - set(before["names"]))),
    ):
        if names:
            differences.append(f"{len(names)} images are {what}: {listed(names)}")
    if differences or before["names"] != table.names:
        return differences or ["the images stand in another order"]
    now = np.where(table.mask, table.labels, -1).astype(np.int8)
    changed = np.argwhere(before["labels"].numpy() != now)
    if len(changed):
        told = [f"{table.names[i]} {table.attributes[a]}" for i, a in changed]
        differences.append(f"{len(changed)} labels: {listed(told)}")
    return differences


def compare_configs(path: Path, now: DictConfig) -> list[str]:
    """Settings that differ from those in a file, as `loss.gamma: 2.0 then, 1.0 now`; those in FREE may."""
    if not path.is_file():
        return []  # a job of a sweep that had not begun
    before = OmegaConf.to_container(OmegaConf.load(path))
    return _differences(before, OmegaConf.to_container(now, resolve=True), "")


def _differences(before: Any, now: Any, prefix: str) -> list[str]:
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [f"{prefix}: {before!r} then, {now!r} now"]
    found = []
    for key in [*before, *(key for key in now if key not in before)]:
        name = f"{prefix}.{key}" if prefix else key
        if name not in FREE:
            found += _differences(before.get(key), now.get(key), name)
    return found


def refuse_changes(differences: list[str], force: bool) -> None:
    """See to it that a run goes on as it began.

    Raises:
        ValueError: Something differs, and `force` is not set.
    """
    if differences and not force:
        raise ValueError(
            f"the run began otherwise: {'; '.join(differences)} (resume_force=true goes on all the same)"
        )
    if differences:
        log.warning("going on although the run began otherwise: %s", "; ".join(differences))
