"""Where Hydra finds the search: in `hydra_plugins`, all of which it imports at each start."""

import sys
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SearchSweeper(Sweeper):
    """Chooses the settings of each job by the scores of those before; see conf/hydra/sweeper/optuna.yaml."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from aimonk.search.start import start_search

        loader = self.hydra_context.config_loader
        try:
            start_search(self.settings, self.config, loader, self.launcher, arguments)
        except ValueError as error:
            sys.exit(f"{error}")
