"""Learning-rate schedules."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau


def constant(optimizer: Optimizer, total_steps: int, warmup: float) -> LRScheduler:
    """A constant learning rate after a linear warm-up over a share `warmup` of the run."""
    return LambdaLR(optimizer, _after_warmup(warmup, total_steps, lambda share: 1.0))


def cosine(optimizer: Optimizer, total_steps: int, warmup: float, final: float) -> LRScheduler:
    """Half a cosine (Loshchilov and Hutter 2017) from the learning rate to `final` times it."""
    if not 0 <= final <= 1:
        raise ValueError(f"scheduler.final is {final}; expected 0 to 1")
    decay = partial(_half_cosine, 1, final)
    return LambdaLR(optimizer, _after_warmup(warmup, total_steps, decay))


def onecycle(optimizer: Optimizer, total_steps: int, pct_start: float) -> LRScheduler:
    """Rise to the learning rate over a share `pct_start` of the run, then fall to almost 0.

    Smith and Topin 2018, "Super-convergence: very fast training of neural networks using large learning
    rates". The rates equal those of torch's OneCycleLR; momentum and betas do not change.
    """
    if not 0 <= pct_start <= 1:
        raise ValueError(f"scheduler.pct_start is {pct_start}; expected a share of the run, 0 to 1")
    peak = pct_start * total_steps - 1  # in steps; may be fractional or negative

    def scale(step: int) -> float:
        if step < peak:
            return _half_cosine(1 / 25, 1, step / peak)
        return _half_cosine(1, 1 / 25e4, min(1.0, (step - peak) / (total_steps - 1 - peak or 1)))

    return LambdaLR(optimizer, scale)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def plateau(optimizer: Optimizer, total_steps: int, factor: float, patience: int) -> ReduceLROnPlateau:
    """Multiply the learning rate by `factor` after more than `patience` epochs without an improvement."""
    if not 0 < factor < 1:
        raise ValueError(f"scheduler.factor is {factor}; expected between 0 and 1")
    # a relative threshold fails for negative scores, such as minus the loss
    return ReduceLROnPlateau(
        optimizer, mode="max", factor=factor, patience=patience, threshold=0, threshold_mode="abs"
    )


def replay(optimizer: Optimizer, rates: Sequence[float], steps: int) -> LRScheduler:
    """The learning rates of the epochs of an earlier training, where a plateau decided on them.

    Args:
        rates: Of each epoch.
        steps: Iterations of an epoch.
    """
    first = rates[0] or 1.0
    return LambdaLR(optimizer, lambda step: rates[min(step // steps, len(rates) - 1)] / first)


def _after_warmup(
    warmup: float, total_steps: int, schedule: Callable[[float], float]
) -> Callable[[int], float]:
    if not 0 <= warmup < 1:
        raise ValueError(f"scheduler.warmup is {warmup}; expected a share of the run, 0 to below 1")
    steps = round(warmup * total_steps)

    def scale(step: int) -> float:
        if step < steps:
            return (step + 1) / (steps + 1)
        return schedule(min(1.0, (step - steps) / max(1, total_steps - steps)))

    return scale
