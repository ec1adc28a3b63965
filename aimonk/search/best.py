"""best.yaml: an experiment file that reproduces the best trial of a search."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from aimonk.files.atomic import write_text

BEST_FILE = "best.yaml"
IGNORED = ("resume", "resume_force", "mode", "experiment")


def write_best(sweep: Path, overrides: Sequence[str], groups: Sequence[str], comment: str) -> None:
    """Write best.yaml into the folder of a search, and to experiment/, where `--config-dir` finds it.

    Args:
        overrides: Of the best trial's job.
        groups: Names of the groups of conf/.
        comment: Its score.
    """
    command = f"python run.py --config-dir {shlex.quote(f'{sweep}')} experiment=best"
    text = format_experiment(overrides, groups, [comment, command])
    (sweep / "experiment").mkdir(exist_ok=True)
    write_text(sweep / "experiment" / BEST_FILE, text)
    write_text(sweep / BEST_FILE, text)


def format_experiment(overrides: Sequence[str], groups: Sequence[str], comments: Sequence[str]) -> str:
    """An experiment file that sets what the overrides set."""
    parser, defaults, values = OverridesParser.create(), [], OmegaConf.create()
    for override in parser.parse_overrides(list(overrides)):
        key = override.get_key_element().lstrip("+")
        if key in IGNORED or key.startswith(("hydra", "~")):
            continue
        if key in groups:
            defaults.append({f"override /{key}": override.value()})
        else:
            OmegaConf.update(values, key, override.value(), force_add=True)
    content = {"defaults": defaults} if defaults else {}
    lines = ["# @package _global_", *(f"# {comment}" for comment in comments)]
    body = OmegaConf.to_yaml(OmegaConf.merge(OmegaConf.create(content), values)) if content or values else ""
    return "\n".join(lines) + "\n" + body
