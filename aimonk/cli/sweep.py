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
SIGNALLED = 128  # exit statuses above are those of signals

sweeps: list[tuple[Path, str]] = []  # folder and score of a sweep of this process that trains


class RememberFolder(Callback):
    """Hydra's callback, since the folder of a sweep is not known before."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember the folder of a sweep that trains."""
        if config.mode == "train" and rank() == 0:
            sweeps.append((Path(config.hydra.sweep.dir), config.hydra.sweeper.get("by", BY)))


@contextlib.contextmanager
def comparing_jobs() -> Iterator[None]:
    """Compare the jobs when the block ends, also by an error, but not when a signal interrupts it."""
    is_interrupted = False
    try:
        yield
    except BaseException as error:
        is_interrupted = isinstance(error, KeyboardInterrupt) or (
            isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > SIGNALLED
        )
        raise
    finally:
        # without a launcher, no job has started
        if sweeps and sweeps[-1][0].is_dir() and not is_interrupted:
            print(compare_jobs(*sweeps[-1]))


def compare_jobs(folder: Path, by: str) -> str:
    """Write the page of a sweep, and return its table."""
    from aimonk.modes.compare.command import compare_sweep, is_score
    from aimonk.search.page import describe_search
    from aimonk.search.results import read_search

    found = read_search(folder)
    extra = [] if found is None else describe_search(found)
    # a search may be by a score of one attribute, which does not rank runs
    return compare_sweep(folder, PAGE_FILE, by if is_score(by) else BY, extra)
