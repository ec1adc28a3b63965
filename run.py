"""Train, evaluate, audit or apply a multi-label image classifier: see README.md or `python run.py --help`."""

import logging
import os
import sys
import tempfile

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from aimonk.cli import job
from aimonk.cli.overrides import multirun_first, quote_paths, restore_overrides
from aimonk.runtime.memory import postpone_collection

REPORTED = (HydraException, OmegaConfBaseException)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    """Run the mode of a composed config."""
    job.run_job(cfg)


def start(arguments: list[str]) -> None:
    """Compose the config from the command line and run each job."""
    postpone_collection()
    logging.raiseExceptions = False  # on a full disk, each log line would print a traceback
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors here instead of printing them
    try:
        sys.argv[1:] = quote_paths(restore_overrides(multirun_first(arguments)))
        main()
    except FileNotFoundError as error:
        sys.exit(str(error))
    except HydraException as error:
        sys.exit("\n".join(str(e) for e in (error, error.__cause__) if isinstance(e, REPORTED)))
    except (OSError, ValueError) as error:
        # before the mode runs, only the run folder can fail: Hydra creates it, and run.log in it
        cause = error.__cause__ or error
        sys.exit(f"cannot write to the run folder ({cause}); hydra.run.dir=FOLDER sets another folder")
    sys.exit(1 if job.failed else 0)


if __name__ == "__main__":
    if os.environ.get("RANK", "0") == "0":
        start(sys.argv[1:])
    else:
        # of the processes of torchrun, only the first one writes a run folder and logs
        with tempfile.TemporaryDirectory() as folder:
            silent = "hydra.job_logging.handlers.console.level=ERROR"
            start([*sys.argv[1:], f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}", silent])
