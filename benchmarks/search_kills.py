"""Kill a search at random moments, resume it, and compare it with an undisturbed one.

    python benchmarks/search_kills.py --kills 20        # ten minutes on two cores
    python benchmarks/search_kills.py --kills 20 --jobs 2

SIGKILL ends all processes of the search at once. In the end there must be as many trials as asked for, each
of which ended once; with one job at a time, their settings, states and scores must be those of the
undisturbed search. A short version is in tests/search/test_search.py.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from small_run import COMMAND, SMALL

SPACE = ["optimizer.lr=tag(log,interval(1e-5,10))", "loss=masked,focal", "batch_size=choice(8,16)"]
JOURNAL = "journal.log"
NEW, ENDED = 4, 6  # records of the journal: a trial was created, a trial changed its state


def start(*arguments: str) -> subprocess.Popen:
    """Start a command of aimonk in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> None:
    """Wait for a command.

    Raises:
        RuntimeError: It failed; the message is its output.
    """
    output, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(output)


def disturb(command: list[str], folder: Path, kills: int, moments: random.Random) -> Counter:
    """Kill a search and resume it until it was killed often enough, and let it end; returns counts."""
    counts: Counter = Counter()
    while True:
        process = start(*command)
        counts["starts"] += 1
        if counts["kills"] == kills:
            finish(process)
            return counts
        # most moments of so small a search are in its start, so that some kills wait for a record of a trial
        if moments.random() < 0.5:
            before = size(folder / JOURNAL)
            while process.poll() is None and size(folder / JOURNAL) == before:
                time.sleep(0.002)
        time.sleep(moments.uniform(0, 3))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            counts["kills"] += 1
            counts["kills while trials ran"] += unfinished(folder) > 0
        elif process.returncode != 0:
            raise RuntimeError(process.communicate()[0])
        process.communicate()
        if (folder / "multirun.yaml").is_file():
            command = ["-m", f"resume={folder}"]


def size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def records(folder: Path) -> list[dict]:
    """Complete records of a journal."""
    file = folder / JOURNAL
    lines = file.read_text().split("\n")[:-1] if file.is_file() else []
    return [json.loads(line) for line in lines]


def unfinished(folder: Path) -> int:
    """Trials that have started and not ended."""
    found = Counter(record["op_code"] for record in records(folder))
    return found[NEW] - found[ENDED]


def results(folder: Path) -> list[tuple]:
    """Number, settings, state and score of each trial, which ended once.

    Raises:
        AssertionError: A trial did not end, or ended more than once, or has more than one folder.
    """
    from aimonk.search.results import read_search

    ends = Counter(record["trial_id"] for record in records(folder) if record["op_code"] == ENDED)
    found = read_search(folder)
    assert not found.problem, found.problem
    for trial in found.trials:
        assert ends[trial.number] == 1, f"trial {trial.number} ended {ends[trial.number]} times"
        assert len(list(folder.glob(f"{trial.number}_*"))) == 1, f"folders of trial {trial.number}"
    return [(trial.number, trial.values, trial.state, trial.score) for trial in found.trials]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=1, help="at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        command = ["-m", "hydra/sweeper=optuna", f"hydra.sweeper.n_trials={options.trials}", *SMALL, *SPACE]
        command += [f"epochs={options.epochs}", f"cache_dir={work / 'cache'}", "refit=false"]
        command += ["hydra.sweeper.pruner_options={n_startup_trials:3}"]
        if options.jobs > 1:
            command += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={options.jobs}"]
        finish(start(*command, f"hydra.sweep.dir={work / 'complete'}"))
        complete = results(work / "complete")
        cut = [*command, f"hydra.sweep.dir={work / 'cut'}"]
        counts = disturb(cut, work / "cut", options.kills, random.Random(options.seed))
        disturbed = results(work / "cut")
    assert len(disturbed) == options.trials, f"{len(disturbed)} trials"
    if options.jobs == 1:
        assert disturbed == complete, f"{disturbed}\n{complete}"
    print("\n".join(f"{key}: {value}" for key, value in counts.items()))
    print(f"trials: {len(disturbed)}, each ended once")
    print("states:", ", ".join(f"{n} {state}" for state, n in Counter(t[2] for t in disturbed).items()))
    if options.jobs == 1:
        print("settings, states and scores equal those of the undisturbed search")


if __name__ == "__main__":
    main()
