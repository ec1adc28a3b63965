"""What every step of a training run needs."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from aimonk.data.dataset import ImageSet
from aimonk.training.state import TrainState

Parts = dict[str, np.ndarray]  # "train", "val", "test" -> rows of the label table


def ignore(state: TrainState) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class RunContext:
    """The config and the data of a run, and its folder.

    Attributes:
        groups: Group number of each image, [N]: copies of a photograph share one; None if not searched.
        stop: The signal that requests an end of the run; None while there is none.
        digest: Identifies the config and the labels in files that a resumed run reads.
        report: Called after each epoch of gradient descent, but not of a fold or a refit.
    """

    cfg: DictConfig
    images: ImageSet
    groups: np.ndarray | None
    out_dir: Path
    stop: Callable[[], signal.Signals | None]
    digest: str
    report: Callable[[TrainState], None] = ignore

    def in_folder(self, name: str) -> "RunContext":
        """The same run with a subfolder, which is created, as its folder."""
        (self.out_dir / name).mkdir(parents=True, exist_ok=True)
        return replace(self, out_dir=self.out_dir / name, report=ignore)
