"""Samplers of a search by their names."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "random")
STRIDE = 1_000_003  # between the seeds of two searches, which have fewer trials


def create_sampler(name: str, seed: int, number: int, parallel: bool) -> "optuna.samplers.BaseSampler":
    """A sampler for one trial; its seed depends on the trial, so that a resumed search draws new settings.

    Args:
        parallel: Whether other trials are running, whose scores are unknown.
    """
    from optuna import samplers

    seed = (seed * STRIDE + number) % 2**32
    if name == "random":
        return samplers.RandomSampler(seed=seed)
    return samplers.TPESampler(seed=seed, constant_liar=parallel)
