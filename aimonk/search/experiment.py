"""The best trial as an experiment file."""

import shlex
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from aimonk.files.atomic import write_text
from aimonk.setup.flatten import flatten

EXPERIMENT = "best"
# settings of where and how a run is computed
OWN = ("resume", "resume_force")


def experiment_file(folder: Path) -> Path:
    """Where Hydra finds the experiment, given `-cd FOLDER`."""
    return folder / "experiment" / f"{EXPERIMENT}.yaml"


def write_experiment(
    folder: Path, comment: str, loader: ConfigLoader, sweep: DictConfig, overrides: list[str]
) -> None:
    """Write `best.yaml`, and a copy in `experiment/`, which `-cd FOLDER experiment=best` selects.

    Args:
        folder: Of the sweep.
        sweep: The sweep's config.
        overrides: Of the trial.
    """
    wanted = loader.load_sweep_config(sweep, overrides)
    default = loader.load_sweep_config(sweep, [])
    chosen = {
        group: option
        for group, option in wanted.hydra.runtime.choices.items()
        if "hydra" not in group and group != "experiment" and default.hydra.runtime.choices[group] != option
    }
    base = loader.load_sweep_config(sweep, [f"{group}={option}" for group, option in chosen.items()])
    before, after = _settings(base), _settings(wanted)
    content: dict[str, Any] = {"defaults": [{f"override /{group}": chosen[group]} for group in chosen]}
    for key, value in after.items():
        if key not in before or before[key] != value:
            *sections, name = key.split(".")
            node = content
            for section in sections:
                node = node.setdefault(section, {})
            node[name] = value
    if not chosen:
        del content["defaults"]
    file = experiment_file(folder)
    file.parent.mkdir(exist_ok=True)
    command = f"python run.py -cd {shlex.quote(f'{folder}')} experiment={EXPERIMENT}"
    head = f"# @package _global_\n# {command}\n# {comment}\n"
    text = head + OmegaConf.to_yaml(OmegaConf.create(content))
    write_text(file, text)
    write_text(folder / file.name, text)  # where people look for it


def _settings(cfg: DictConfig) -> dict[str, Any]:
    """All settings by their full names, without Hydra's and those that only concern a run."""
    plain = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))
    return {key: value for key, value in flatten(plain) if key not in OWN}
