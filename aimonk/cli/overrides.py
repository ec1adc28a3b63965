"""Command-line arguments, prepared for Hydra."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from aimonk.cli.catalogue import CONF, read_catalogue

# the launcher and the search of a sweep with their plain settings: what is restored of Hydra's own overrides
LAUNCHER = re.compile(
    r"hydra/launcher=\w+|hydra\.launcher\.(n_jobs|timeout_min|partition|account|nodes|tasks_per_node"
    r"|gpus_per_node|cpus_per_task|mem_gb|array_parallelism|name)=[\w.:-]+"
    r"|hydra/sweeper=optuna|hydra\.sweeper\.(n_trials|timeout|by|direction|seed|sampler|pruner)=[\w.:-]+"
    # names begin with a letter, so that none is Hydra's _target_
    r"|hydra\.sweeper\.(sampler|pruner)_options=\{([a-z]\w*:[\w.+-]+(,(?=[a-z])|(?=\})))*\}"
)
# rules of thresholds, whose second = is not Hydra's grammar
RULE = re.compile(r"(?<![\w'\"])precision *= *[\d.]+(?![\w'\"])")
MOST_NAMED = 8  # number and values in the name of a job's folder
LONGEST_SWEEP = 400  # characters of a list of values
IMPORT = {"from": "data", "labels": "data.labels", "images": "data.images"}
MULTIRUN = ("-m", "--multirun", "hydra.mode=MULTIRUN")
# keys with a path as value, in which commas, brackets, quotes and non-ASCII letters are not Hydra's grammar
PATHS = re.compile(
    r"^\+{0,2}(image|checkpoint|output|predictions|resume|runs|cache_dir|backbone\.weights"
    r"|data\.(?:images|labels|splits|shards|partition|classes)|tracker\.mlflow\.folder"
    r"|hydra\.(?:run|sweep)\.dir)=(.+)$",
    re.DOTALL,
)


def multirun_first(arguments: Sequence[str]) -> list[str]:
    """Move -m before the overrides, which Hydra's parser expects in a row."""
    return sorted(arguments, key=lambda argument: argument not in MULTIRUN[:2])


def expand_import(arguments: Sequence[str]) -> list[str]:
    """Replace the short settings of `mode=import`: from=F labels=L images=I choose the data set.

    Raises:
        ValueError: No format is given.
    """
    if "mode=import" not in arguments:
        return list(arguments)
    pairs = [argument.partition("=") for argument in arguments]
    expanded = [f"{IMPORT.get(key, key)}{equals}{value}" for key, equals, value in pairs]
    if not any(argument.startswith("data=") for argument in expanded):
        formats = ", ".join(o.name for o in read_catalogue() if o.group == "data" and o.name != "demo")
        raise ValueError(f"from is missing; expected one of {formats}")
    return expanded


def quote_values(arguments: Sequence[str]) -> list[str]:
    """Quote paths and rules of thresholds, unless they are quoted already.

    Existing paths, also several in a sweep, are quoted literally. Other paths are quoted too, except sweeps
    in Hydra's syntax.
    """
    sweep = any(argument in MULTIRUN for argument in arguments)
    return [_quote(argument, sweep) for argument in arguments]


def name_jobs(arguments: Sequence[str]) -> list[str]:
    """Let the folders of a sweep's jobs be named after what differs between them: `0_masked_lr=0.001`."""
    if not any(argument in MULTIRUN for argument in arguments):
        return list(arguments)
    keys = [a.split("=", 1)[0].lstrip("+") for a in arguments if _is_named(a)]
    # a search names its folders itself
    named = any(argument.startswith(("hydra.sweep.subdir=", "hydra/sweeper=")) for argument in arguments)
    if named or not keys:
        return list(arguments)
    last = [key.rpartition(".")[2] for key in keys]
    parts = ["${hydra.job.num}"]
    for key, short in zip(keys, last, strict=True):
        if (CONF / key).is_dir():
            parts.append(f"${{hydra:runtime.choices.{key}}}")
        else:
            parts.append(f"{key if last.count(short) > 1 else short}=${{{key}}}")
    return [*arguments, f"hydra.sweep.subdir='{'_'.join(parts[:MOST_NAMED])}'"]


def _is_named(argument: str) -> bool:
    """Whether an argument sweeps over values that fit into the name of a folder."""
    # Hydra does not record the choice of a group with several options
    if argument.startswith(("hydra", "-", "tracker=")) or "/" in argument:
        return False
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return override.is_sweep_override() and len(argument) < LONGEST_SWEEP


