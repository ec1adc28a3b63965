"""The end of a sweep: its jobs are compared, on the terminal and in sweep.html."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from aimonk.runtime.ranks import rank

PAGE_FILE = "sweep.html"

folders: list[Path] = []  # of the sweep that this process runs, unless its jobs only read


class RememberFolder(Callback):
    """Hydra's callback, since the folder of a sweep is not known before."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember the folder of a sweep that trains."""
        if config.mode == "train" and rank() == 0:
            folders.append(Path(config.hydra.sweep.dir))


@contextlib.contextmanager
def comparing_jobs() -> Iterator[None]:
    """Compare the jobs when the block ends, also by an error, but not when it is interrupted."""
    is_interrupted = False
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        is_interrupted = True
        raise
    finally:
        # without a launcher, no job has started
        if folders and folders[-1].is_dir() and not is_interrupted:
            from aimonk.modes.compare.command import compare_sweep

            print(compare_sweep(folders[-1], PAGE_FILE))
