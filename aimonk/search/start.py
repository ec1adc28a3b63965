"""The start of a search: its settings are checked, and its folder is opened or resumed."""

import shlex
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from aimonk.evaluation.kernels import LOWER_IS_BETTER
from aimonk.files.atomic import write_text
from aimonk.files.run_folder import LOCK_FILE
from aimonk.runtime.journal import JOURNAL, import_optuna
from aimonk.runtime.ranks import rank, world_size
from aimonk.search.jobs import follow
from aimonk.search.search import Search
from aimonk.search.space import split_overrides
from aimonk.search.study import open_trials

SWEEP_FILE = "multirun.yaml"  # Hydra's record of a sweep, which `resume=` reads


def start_search(
    settings: dict[str, Any],
    config: DictConfig,
    loader: ConfigLoader,
    launcher: Launcher,
    arguments: list[str],
) -> None:
    """Search, or resume a search.

    Args:
        settings: Those of conf/hydra/sweeper/optuna.yaml.
        arguments: Overrides of the command line.

    Raises:
        ValueError: Invalid settings, or a search that is running already or has changed.
        SystemExit: No trial has a score.
    """
    import_optuna()
    settings = {
        key: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for key, v in settings.items()
    }
    params = [f"{key}={value}" for key, value in (settings["params"] or {}).items()]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides([*params, *arguments])
    space, fixed = split_overrides(overrides)
    check_settings(settings)
    if world_size() > 1:
        from aimonk.runtime.distributed import init_process_group  # loads torch

        init_process_group()
        if rank() > 0:
            follow(launcher)
            return
    folder = Path(config.hydra.sweep.dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK_FILE, timeout=5):
            resume = any(argument.startswith("resume=") for argument in fixed)
            if not resume and (folder / JOURNAL).exists():
                raise ValueError(
                    f"hydra.sweep.dir is {folder}; expected a folder without a search "
                    f"(-m resume={shlex.quote(f'{folder}')} resumes it)"
                )
            # before the journal, which cannot be resumed without it
            write_text(folder / SWEEP_FILE, OmegaConf.to_yaml(config))
            trials = open_trials(folder, space, settings)
            Search(trials, settings, folder, fixed, config, loader, launcher).run()
    except Timeout:
        raise ValueError(f"hydra.sweep.dir is {folder}; expected a folder without a running search") from None


def check_settings(settings: dict[str, Any]) -> None:
    """Check the settings that no other part checks, and decide what is better where none is given.

    Raises:
        ValueError: One is invalid.
    """
    if settings["direction"] not in (None, "maximize", "minimize"):
        raise ValueError(f"hydra.sweeper.direction is {settings['direction']}; expected maximize or minimize")
    if settings["direction"] is None:
        settings["direction"] = "minimize" if f"{settings['by']}".endswith(LOWER_IS_BETTER) else "maximize"
    for key, least in (("n_trials", 1), ("seed", 0)):
        if not isinstance(settings[key], int) or settings[key] < least:
            raise ValueError(
                f"hydra.sweeper.{key} is {settings[key]}; expected an integer of {least} or more"
            )
    timeout = settings["timeout"]
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise ValueError(f"hydra.sweeper.timeout is {timeout}; expected seconds, or null for no limit")
    if not isinstance(settings["by"], str):
        raise ValueError(f"hydra.sweeper.by is {settings['by']}; expected a path such as val.mean_ap")
