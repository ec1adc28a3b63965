"""The settings of a run, from its config.yaml and from Hydra's record."""

import re
from pathlib import Path
from typing import Any

import yaml

from aimonk.files.run_folder import CONFIG_FILE
from aimonk.setup.flatten import flatten

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
ALIAS = re.compile(r"(?m)(?:^\s*|[:\-\[,?]\s+)\*\w")  # no run writes one, and a few can expand to gigabytes
MOST_SETTINGS = 10_000
# of a file with other contents than expected
DAMAGED = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError),
    yaml.YAMLError,
)


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a run by their full names."""
    settings: dict[str, Any] = {}
    for name, value in flatten(_load_yaml(folder / CONFIG_FILE)):
        settings[name] = value
        if len(settings) > MOST_SETTINGS:
            raise ValueError(f"{CONFIG_FILE} has more than {MOST_SETTINGS} settings")
    return settings


def read_choices(folder: Path) -> dict[str, Any]:
    """The option of each group, as Hydra records it; empty where there is no record."""
    try:
        choices = _load_yaml(folder / ".hydra" / "hydra.yaml")["hydra"]["runtime"]["choices"]
        return {group: option for group, option in choices.items() if "hydra" not in group}
    except DAMAGED:
        return {}


def _load_yaml(path: Path) -> dict:
    text = path.read_text(encoding="utf-8")
    if ALIAS.search(text):
        raise ValueError(f"{path.name} has an alias")
    content = yaml.load(text, Loader)
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} has no settings")
    return content
