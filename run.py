"""Train, evaluate, audit or ask a multi-label image classifier: see README.md, or `python run.py --help`."""

import gc
import logging
import os
import sys
import tempfile

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from aimonk.cli import job
from aimonk.cli.overrides import continue_run, flag_first, quote_paths

TOLD = (HydraException, OmegaConfBaseException)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    """Do what a composed config says."""
    job.run_job(cfg)


def start(arguments: list[str]) -> None:
    """Compose the config from command-line arguments and call the mode for each job."""
    gc.disable()  # until the mode is imported
    logging.raiseExceptions = False  # a full disk must not answer each line of the log with a traceback
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's own errors come here, and not as a traceback
    try:
        sys.argv[1:] = quote_paths(continue_run(flag_first(arguments)))
        main()
    except FileNotFoundError as error:
        sys.exit(str(error))
    except HydraException as error:
        sys.exit("\n".join(str(e) for e in (error, error.__cause__) if isinstance(e, TOLD)))
    except (OSError, ValueError) as error:
        # before a mode is called, only the run folder can fail: Hydra makes it, and opens run.log in it
        cause = error.__cause__ or error
        sys.exit(f"the run folder cannot be written to ({cause}); hydra.run.dir=FOLDER chooses another")
    sys.exit(1 if job.failed else 0)


if __name__ == "__main__":
    if os.environ.get("RANK", "0") == "0":
        start(sys.argv[1:])
    else:
        # of the processes that torchrun starts, the first one leaves the folder and tells what happens
        with tempfile.TemporaryDirectory() as folder:
            silent = "hydra.job_logging.handlers.console.level=ERROR"
            start([*sys.argv[1:], f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}", silent])
