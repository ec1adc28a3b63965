"""The end of a sweep: its jobs are compared, on the terminal and in sweep.html."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from aimonk.runtime.ranks import rank

PAGE_FILE = "sweep.html"
BY = "val.mean_ap"  # the score of a sweep without a search

sweeps: list[tuple[Path, str]] = []  # folder and score of a sweep of this process that trains


class RememberFolder(Callback):
    """Hydra's callback, since the folder of a sweep is not known before."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember the folder of a sweep that trains."""
        if config.mode == "train" and rank() == 0:
            sweeps.append((Path(config.hydra.sweep.dir), config.hydra.sweeper.get("by", BY)))


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
        if sweeps and sweeps[-1][0].is_dir() and not is_interrupted:
            from aimonk.modes.compare.command import compare_sweep
            from aimonk.search.results import describe_search, read_search

            folder, by = sweeps[-1]
            found = read_search(folder)
            print(compare_sweep(folder, PAGE_FILE, by, [] if found is None else describe_search(found)))
