"""Train, evaluate, audit or ask a multi-label image classifier: see README.md, or `python run.py --help`."""

import importlib
import logging
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from aimonk.overrides import quote_paths

log = logging.getLogger("aimonk")


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    """Call the mode. A user's mistake ends in one line; the traceback is in run.log."""
    hydra_cfg = HydraConfig.get()
    try:
        mode = importlib.import_module(f"aimonk.modes.{cfg.mode}")
        mode.run(cfg, Path(hydra_cfg.runtime.output_dir).absolute(), list(hydra_cfg.overrides.task))
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        log.debug("run failed", exc_info=True)
        log.error("%s", error)
        if hydra_cfg.mode == RunMode.MULTIRUN:
            raise  # the sweep goes on with its other jobs and ends with an error
        sys.exit(1)
    except Exception:
        log.exception("run failed")
        raise


if __name__ == "__main__":
    sys.argv[1:] = quote_paths(sys.argv[1:])
    main()
