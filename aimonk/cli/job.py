"""One job: runs its mode, and ends in one line on a user's error."""

import importlib
import logging
import shlex
import signal
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aimonk.cli.catalogue import check_keys
from aimonk.runtime.memory import keep_freed_memory, resume_collection
from aimonk.runtime.ranks import rank, world_size
from aimonk.setup.effects import given_keys, unused_in_mode, warn_without_effect
from aimonk.setup.flatten import flatten

log = logging.getLogger(__name__)

MODULES = {"import": "conversion"}  # of modes that are named otherwise: `import` is no name in Python
failed: list[str] = []  # numbers of the failed jobs of this process's sweep


class FailedJob(RuntimeError):
    """A user's error in a job of a sweep."""


def run_job(cfg: DictConfig) -> None:
    """Run the mode; run.log has the traceback of an error.

    Raises:
        SystemExit: The run failed or was interrupted. A sweep continues with its other jobs.
        FailedJob: A job of a search failed, or one of a sweep in another process, which has no `failed`.
    """
    hydra_cfg = HydraConfig.get()
    try:
        given = given_keys(hydra_cfg.overrides.task)
        settings = dict(flatten(OmegaConf.to_container(cfg)))
        check_keys(settings, hydra_cfg.runtime.choices)
        mode = importlib.import_module(f"aimonk.modes.{MODULES.get(cfg.mode, cfg.mode)}")
        resume_collection()
        keep_freed_memory()
        warn_without_effect(given, unused_in_mode(cfg, given))
        mode.run(cfg, Path(hydra_cfg.runtime.output_dir).absolute(), list(hydra_cfg.overrides.task))
    except (ValueError, OSError, FloatingPointError, OmegaConfBaseException) as error:
        log.debug("run failed", exc_info=True)
        log.error("%s", f"{error}".split("\n    full_key:")[0])
        if hydra_cfg.mode == RunMode.RUN:
            sys.exit(1)
        if world_size() > 1:
            # the processes could not agree on which job comes next
            if rank() == 0:
                log.error("job %s failed; under torchrun this ends the sweep", hydra_cfg.job.id)
            sys.exit(1)
        search = hydra_cfg.sweeper._target_.endswith("SearchSweeper")
        if search or not hydra_cfg.launcher._target_.endswith("BasicLauncher"):
            raise FailedJob(f"job {hydra_cfg.job.id}: {error}") from error
        failed.append(hydra_cfg.job.id)
    except KeyboardInterrupt:
        if cfg.mode == "train":
            single = hydra_cfg.mode == RunMode.RUN
            folder = Path(hydra_cfg.runtime.output_dir if single else hydra_cfg.sweep.dir).absolute()
            log.info(
                "continue with: python run.py %sresume=%s", "" if single else "-m ", shlex.quote(f"{folder}")
            )
        sys.exit(128 + signal.SIGINT)  # the status of a process that the signal ended; ends a sweep too
    except Exception:
        log.exception("run failed")
        raise
