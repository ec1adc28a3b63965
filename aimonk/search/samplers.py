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
}


def create_sampler(name: str, options: dict | None, seed: int, *key: int) -> "optuna.samplers.BaseSampler":
    """A sampler whose random numbers depend on the seed and the key alone.

    With the trial and the setting as key, a resumed search chooses what an undisturbed one would.

    Raises:
        ValueError: Unknown name or options.
    """
    own = int(np.random.SeedSequence([seed, *key]).generate_state(1)[0])
    return construct("sampler", SAMPLERS, name, options or {}, seed=own)
