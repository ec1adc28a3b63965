"""Time of a sweep of 12 solver settings against one job, start-up included, each with an empty cache.

python benchmarks/solver_sweep.py IMAGES LABELS
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GRID = ["loss=masked,pos_weight", "optimizer.penalty=0.1,1,10", "seed=0,1"]


def measure(arguments: list[str]) -> float:
    """Seconds of a command with an empty cache."""
    with tempfile.TemporaryDirectory() as work:
        places = [f"cache_dir={work}/cache", f"hydra.run.dir={work}/run", f"hydra.sweep.dir={work}/sweep"]
        command = [sys.executable, ROOT / "run.py", *arguments, *places]
        started = time.perf_counter()
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            sys.exit(result.stdout + result.stderr)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images")
    parser.add_argument("labels")
    arguments = parser.parse_args()
    data = ["data=folder", f"data.images={arguments.images}", f"data.labels={arguments.labels}"]
    one = measure([*data, "optimizer.penalty=1"])
    twelve = measure(["-m", *data, *GRID])
    print(f"one job {one:.1f} s, 12 jobs {twelve:.1f} s: {twelve / one:.2f} times")


if __name__ == "__main__":
    main()
