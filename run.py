"""Train, evaluate, audit or ask a multi-label image classifier: see README.md, or `python run.py --help`."""

import importlib
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from aimonk.overrides import continue_run, quote_paths

log = logging.getLogger("aimonk")
TOLD = (HydraException, OmegaConfBaseException)
failed_jobs: list[str] = []


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    """Call the mode. A user's mistake ends in one line; the traceback is in run.log."""
    hydra_cfg = HydraConfig.get()
    try:
        mode = importlib.import_module(f"aimonk.modes.{cfg.mode}")
        mode.run(cfg, Path(hydra_cfg.runtime.output_dir).absolute(), list(hydra_cfg.overrides.task))
    except (ValueError, OSError, FloatingPointError, OmegaConfBaseException) as error:
        log.debug("run failed", exc_info=True)
        log.error("%s", f"{error}".split("\n    full_key:")[0])
        if hydra_cfg.mode == RunMode.RUN:
            sys.exit(1)
        if not hydra_cfg.launcher._target_.endswith("BasicLauncher"):
            # this is another process than the one that counts the failed jobs
            raise RuntimeError(f"job {hydra_cfg.job.id}: {error}") from error
        failed_jobs.append(hydra_cfg.job.id)  # the sweep goes on with its other jobs
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)  # as of a process that the signal ended; ends a sweep as well
    except Exception:
        log.exception("run failed")
        raise


def start(arguments: list[str]) -> None:
    """Compose the config from command-line arguments and call the mode for each job."""
    logging.raiseExceptions = False  # a full disk must not answer each line of the log with a traceback
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's own errors come here, and not as a traceback
    try:
        sys.argv[1:] = quote_paths(continue_run(arguments))
        main()
    except FileNotFoundError as error:
        sys.exit(str(error))
    except HydraException as error:
        sys.exit("\n".join(str(e) for e in (error, error.__cause__) if isinstance(e, TOLD)))
    except (OSError, ValueError) as error:
        # before a mode is called, only the run folder can fail: Hydra makes it, and opens run.log in it
        cause = error.__cause__ or error
        sys.exit(f"the run folder cannot be written to ({cause}); hydra.run.dir=FOLDER chooses another")
    sys.exit(1 if failed_jobs else 0)


if __name__ == "__main__":
    if os.environ.get("RANK", "0") == "0":
        start(sys.argv[1:])
    else:
        # of the processes that torchrun starts, the first one leaves the folder and tells what happens
        with tempfile.TemporaryDirectory() as folder:
            silent = "hydra.job_logging.handlers.console.level=ERROR"
            start([*sys.argv[1:], f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}", silent])
