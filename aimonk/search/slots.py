"""Jobs that run at the same time: a slot takes the next one as soon as its job ends."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from hydra.plugins.launcher import Launcher


def count_slots(launcher: Launcher) -> int:
    """The jobs that a launcher runs at the same time: those of joblib or submitit, otherwise one."""
    if hasattr(launcher, "joblib"):
        from joblib import effective_n_jobs

        return effective_n_jobs(launcher.joblib["n_jobs"])
    return int(getattr(launcher, "params", {}).get("array_parallelism", 1))


class Slots:
    """Runs jobs, one per slot.

    Hydra's launchers return when all jobs of a list have ended, so that each slot launches lists of one job,
    in a thread of its own. With one slot, jobs run in the main thread, where signals can interrupt them.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.running: dict[Future, int] = {}
        self.pool = ThreadPoolExecutor(count) if count > 1 else None

    @property
    def free(self) -> bool:
        return len(self.running) < self.count

    def start(self, number: int, job: Callable[[], Exception | None]) -> None:
        """Run a job, which returns its error, in a free slot."""
        if self.pool is not None:
            self.running[self.pool.submit(job)] = number
            return
        done: Future = Future()
        done.set_result(job())
        self.running[done] = number

    def next_ended(self) -> Future:
        """Wait for a job, and return it."""
        return next(iter(wait(self.running, return_when=FIRST_COMPLETED).done))

    def close(self) -> None:
        """Start no further jobs."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
