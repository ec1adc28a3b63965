"""One job: the mode is called, and a user's mistake ends in one line."""

import gc
import importlib
import logging
import signal
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from aimonk.runtime import distributed

log = logging.getLogger(__name__)

failed: list[str] = []  # numbers of the jobs of this process's sweep that failed


def run_job(cfg: DictConfig) -> None:
    """Call the mode; the traceback of a user's mistake is in run.log.

    Raises:
        SystemExit: A run failed or was interrupted. A sweep goes on with its other jobs.
        RuntimeError: A job of a sweep failed in a process of its own, where nobody reads `failed`.
    """
    hydra_cfg = HydraConfig.get()
    try:
        mode = importlib.import_module(f"aimonk.modes.{cfg.mode}")
        if not gc.isenabled():
            # what was imported stays; to look for garbage among it takes a third of the time to start and end
            gc.freeze()
            gc.enable()
        mode.run(cfg, Path(hydra_cfg.runtime.output_dir).absolute(), list(hydra_cfg.overrides.task))
    except (ValueError, OSError, FloatingPointError, OmegaConfBaseException) as error:
        log.debug("run failed", exc_info=True)
        log.error("%s", f"{error}".split("\n    full_key:")[0])
        if hydra_cfg.mode == RunMode.RUN:
            sys.exit(1)
        if distributed.world_size() > 1:
            # the processes could not agree on which job comes next
            if distributed.rank() == 0:
                log.error("job %s failed; under torchrun this ends the sweep", hydra_cfg.job.id)
            sys.exit(1)
        if not hydra_cfg.launcher._target_.endswith("BasicLauncher"):
            raise RuntimeError(f"job {hydra_cfg.job.id}: {error}") from error
        failed.append(hydra_cfg.job.id)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)  # as of a process that the signal ended; ends a sweep as well
    except Exception:
        log.exception("run failed")
        raise
