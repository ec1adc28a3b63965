"""The command: composes the config and calls the mode of each job."""

import logging
import os
import re
import sys
import tempfile

import hydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from aimonk.cli import job
from aimonk.cli.catalogue import CONF, describe_unknown, describe_unknown_option, read_catalogue
from aimonk.cli.help import format_help
from aimonk.cli.overrides import (
    expand_import,
    multirun_first,
    name_jobs,
    quote_values,
    restore_overrides,
)
from aimonk.cli.sweep import comparing_jobs
from aimonk.runtime.memory import postpone_collection
from hydra_plugins.aimonk_search.sweeper import SearchSweeper

UNKNOWN = re.compile(r"Could not override '([^']+)'")
MISSING_PLUGIN = re.compile(r"Unknown plugin class : 'hydra_plugins\.(\w+)")
MISSING = re.compile(r"Could not (?:find|load) '(?P<group>.+)/(?P<name>[^/']+)'")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def compose(cfg: DictConfig) -> None:
    """Run the mode of a composed config."""
    job.run_job(cfg)


def main() -> None:
    """Run the command line of this process."""
    arguments = sys.argv[1:]
    if not (CONF / "config.yaml").is_file():
        sys.exit(f"no configuration at {CONF}; install aimonk from a clone with pip install -e .")
    if "--help" in arguments or "-h" in arguments:
        print(format_help([a for a in arguments if not a.startswith("-")]))
        return
    if os.environ.get("RANK", "0") == "0":
        start(arguments)
    else:
        # of the processes of torchrun, only the first one writes a run folder and logs
        with tempfile.TemporaryDirectory() as folder:
            silent = "hydra.job_logging.handlers.console.level=ERROR"
            start([*arguments, f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}", silent])


def start(arguments: list[str]) -> None:
    """Compose the config from the command line, run each job, and exit.

    Raises:
        SystemExit: Always, with status 0 where all jobs ended well.
    """
    try:
        arguments = expand_import(arguments)
    except ValueError as error:
        sys.exit(f"{error}")
    postpone_collection()
    logging.raiseExceptions = False  # on a full disk, each log line would print a traceback
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors here instead of printing them
    try:
        # Hydra's own search for plugins does not see those of a package that is installed in place
        Plugins.instance().register(SearchSweeper)
        sys.argv[1:] = name_jobs(quote_values(restore_overrides(multirun_first(arguments))))
        with comparing_jobs():
            compose()
    except HydraException as error:
        sys.exit(describe_error(error))
    except FileNotFoundError as error:
        sys.exit(str(error))
    except job.FailedJob as error:
        sys.exit(f"{error}")
    except RuntimeError as error:
        if (match := MISSING_PLUGIN.search(f"{error}")) is None:
            raise
        sys.exit(f"{match[1]} is not installed; pip install -e '.[sweeps]' installs the launchers")
    except (OSError, ValueError) as error:
        # before the mode runs, only the run folder can fail: Hydra creates it, and run.log in it
        cause = error.__cause__ or error
        sys.exit(f"cannot write to the run folder ({cause}); hydra.run.dir=FOLDER sets another folder")
    sys.exit(1 if job.failed else 0)


def describe_error(error: HydraException) -> str:
    """Hydra's error in one line where it concerns a name, otherwise as Hydra words it."""
    causes = [e for e in (error, error.__cause__) if isinstance(e, HydraException | OmegaConfBaseException)]
    text = "\n".join(map(str, causes))
    if (match := UNKNOWN.search(text)) is not None:
        return describe_unknown(match[1])
    if isinstance(error, MissingConfigException) and (match := MISSING.search(text)) is not None:
        own = [option.name for option in read_catalogue() if option.group == match["group"]]
        return describe_unknown_option(match["group"], match["name"], error.options or own)
    if "missing EQUAL" in text:
        argument = text.splitlines()[0].removeprefix("Error parsing override ")
        return f"{argument}: expected KEY=VALUE, such as epochs=5"
    return re.sub(r"\n?See https://hydra\.cc\S* for details", "", text)
