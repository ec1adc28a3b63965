"""Samplers, which choose the settings of the next trial."""

from typing import TYPE_CHECKING

import numpy as np

from aimonk.runtime.pruning import construct

if TYPE_CHECKING:
    import optuna

SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "qmc": "QMCSampler",
}


def create_sampler(name: str, options: dict | None, seed: int, number: int) -> "optuna.samplers.BaseSampler":
    """The sampler of one trial; its random numbers depend on the seed and the trial's number alone.

    A resumed search thus chooses what an undisturbed one would.

    Raises:
        ValueError: Unknown name or options.
    """
    # a quasi-random sequence is one sequence; its place in it is in the journal
    own = seed if name == "qmc" else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return construct("sampler", SAMPLERS, name, {"seed": own} | (options or {}))
