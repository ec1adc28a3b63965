"""Which part of the network trains, and from which epoch on."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FreezePolicy:
    """A schedule of how many of the last stages train beside the head.

    Attributes:
        schedule: First epoch (counted from 1) -> number of trainable stages; None means all of them.
    """

    schedule: dict[int, int | None]

    def cut(self, epoch: int, stages: int) -> int:
        """How many of the network's first stages are frozen in this epoch, counted from 1.

        Raises:
            ValueError: The policy speaks of more stages than there are.
        """
        trainable = self.schedule[max(start for start in self.schedule if start <= epoch)]
        if trainable is None:
            return 0
        if trainable > stages:
            raise ValueError(f"freeze: {trainable} stages should train; this backbone has {stages}")
        return stages - trainable

    def cuts(self, epochs: int, stages: int) -> list[int]:
        """The cut of every epoch."""
        return [self.cut(epoch, stages) for epoch in range(1, epochs + 1)]


def backbone() -> FreezePolicy:
    """Train the head alone."""
    return FreezePolicy({1: 0})


def none() -> FreezePolicy:
    """Train everything."""
    return FreezePolicy({1: None})


def stages(last: int) -> FreezePolicy:
    """Train the head and this many of the last stages."""
    if last < 0:
        raise ValueError(f"freeze.last is {last}; expected 0 or more")
    return FreezePolicy({1: last})


def gradual(epochs: Sequence[int]) -> FreezePolicy:
    """Train the head first, and one stage more, from the top down, at each of these epochs (counted from 1).

    Howard and Ruder 2018, "Universal language model fine-tuning for text classification".
    """
    if list(epochs) != sorted(set(epochs)) or min(epochs, default=2) < 2:
        raise ValueError(f"freeze.epochs is {list(epochs)}; expected growing epoch numbers from 2 on")
    return FreezePolicy({1: 0} | {epoch: i for i, epoch in enumerate(epochs, start=1)})


def lp_ft(head_epochs: int) -> FreezePolicy:
    """Train the head alone for some epochs, then everything.

    Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform out-of-distribution".
    """
    if head_epochs < 1:
        raise ValueError(f"freeze.head_epochs is {head_epochs}; expected 1 or more")
    return FreezePolicy({1: 0, head_epochs + 1: None})
