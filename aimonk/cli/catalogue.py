"""The settings that the files of conf/ define: their names, defaults, comments and owners."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf"  # of a clone; a wheel has none
SETTING = re.compile(r"^(?P<indent> *)(?P<key>\w+): *(?P<value>.*?)(?: +# (?P<comment>.*))?$")
COMMENT = re.compile(r"^\s*# (.*)$")
PACKAGE = "# @package "
OWN = ("defaults", "hydra")  # keys of a file that are not settings


@dataclass
class Setting:
    """A setting of a file.

    Attributes:
        key: Full name, such as `optimizer.lr`.
        default: As written in the file.
    """

    key: str
    default: str
    comment: str


@dataclass
class Option:
    """A file of a group, or config.yaml, whose group and name are empty.

    Attributes:
        comment: The lines before the first key.
    """

    group: str
    name: str
    comment: str = ""
    settings: list[Setting] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.group}={self.name}"


@cache
def read_catalogue() -> list[Option]:
    """config.yaml and all options of all groups."""
    options = [_read_option(CONF / "config.yaml", "", "")]
    for path in sorted(CONF.glob("*/*.yaml")):
        if path.parent.name != "hydra":
            options.append(_read_option(path, path.parent.name, path.stem))
    return options


def read_defaults() -> dict[str, str | None]:
    """The option of each group that is chosen by default."""
    entries = OmegaConf.load(CONF / "config.yaml").defaults
    return {group: name for entry in entries if entry != "_self_" for group, name in entry.items()}


def _read_option(path: Path, group: str, name: str) -> Option:
    lines = path.read_text(encoding="utf-8").split("\n")
    option = Option(group, name)
    package = next((line[len(PACKAGE) :] for line in lines if line.startswith(PACKAGE)), group)
    prefix = "" if package in ("", "_global_") else f"{package}."
    sections: list[str] = []  # names of the sections that contain the line
    for line in lines:
        if (match := COMMENT.match(line)) is not None and not match[1].startswith("@"):
            target = option.settings[-1] if option.settings else option
            target.comment = f"{target.comment} {match[1]}".strip()
        elif (match := SETTING.match(line)) is not None:
            sections = [*sections[: len(match["indent"]) // 2], match["key"]]
            if sections[0] not in OWN:
                key = prefix + ".".join(sections)
                option.settings.append(Setting(key, match["value"], match["comment"] or ""))
    # a section is no setting itself
    parents = {setting.key.rpartition(".")[0] for setting in option.settings}
    option.settings = [setting for setting in option.settings if setting.key not in parents]
    return option


def check_keys(keys: Iterable[str], choices: dict[str, str | None]) -> None:
    """Compare the settings of a composed config with those of the chosen options.

    Args:
        keys: Full names.
        choices: Chosen option of each group.

    Raises:
        ValueError: A setting is unknown, or one was deleted.
    """
    keys = list(keys)
    chosen = {(group, name) for group, name in choices.items() if name is not None and "hydra" not in group}
    chosen = {(group, name) for group, name in chosen if group != "tracker"} | chosen_trackers(keys)
    required = {group for group, name in read_defaults().items() if name is not None}
    for group in sorted(required - {group for group, _ in chosen}):
        options = ", ".join(option.name for option in read_catalogue() if option.group == group)
        raise ValueError(f"{group} is missing; expected one of its options: {options}")
    catalogue = {(option.group, option.name): option for option in read_catalogue()}
    # options from elsewhere (--config-dir) have settings of their own, which their constructors check
    foreign = {group for group, name in chosen if (group, name) not in catalogue}
    used = [catalogue["", ""], *(catalogue[pair] for pair in chosen if pair in catalogue)]
    expected = {s.key for option in used if option.group != "experiment" for s in option.settings}
    keys = [key for key in keys if key.split(".")[0] not in foreign]
    for key in keys:
        if key not in expected and not any(parent in expected for parent in _parents(key)):
            raise ValueError(describe_unknown(key))
    given = set(keys) | {parent for key in keys for parent in _parents(key)}
    for key in sorted(expected - given):
        if key.split(".")[0] not in foreign:
            raise ValueError(f"{key} is missing; expected a value, or null where its comment allows it")


def chosen_trackers(keys: Iterable[str]) -> set[tuple[str, str]]:
    """Group and name of the trackers in a config: Hydra does not record a choice of several."""
    parts = [key.split(".") for key in keys]
    named = {("tracker", part[1]) for part in parts if part[0] == "tracker" and part[2:] == ["_target_"]}
    return named or {("tracker", "none") for part in parts if part[0] == "tracker"}


def _parents(key: str) -> Iterator[str]:
    while "." in key:
        key = key.rpartition(".")[0]
        yield key


def describe_unknown(key: str) -> str:
    """Why a setting cannot be set, and which one was probably meant."""
    options = read_catalogue()
    others = [option for option in options if option.group not in ("", "experiment")]
    owners = [str(option) for option in others if key in [s.key for s in option.settings]]
    if owners:
        return f"{key} is a setting of {' and '.join(owners)} only"
    known = {s.key: None for option in options for s in option.settings} | {o.group: None for o in options}
    hint = f"did you mean {near[0]}?" if (near := _near(key, list(known))) else "--help lists all settings"
    return f"{key} is unknown; {hint}"


def describe_unknown_option(group: str, name: str, options: Iterable[str]) -> str:
    """The error for an option that a group does not have."""
    near = _near(name, list(options))
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{group} is {name!r}; expected {', '.join(options)}{hint}"


def _near(name: str, names: list[str]) -> list[str]:
    """The nearest name, or the one with the same last part, as a list of at most one."""
    same = [n for n in names if n.rpartition(".")[2] == name]
    return same[:1] or difflib.get_close_matches(name, names, n=1)
