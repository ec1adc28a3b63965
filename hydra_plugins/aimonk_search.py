"""The search as a plugin: Hydra takes plugins from this package only."""

from aimonk.search.sweeper import OptunaSweeper as Search


class OptunaSweeper(Search):
    """`hydra/sweeper=optuna`."""
