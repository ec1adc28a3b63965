"""Freeze policies: which part of the network trains in which epoch."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FreezePolicy:
    """The number of last stages that train with the head, by epoch.

    Attributes:
        schedule: First epoch, from 1 -> number of trainable stages; None for all.
        solves_head: Whether the head starts from the solution for the entirely frozen backbone.
        keeps_statistics: Whether the BatchNorm layers that train keep their pretrained statistics.
    """

    schedule: dict[int, int | None]
    solves_head: bool = False
    keeps_statistics: bool = False

    def cut(self, epoch: int, stages: int) -> int:
        """Number of frozen stages in an epoch, from 1.

        Raises:
            ValueError: More stages should train than the network has.
        """
        trainable = self.schedule[max(start for start in self.schedule if start <= epoch)]
        if trainable is None:
            return 0
        if trainable > stages:
            raise ValueError(
                f"freeze trains {trainable} stages; expected at most {stages}, the stages of this backbone"
            )
        return stages - trainable

    def check_epochs(self, epochs: int) -> None:
        """Refuse phases that would never begin.

        Raises:
            ValueError: A phase begins after the last epoch.
        """
        last = max(self.schedule)
        if last > epochs:
            trained = "the entire network" if self.schedule[last] is None else f"{self.schedule[last]} stages"
            raise ValueError(
                f"epochs is {epochs}; expected {last} or more, since the freeze policy trains {trained} from "
                f"epoch {last} on; earlier phases are set by freeze.epochs or freeze.head_epochs"
            )

    def cuts(self, epochs: int, stages: int) -> list[int]:
        """Number of frozen stages in each epoch."""
        return [self.cut(epoch, stages) for epoch in range(1, epochs + 1)]


def backbone() -> FreezePolicy:
    """Train the head only."""
    return FreezePolicy({1: 0})


def none() -> FreezePolicy:
    """Train the entire network."""
    return FreezePolicy({1: None})


def stages(last: int) -> FreezePolicy:
    """Train the head and the last stages."""
    if last < 0:
        raise ValueError(f"freeze.last is {last}; expected 0 or more")
    return FreezePolicy({1: last})


def gradual(epochs: Sequence[int]) -> FreezePolicy:
    """Train the head first, and one more stage, from the top down, from each of these epochs (from 1) on.

    Howard and Ruder 2018, "Universal language model fine-tuning for text classification".
    """
    if list(epochs) != sorted(set(epochs)) or min(epochs, default=2) < 2:
        raise ValueError(f"freeze.epochs is {list(epochs)}; expected increasing epoch numbers from 2 on")
    return FreezePolicy({1: 0} | {epoch: i for i, epoch in enumerate(epochs, start=1)})


def lp_ft(head_epochs: int | None, last: int | None, keep_statistics: bool) -> FreezePolicy:
    """Train the head only for some epochs, then the last stages too.

    Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform out-of-distribution".

    Args:
        head_epochs: None solves the head before the first epoch instead.
        last: Number of last stages; None for the entire network.
        keep_statistics: Whether BatchNorm normalises by its pretrained statistics, which the head was solved
            for, and not by those of the batches.
    """
    if last is not None and last < 1:
        raise ValueError(f"freeze.last is {last}; expected null or 1 or more")
    if head_epochs is None:
        return FreezePolicy({1: last}, solves_head=True, keeps_statistics=keep_statistics)
    if head_epochs < 1:
        raise ValueError(f"freeze.head_epochs is {head_epochs}; expected null or 1 or more")
    return FreezePolicy({1: 0, head_epochs + 1: last}, keeps_statistics=keep_statistics)
