"""The state of a training run: how far it is, its losses and its weights; saved and restored bit for bit."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from aimonk.files.tensors import load_tensors, save_tensors
from aimonk.training.task import Task

PLAIN = ("epoch", "batches", "history", "best", "best_state", "seconds", "epoch_seconds", "images", "streams")


@dataclass
class TrainState:
    """How far a run is.

    Attributes:
        epoch: The current epoch, from 1.
        batches: Batches of it that are done.
        losses: Training loss of each iteration.
        known: Known entries behind each loss, and the unknown ones by their weight in the mean.
        history: One record per finished epoch.
        best: Record of the best epoch.
        best_state: Weights of the best epoch: every part that trains in some epoch.
        seconds: Training time, without validation.
        epoch_seconds: The same for each finished epoch.
        images: Images trained on in that time.
        streams: Whether the current epoch reads shards one after another.
    """

    epoch: int = 1
    batches: int = 0
    losses: list[float] = field(default_factory=list)
    known: list[float] = field(default_factory=list)
    history: list[dict] = field(default_factory=list)
    best: dict | None = None
    best_state: dict[str, Tensor] | None = None
    seconds: float = 0.0
    epoch_seconds: list[float] = field(default_factory=list)
    images: int = 0
    streams: bool = False

    @property
    def images_per_second(self) -> float:
        return self.images / max(self.seconds, 1e-9)


@contextmanager
def averaged(task: Task) -> Iterator[None]:
    """Give the classifier the moving average of its weights within the block, if there is one."""
    if task.average is None:
        yield
        return
    suffix = task.classifier.suffix(task.lowest_cut)
    own = copy.deepcopy(suffix.state_dict())
    suffix.load_state_dict(task.average.module.state_dict())
    yield
    suffix.load_state_dict(own)


def trained_state(task: Task) -> dict[str, Tensor]:
    """A copy, on the CPU, of the weights of every part that trains in some epoch."""
    frozen = tuple(f"stages.{name}." for name in list(task.classifier.stages)[: task.lowest_cut])
    return {
        key: value.detach().cpu().clone()
        for key, value in task.classifier.state_dict().items()
        if not key.startswith(frozen or "\0")
    }


def save_state(path: Path, task: Task, state: TrainState, run: str) -> None:
    """Write everything that training depends on; random numbers are a function of seed and iteration.

    Args:
        run: Digest of the config and the labels, for `load_state`.
    """
    content = {key: getattr(state, key) for key in PLAIN} | {
        "run": run,
        "losses": torch.tensor(state.losses, dtype=torch.float64),
        "known": torch.tensor(state.known, dtype=torch.float64),
        "model": trained_state(task),
        "missing": task.missing.state_dict(),
        "optimizer": task.optimizer.state_dict(),
        "scheduler": task.scheduler.state_dict(),
        "scaler": task.scaler.state_dict(),
        "average": None if task.average is None else task.average.state_dict(),
    }
    save_tensors(path, content)


def load_state(path: Path, task: Task, run: str | None) -> TrainState:
    """Restore a newly built task and return the state of its run.

    Args:
        run: Digest of the config and the labels; None accepts any.

    Raises:
        ValueError: The file belongs to a run with another task.
    """
    content = load_tensors(path)
    try:
        if run not in (None, content["run"]):
            raise KeyError("another config or other labels")
        wrong = task.classifier.load_state_dict(content["model"], strict=False)
        if wrong.unexpected_keys or set(content["model"]) != set(trained_state(task)):
            raise KeyError("weights of another network")
        for name in ("missing", "optimizer", "scheduler", "scaler"):
            getattr(task, name).load_state_dict(content[name])
        if task.average is not None:
            task.average.load_state_dict(content["average"])
        losses, known = content["losses"].tolist(), content["known"].tolist()
        return TrainState(losses=losses, known=known, **{key: content[key] for key in PLAIN})
    except (KeyError, TypeError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ValueError(f"{path} is the state of another run ({reason})") from None
