"""Kill a search at random moments, resume it, and compare it with an undisturbed one.

    python benchmarks/search_kills.py --kills 20

Each trial must end once, with the settings and the score of the undisturbed search.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from small_run import COMMAND, SMALL

from aimonk.runtime.trial import JOURNAL_FILE, open_study

SEARCH = [
    "-m",
    "hydra/sweeper=optuna",
    "optimizer.lr=tag(log, interval(1e-5,1e-1))",
    "loss=masked,focal",
    *SMALL,
    "epochs=3",
    "refit=false",
]

Trials = list[tuple[int, str, dict, float | None]]


def start(*arguments: str) -> subprocess.Popen:
    """Start a search in a process group of its own, which is killed as a whole."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_trials(sweep: Path) -> Trials:
    """Number, state, settings and score of each trial."""
    trials = open_study(sweep / JOURNAL_FILE, "none").trials
    return [(t.number, t.state.name, t.params, t.value) for t in trials]


def run_to_the_end(process: subprocess.Popen) -> None:
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors)


def disturb(command: list[str], sweep: Path, kills: int, longest: float, moments: random.Random) -> int:
    """Kill the search `kills` times and let it end; returns how often a trial was running then."""
    running = 0
    for _ in range(kills):
        process = start(*command)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=moments.uniform(0.3, 1) * longest)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if (sweep / JOURNAL_FILE).is_file():
            running += any(state == "RUNNING" for _, state, _, _ in read_trials(sweep))
        if (sweep / "multirun.yaml").is_file():
            command = ["-m", f"resume={sweep}"]
    run_to_the_end(start(*command))
    return running


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        common = [*SEARCH, f"cache_dir={work / 'cache'}", f"hydra.sweeper.n_trials={options.trials}"]
        run_to_the_end(start(*common, "hydra.sweeper.n_trials=1", f"hydra.sweep.dir={work / 'first'}"))
        begun = time.perf_counter()
        run_to_the_end(start(*common, f"hydra.sweep.dir={work / 'complete'}"))
        # most of the time is the start; a process that lives no longer than that finishes one trial or two
        longest = (time.perf_counter() - begun) / 2
        cut, command = work / "cut", [*common, f"hydra.sweep.dir={work / 'cut'}"]
        running = disturb(command, cut, options.kills, longest, random.Random(options.seed))
        found, expected = read_trials(cut), read_trials(work / "complete")
        print(f"kills: {options.kills}, of these during a trial: {running}")
        print(f"trials: {len(found)}, each once: {[n for n, *_ in found] == list(range(options.trials))}")
        assert all(state in ("COMPLETE", "PRUNED") for _, state, _, _ in found), found
        assert found == expected, f"{found} is not {expected}"
        print("settings and scores equal those of the undisturbed search")


if __name__ == "__main__":
    main()
