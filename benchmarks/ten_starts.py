"""Start ten runs at once on an empty cache: ten folders, everything computed once, ten equal curves.

    python benchmarks/ten_starts.py --runs 10            # about two minutes on two cores

They are compared with a run alone, bit for bit. A short version is in tests/modes/test_concurrent.py.
"""

import argparse
import re
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from small_run import COMMAND, SMALL


def start(work: Path, cache: Path) -> subprocess.Popen:
    """Start a run with outputs/ in a folder."""
    command = [*COMMAND, f"cache_dir={cache}", *SMALL, "epochs=3"]
    return subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen) -> str:
    """What a run printed.

    Raises:
        RuntimeError: It failed.
    """
    output, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(output)
    return output


def start_at_once(work: Path, runs: int) -> dict:
    """Train alone and together; returns what there is to report.

    Raises:
        RuntimeError: A run failed.
        AssertionError: Two runs shared a folder, something was computed twice, or results differ.
    """
    together, alone = work / "together", work / "alone"
    for folder in (together, alone):
        folder.mkdir()
    begun = time.perf_counter()
    processes = [start(together, work / "cache") for _ in range(runs)]
    outputs = [finish(process) for process in processes]
    seconds = time.perf_counter() - begun
    finish(start(alone, work / "cache_alone"))

    folders = [path.parent for path in together.glob("outputs/*/*/loss.csv")]
    assert len(folders) == runs, f"{len(folders)} folders of {runs} runs"
    (whole,) = (path.parent for path in alone.glob("outputs/*/*/loss.csv"))
    state = _read_weights(whole)
    for folder in folders:
        for name in ("loss.csv", "predictions.csv"):
            assert (folder / name).read_bytes() == (whole / name).read_bytes(), f"{folder / name} differs"
        assert all(torch.equal(value, state[key]) for key, value in _read_weights(folder).items()), folder
    decoded = [int(n) for text in outputs for n in re.findall(r"(\d+) decoded", text)]
    # of the scored and the refitted model
    computed = [sum(map(int, re.findall(r"(\d+) computed", text))) for text in outputs]
    assert sorted(decoded) == [0] * (runs - 1) + [60], decoded
    assert sorted(computed) == [0] * (runs - 1) + [120], computed
    sets = {kind: _sets(work / "cache" / kind) for kind in ("images", "features")}
    # pixels and hashes of the images
    assert {kind: len(names) for kind, names in sets.items()} == {"images": 2, "features": 1}, sets
    return {"runs": runs, "folders": len(folders), "sets": len(sets["images"]), "seconds": round(seconds, 1)}


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "aimonk_model.pth", weights_only=True)["state"]


def _sets(store: Path) -> list[str]:
    """The sets below a store, finished or not."""
    return [str(path.relative_to(store)) for path in store.glob("*/*") if path.is_dir()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        report = start_at_once(Path(name), options.runs)
    print("\n".join(f"{key}: {value}" for key, value in report.items()))
    print(
        "curves, predictions and weights equal those of a run alone bit for bit; everything was computed once"
    )