def restore_overrides(arguments: Sequence[str]) -> list[str]:
    """Prepend the arguments that the run of `resume=` was started with, and its folder.

    With -m, `resume=` is the folder of a sweep.

    Raises:
        FileNotFoundError: The folder has no complete record of a run.
    """
    folder = next(
        (Path(a[len("resume=") :].strip("'\"")) for a in arguments if a.startswith("resume=")), None
    )
    if folder is None or str(folder) == "null":
        return list(arguments)
    sweep = any(argument in MULTIRUN for argument in arguments)
    record = folder / ("multirun.yaml" if sweep else ".hydra/hydra.yaml")
    problem = f"resume is {folder.absolute()}; expected the folder of a {'sweep' if sweep else 'run'}"
    if not record.is_file():
        raise FileNotFoundError(f"{problem} (it has no {record.name})")
    overrides = _read_overrides(record)
    if overrides is None:
        raise FileNotFoundError(f"{problem} (its {record.name} is incomplete; start the run again)")
    recorded = [a for a in [*overrides["hydra"], *overrides["task"]] if is_restored(a)]
    given = {argument.split("=", 1)[0] for argument in arguments}
    before = [a for a in recorded if a.split("=", 1)[0] not in given | {"resume"}]
    place = f"hydra.sweep.dir={folder}" if sweep else f"hydra.run.dir={folder}"
    before += [place] if sweep else [place, "hydra.output_subdir=null"]
    # next to the other overrides, which Hydra's parser expects in a row
    first = next(i for i, argument in enumerate(arguments) if "=" in argument)
    return [*arguments[:first], *before, *arguments[first:]]


def is_restored(argument: str) -> bool:
    """Whether a recorded argument is restored: settings of aimonk, and the launcher of a sweep.

    A record may come from somebody else, and Hydra's own settings can run code: callbacks, search paths,
    set-up commands of a launcher.
    """
    key = argument.split("=", 1)[0].lstrip("+~")
    if key.split(".")[0].split("/")[0] == "hydra":
        return LAUNCHER.fullmatch(argument) is not None
    return not argument.startswith("-")


def _read_overrides(record: Path) -> dict[str, list[str]] | None:
    """Hydra's record of the command line, as given; None if it is incomplete, as after a full disk."""
    last = record.with_name("overrides.yaml")  # the last file that Hydra writes for a run
    try:
        # an argument may hold an interpolation, which is resolved where it is used
        overrides = OmegaConf.to_container(OmegaConf.load(record).hydra.overrides)
        complete = record.name == "multirun.yaml" or OmegaConf.load(last) == overrides["task"]
        return overrides if complete and overrides["hydra"] is not None else None
    except (OSError, KeyError, TypeError, ValueError, OmegaConfBaseException, YAMLError):
        return None


def _quote(argument: str, sweep: bool) -> str:
    key, _, value = argument.partition("=")
    if key.lstrip("+") == "threshold":
        return f"{key}=" + RULE.sub(r"'\g<0>'", value)
    match = PATHS.match(argument)
    if match is None:
        return argument
    value = match[2]
    key = argument[: -len(value)]
    paths = value.split(",") if sweep and not os.path.lexists(value) else [value]
    if all(os.path.lexists(path) for path in paths):
        return key + ",".join(map(quote, paths))
    quoted = value[0] in "'\"" and value[-1] == value[0] and len(value) > 1
    # Hydra's own keys cannot be swept, and may hold interpolations such as ${now:%H-%M}
    own = key.startswith("hydra.")
    if key in ("runs=", "data.shards=") and value[0] == "[" and _is_readable(argument):
        return argument  # a list of patterns
    if quoted or value == "null" or (sweep and not own and _is_readable(argument)):
        return argument
    return f"{key}'{_escape(value, literal=not own)}'"


def _is_readable(argument: str) -> bool:
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True


def quote(value: str) -> str:
    """A string that Hydra and OmegaConf read literally."""
    return f"'{_escape(value, literal=True)}'"


def _escape(value: str, literal: bool) -> str:
    """Double the backslashes before escaped characters: `${` for OmegaConf, quotes and the end for Hydra."""
    if literal:
        value = re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + "\\${", value)
    return re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + (m[2] and "\\'"), value)
